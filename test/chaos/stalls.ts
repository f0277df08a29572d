/** How long acknowledgements stood still around each fault. */
import type { Ack, Event, Fault } from "./history.ts";

export interface Stall {
  readonly fault: Fault;
  /**
   * The longest time from one acknowledgement of a partition to its next one that touches the time
   * from this fault to the next fault, over all partitions, ms.
   */
  readonly ms: number;
}

/** The longest gap between neighbours in `times` that touches the time from `from` to `to`. */
const longestGap = (times: readonly number[], from: number, to: number): number => {
  let longest = 0;
  let last = 0;
  for (const t of [...times, to]) {
    if (t > from && last < to) longest = Math.max(longest, t - last);
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
    const untilMs = faults[i + 1]?.t ?? endMs;
    return { fault, ms: Math.max(0, ...times.map((of) => longestGap(of, fault.t, untilMs))) };
  });
};
