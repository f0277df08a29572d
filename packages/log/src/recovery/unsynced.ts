/** Segments that were deleted below the log start, and whose names a power cut brought back. */
import type { SegmentContext } from "../context.ts";
import { BatchScanner } from "../segment/batch-scanner.ts";
import type { Place } from "../segment/place.ts";
import type { Segment } from "../segment/segment.ts";

/**
 * Where the whole batches of a segment end, from `start` on, as far as `before`; `sound` is false
 * when something else follows there.
 */
const reach = async (
  context: SegmentContext,
  segment: Segment,
  start: Place,
  before: number,
): Promise<Place & { readonly sound: boolean }> =>
  context.files.with(segment, async (file) => {
    const scanner = new BatchScanner(context.env.clock, file, start.position, before);
    let { offset } = start;
    for (;;) {
      const batch = await scanner.peek();
      if ("end" in batch || batch.header.baseOffset < offset) {
        return { offset, position: scanner.position, sound: "end" in batch && batch.end };
      }
      offset = batch.lastOffset + 1;
      scanner.skip(batch);
    }
  });

/**
 * Whether a recovery point at `end` may not be believed of its segment: the segment was deleted
 * after the point had been asked for, and nobody fsynced it any more. All of it lies below
 * `logStart` then, and what it holds is not what the point says.
 */
export const cameBackUnsynced = async (
  context: SegmentContext,
  segment: Segment,
  end: Place,
  logStart: number,
): Promise<boolean> => {
  if (end.position === 0 || end.offset > logStart) return false;
  const start = { offset: segment.baseOffset, position: 0 };
  const reached = await reach(context, segment, start, end.position);
  if (reached.sound && reached.offset === end.offset) return false;
  // A segment that goes on above the log start was not deleted: its bytes rotted.
  const behind = await reach(context, segment, end, segment.sizeBytes);
  return behind.offset <= logStart;
};
