/** What recovery does with segment files as a whole. */
import type { DiskFile } from "@millrace/env";
import type { SegmentContext } from "../context.ts";
import { readWhole } from "../files/checksummed-file.ts";
import { isPassing } from "../files/disk-errors.ts";
import { INDEX_ENTRY_BYTES } from "../segment/index-format.ts";

/** Batches of the journal are gathered to writes of about this size. */
export const writeBytes = 1024 * 1024;

/** Reads and writes again what is there. */
export const rewrite = async (file: DiskFile, from: number, end: number): Promise<void> => {
  for (let at = from; at < end; at += writeBytes) {
    const chunk = Buffer.alloc(Math.min(writeBytes, end - at));
    const bytes = await file.read(chunk, 0, chunk.length, at);
    await file.write([chunk.subarray(0, bytes)], at);
  }
};

/** An index that cannot be read is built again. */
export const readOrEmpty = async (context: SegmentContext, path: string): Promise<Buffer> => {
  try {
    const bytes = await readWhole(context.env.disk, path);
    return bytes.subarray(0, bytes.length - (bytes.length % INDEX_ENTRY_BYTES));
  } catch (thrown) {
    if (isPassing(thrown)) throw thrown;
    return Buffer.alloc(0);
  }
};
