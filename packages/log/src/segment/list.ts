/** Segments as a directory holds them. */
import type { Disk } from "@millrace/env";
import { offsetName, parseSegmentName } from "../files/paths.ts";
import { INDEX_ENTRY_BYTES } from "./index-format.ts";
import { Segment } from "./segment.ts";

/** A partition's segments in order, each believed to end where the next one begins; the last one's end is its base
 * until somebody knows better. Index rows are not loaded. */
export const listSegments = async (disk: Disk, directory: string): Promise<Segment[]> => {
  const names = new Set(await disk.list(directory));
  const bases = [...names].flatMap((name) => parseSegmentName(name) ?? []).sort((a, b) => a - b);
  const segments: Segment[] = [];
  for (const [i, base] of bases.entries()) {
    const segment = new Segment(directory, base);
    segment.created = true;
    segment.sizeBytes = (await disk.fileSize(segment.path)) ?? 0;
    segment.writtenBytes = segment.sizeBytes;
    segment.endOffset = bases[i + 1] ?? base;
    segment.rows = undefined;
    segment.maxComplete = false;
    segment.finished = true;
    segment.indexSynced = true;
    const name = offsetName(base);
    if (names.has(`${name}.index`)) {
      const bytes = (await disk.fileSize(segment.indexPath)) ?? 0;
      segment.rowsOnDisk = Math.floor(bytes / INDEX_ENTRY_BYTES);
    }
    if (names.has(`${name}.timeindex`)) {
      const bytes = (await disk.fileSize(segment.timeIndexPath)) ?? 0;
      segment.timeEntriesOnDisk = Math.floor(bytes / INDEX_ENTRY_BYTES);
    }
    segments.push(segment);
  }
  return segments;
};
