/** Splits a batch that is too large for its topic. */
import type { Compressor } from "@millrace/env";
import { must } from "@millrace/errors";
import { BatchBuilder, decodeRecords, parseBody } from "@millrace/record";
import { Batch } from "./batch.ts";
import { advance } from "./sequences.ts";

/**
 * Batches of the same records in the same order, each of at most `recordBytesMax` record bytes (one
 * record alone may have more). They share id, age, sequences and waiters of `batch`, which must
 * have a body.
 */
export const splitBatch = async (
  batch: Batch,
  recordBytesMax: number,
  compressor: Compressor,
): Promise<Batch[]> => {
  const info = parseBody(must(batch.body, "body of a batch to split"));
  const set =
    info.compression === "none"
      ? info.records
      : await compressor.decompress(info.compression, info.records, batch.recordBytes);
  const parts: Batch[] = [];
  let builder: BatchBuilder | undefined;
  for (const record of decodeRecords(set, info.baseTimestampMs)) {
    if (
      builder === undefined ||
      builder.sizeBytes + BatchBuilder.boundOf(record) > recordBytesMax
    ) {
      builder = new BatchBuilder();
      parts.push(new Batch(batch.id, batch.createdMs, builder));
    }
    builder.append(record);
  }
  shareOut(batch, parts);
  return parts;
};

/** Gives each part the waiters of its records, and its share of the batch's buffered bytes. */
const shareOut = (batch: Batch, parts: readonly Batch[]): void => {
  let first = 0;
  let bytesLeft = batch.bytes;
  let recordsLeft = batch.recordCount;
  for (const part of parts) {
    part.seal();
    part.recordCount = must(part.builder, "builder of a part").recordCount;
    part.lastError = batch.lastError;
    // The sequences stay those of the records: should the batch have been written after all, the
    // broker refuses its parts.
    part.stamp = batch.stamp && advance(batch.stamp, first);
    part.maybeWritten = batch.maybeWritten;
    const end = first + part.recordCount;
    part.waiters = batch.waiters.filter(({ index }) => index >= first && index < end);
    for (const waiter of part.waiters) waiter.index -= first;
    part.bytes = Math.floor((bytesLeft * part.recordCount) / recordsLeft);
    bytesLeft -= part.bytes;
    recordsLeft -= part.recordCount;
    first = end;
  }
};
