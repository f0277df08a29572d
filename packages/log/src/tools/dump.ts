/** Listing the batches of a segment file, whatever state it is in. */
import type { Compressor, DiskFile } from "@millrace/env";
import { type DecodedRecord, decodeRecords } from "@millrace/record";
import { noPauses } from "../files/breathe.ts";
import { BatchScanner, type ScannedBatch } from "../segment/batch-scanner.ts";

/** A batch with its place; records where they were asked for. */
export interface DumpedBatch extends ScannedBatch {
  readonly records: readonly DecodedRecord[];
}

/** Where a dump ended early. */
export interface DumpFault {
  readonly position: number;
  readonly reason: string;
}

const inflatedBytesMax = 256 * 1024 * 1024;

/**
 * Yields every whole batch in order; then, where the file goes on with something else, the fault.
 */
export async function* dumpSegment(
  file: DiskFile,
  compressor: Compressor,
  withRecords: boolean,
): AsyncGenerator<DumpedBatch | DumpFault, void, undefined> {
  const walker = new BatchScanner(noPauses, file, 0, await file.size());
  for (;;) {
    const batch = await walker.peek();
    if ("end" in batch) {
      if (!batch.end) yield { position: walker.position, reason: batch.reason };
      return;
    }
    const { info } = batch;
    let records: readonly DecodedRecord[] = [];
    if (withRecords) {
      const set =
        info.compression === "none"
          ? info.records
          : await compressor.decompress(info.compression, info.records, inflatedBytesMax);
      records = decodeRecords(set, info.baseTimestampMs);
    }
    yield { ...batch, records };
    walker.skip(batch);
  }
}
