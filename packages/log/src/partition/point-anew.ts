/** The recovery point of a log that began anew. */
import { create } from "@bufbuild/protobuf";
import { type RecoveryPoint, RecoveryPointSchema } from "@millrace/proto/storage";
import { type TopicId, topicIdBytes } from "@millrace/record";
import type { Life } from "./types.ts";

/**
 * Of a log that begins at `start` with an empty segment, without epochs and producers. `round`: the
 * journal up to there is about the log before it.
 */
export const pointAnewAt = (
  of: { readonly topicId: TopicId; readonly partition: number; readonly life: Life },
  start: number,
  round: bigint,
): RecoveryPoint =>
  create(RecoveryPointSchema, {
    topicId: topicIdBytes(of.topicId),
    partition: of.partition,
    incarnation: of.life.incarnation,
    offset: BigInt(start),
    segmentBaseOffset: BigInt(start),
    logStartOffset: BigInt(start),
    highWatermark: BigInt(start),
    journalRound: round,
  });
