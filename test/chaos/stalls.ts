/** How long acknowledgements stood still around each fault. */
import type { Ack, Event, Fault } from "./history.ts";

export interface Stall {
  readonly fault: Fault;
  /** The longest time between neighbouring acknowledgements of a partition, ms. */
  readonly ms: number;
}

/**
 * Stalls of every fault, over all partitions. The time between two acknowledgements belongs to the
 * first fault in it, and without one to the fault before. `endMs`: when the producers stopped.
 */
export const stallsOf = (events: readonly Event[], endMs: number): Stall[] => {
  const faults = events.filter((event): event is Fault => event.kind === "fault");
  const acks = events.filter((event): event is Ack => event.kind === "ack");
  const longest = faults.map(() => 0);
  for (const of of Map.groupBy(acks, ({ partition }) => partition).values()) {
    let last = 0;
    let before = -1;
    for (const t of [...of.map((ack) => ack.t), endMs]) {
      const next = faults[before + 1];
      const owner = next !== undefined && next.t <= t ? before + 1 : before;
      if (owner >= 0) longest[owner] = Math.max(longest[owner] ?? 0, t - last);
      while ((faults[before + 1]?.t ?? Number.POSITIVE_INFINITY) <= t) before += 1;
      last = t;
    }
  }
  return faults.map((fault, i) => ({ fault, ms: longest[i] ?? 0 }));
};
