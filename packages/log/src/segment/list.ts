/** Segments as a directory holds them. */
import type { Disk } from "@millrace/env";
import { offsetName, parseSegmentName } from "../files/paths.ts";
import { INDEX_ENTRY_BYTES } from "./index-format.ts";
import { Segment } from "./segment.ts";

/**
 * A partition's segments in order, by the `names` in its directory. Each is believed to end where
 * the next one begins; the last one's end is its base until somebody knows better. Index rows are
 * not loaded.
 */
export const listSegments = async (
  disk: Disk,
  directory: string,
  names: ReadonlySet<string>,
): Promise<Segment[]> => {
  const bases = [...names].flatMap((name) => parseSegmentName(name) ?? []).sort((a, b) => a - b);
  const entriesOf = async (name: string): Promise<number> => {
    if (!names.has(name)) return 0;
    const bytes = (await disk.fileSize(`${directory}/${name}`)) ?? 0;
    return Math.floor(bytes / INDEX_ENTRY_BYTES);
  };
  const segments: Segment[] = [];
  for (const [i, base] of bases.entries()) {
    const name = offsetName(base);
    const sizeBytes = (await disk.fileSize(`${directory}/${name}.log`)) ?? 0;
    const files = [`${name}.index`, `${name}.timeindex`] as const;
    const entries = {
      rows: await entriesOf(files[0]),
      times: await entriesOf(files[1]),
      there: files.some((file) => names.has(file)),
    };
    segments.push(Segment.found(directory, base, sizeBytes, bases[i + 1] ?? base, entries));
  }
  return segments;
};
