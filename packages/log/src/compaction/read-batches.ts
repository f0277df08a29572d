/** Shows the batches of a sealed segment to compaction, at its pace. */
import type { LogContext } from "../context.ts";
import { inflatedBytesMax } from "../partition/reader.ts";
import { BatchScanner, type ScannedBatch } from "../segment/batch-scanner.ts";
import { damaged } from "../segment/index-cache.ts";
import type { Segment } from "../segment/segment.ts";
import type { Throttle } from "./throttle.ts";

/** Bytes looked at in one turn of the event loop, less than a millisecond. */
const bytesPerTurn = 256 * 1024;

/** What everything of one cleaning shares. */
export interface Cleaning {
  readonly context: Pick<LogContext, "env" | "files">;
  readonly throttle: Throttle;
  /** Throws Abandoned once it is void: the log was cut, or nobody wants it any more. */
  check(): void;
  readonly counts: CleaningCounts;
}

export interface CleaningCounts {
  readBytes: number;
  writtenBytes: number;
}

/** The log is not what it was when the cleaning began. */
export class Abandoned extends Error {
  override readonly name = "Abandoned";
}

/**
 * Shows batch after batch, with the bytes that are stored of it, until `visit` returns false.
 * Throws PARTITION_OFFLINE on damage: nothing is concluded from what has a wrong CRC.
 */
export const readBatches = (
  { context, throttle, check, counts }: Cleaning,
  segment: Segment,
  visit: (batch: ScannedBatch, stored: Buffer) => Promise<boolean>,
): Promise<void> =>
  context.files.with(segment, async (file) => {
    const { clock } = context.env;
    const scanner = new BatchScanner(clock, file, 0, segment.sizeBytes, bytesPerTurn);
    scanner.readAhead();
    try {
      for (;;) {
        const batch = await scanner.peek();
        check();
        if ("end" in batch) {
          if (batch.end) return;
          throw damaged(segment, scanner.position, batch.reason);
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
  });

/** The records of a batch as a RecordSet. */
export const recordSetOf = (
  { context }: Cleaning,
  { info }: ScannedBatch,
): Uint8Array | Promise<Uint8Array> =>
  info.compression === "none"
    ? info.records
    : context.env.compressor.decompress(info.compression, info.records, inflatedBytesMax);

/**
 * Batches that compaction leaves as they are: those of the system, and those of transactions, which
 * nobody can write yet.
 */
export const isLeftAlone = ({ info }: ScannedBatch): boolean =>
  info.control !== 0 || info.transactional;
