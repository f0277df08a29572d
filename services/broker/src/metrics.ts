/**
 * What the broker counts. `standalone` connects it to the registry; the simulator passes no-ops.
 */
import type { MillraceError } from "@millrace/errors";
import type { TopicId } from "@millrace/record";
import type { KeyIndexGauges, KeyIndexMetrics } from "./latest/key-indexes.ts";
import { noMeter, type PartitionMeter } from "./topic-meters.ts";

/** All synchronous, called on the hot path: implementations only add numbers. */
export interface BrokerMetrics extends KeyIndexMetrics {
  /** A produce request was answered. */
  onProduce(durationMs: number, error: MillraceError | undefined): void;
  /** A batch was accepted by the log. */
  onAppend(records: number, bytes: number): void;
  /** A fetch message with batches was sent. */
  onFetch(records: number, bytes: number): void;
  /** A request or cursor failed. */
  onError(error: MillraceError): void;
  /** What all indexes of keys amount to, whenever it is asked for. */
  watchKeyIndexes(read: () => KeyIndexGauges): void;
  /** The broker takes up a partition: what counts for it, until it is closed. */
  meterOf(topicId: TopicId, topic: string, partition: number): PartitionMeter;
}

/** Counts nothing. */
export const noMetrics: BrokerMetrics = {
  onProduce() {},
  onAppend() {},
  onFetch() {},
  onError() {},
  onKeyIndexLoaded() {},
  onKeyIndexGivenUp() {},
  onLatestRead() {},
  watchKeyIndexes() {},
  meterOf: () => noMeter,
};
