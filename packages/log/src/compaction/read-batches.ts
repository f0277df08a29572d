/** Shows the batches of a closed segment to compaction, at its pace. */
import type { Clock, Compressor } from "@millrace/env";
import { inflatedBytesMax } from "../partition/reader.ts";
import { BatchScanner, type ScannedBatch } from "../segment/batch-scanner.ts";
import { damagedFile } from "../segment/index-cache.ts";
import type { SegmentFile } from "./pass.ts";
import type { Throttle } from "./throttle.ts";

/** What everything of one cleaning shares. */
export interface Cleaning {
  readonly clock: Clock;
  readonly compressor: Compressor;
  readonly throttle: Throttle;
  /** Bytes looked at in one turn of the event loop. */
  readonly partBytes: number;
  /** Throws Abandoned once it is void: the log was cut, or nobody wants it any more. */
  check(): void;
  readonly counts: { readBytes: number; writtenBytes: number };
}

/** The log is not what it was when the cleaning began. */
export class Abandoned extends Error {
  override readonly name = "Abandoned";
}

/**
 * Shows batch after batch, with the bytes that are stored of it, until `visit` returns false.
 * Throws PARTITION_OFFLINE on damage: nothing is concluded from what has a wrong CRC.
 */
export const readBatches = async (
  { check, clock, counts, partBytes, throttle }: Cleaning,
  { file, path, sizeBytes }: SegmentFile,
  visit: (batch: ScannedBatch, stored: Buffer) => Promise<boolean>,
): Promise<void> => {
  const scanner = new BatchScanner(clock, file, 0, sizeBytes, partBytes);
  scanner.readAhead();
  try {
    for (;;) {
      const batch = await scanner.peek();
      check();
      if ("end" in batch) {
        if (batch.end) return;
        throw damagedFile(path, scanner.position, batch.reason);
      }
      counts.readBytes += batch.bytes;
      const wait = throttle.took(batch.bytes);
      if (wait !== undefined) await wait;
      if (!(await visit(batch, scanner.stored(batch)))) return;
      scanner.skip(batch);
    }
  } finally {
    await scanner.close();
  }
};

/** The records of a batch as a RecordSet. */
export const recordSetOf = (
  { compressor }: Cleaning,
  { info }: ScannedBatch,
): Uint8Array | Promise<Uint8Array> =>
  info.compression === "none"
    ? info.records
    : compressor.decompress(info.compression, info.records, inflatedBytesMax);

/**
 * Batches that compaction leaves as they are: those of the system, and those of transactions, which
 * nobody can write yet.
 */
export const isLeftAlone = ({ info }: ScannedBatch): boolean =>
  info.control !== 0 || info.transactional;
