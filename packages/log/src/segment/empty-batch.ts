/**
 * Batches without records: compaction leaves them where others were, so that no offset is missing.
 */
import { crcOf, encodeBody, encodeStoredPrefix, type ProducerStamp } from "@millrace/record";

/** Of a batch that goes on under its header, but for the CRCs. */
export interface BatchPlace {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly leaderEpoch: number;
  readonly appendTimeMs: number;
}

const nothing = Buffer.alloc(0);

/** A BatchBody without records that covers its offsets. */
export const emptyBody = (
  { baseOffset, lastOffset }: Pick<BatchPlace, "baseOffset" | "lastOffset">,
  producer?: ProducerStamp,
): Buffer =>
  encodeBody(
    {
      compression: "none",
      recordCount: 0,
      baseTimestampMs: 0,
      maxTimestampMs: 0,
      lastOffsetDelta: lastOffset - baseOffset,
      producer,
    },
    nothing,
  );

/** Everything of a stored batch before its body. */
export const prefixOf = (place: BatchPlace, body: Uint8Array): Buffer =>
  encodeStoredPrefix({ ...place, bodyCrc: crcOf(body) }, body.length);
