/** How long acknowledgements stood still around each fault. */
import type { Ack, Event, Fault } from "./history.ts";

export interface Stall {
  readonly fault: Fault;
  /**
   * The longest time from one acknowledgement of a partition to its next one between this fault and
   * the next fault, over all partitions, ms. A stall that holds several faults counts for the first
   * of them.
   */
  readonly ms: number;
}

interface Window {
  /** When the fault before was. */
  readonly before: number;
  readonly from: number;
  readonly to: number;
}

/** The longest gap between neighbours in `times` in a window: it begins after the fault before. */
const longestGap = (
  times: readonly number[],
  { before, from, to }: Window,
  end: number,
): number => {
  let longest = 0;
  let last = 0;
  for (const t of [...times, end]) {
    if (t > from && last < to && last >= before) longest = Math.max(longest, t - last);
    last = t;
  }
  return longest;
};

/** `endMs`: when the producers stopped. */
export const stallsOf = (events: readonly Event[], endMs: number): Stall[] => {
  const faults = events.filter((event): event is Fault => event.kind === "fault");
  const acks = events.filter((event): event is Ack => event.kind === "ack");
  const times = [...Map.groupBy(acks, ({ partition }) => partition).values()].map((of) =>
    of.map(({ t }) => t),
  );
  return faults.map((fault, i) => {
    const to = faults[i + 1]?.t ?? endMs;
    const window = { before: faults[i - 1]?.t ?? 0, from: fault.t, to };
    return { fault, ms: Math.max(0, ...times.map((of) => longestGap(of, window, endMs))) };
  });
};
