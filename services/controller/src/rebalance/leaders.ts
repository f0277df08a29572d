/** Preferred leaders: as many on each broker as on any other, or one more. Copies nothing. */
import type { Board, Seat } from "./board.ts";
import { type Step, shortestPath } from "./paths.ts";
import type { Unmet } from "./types.ts";

export function* evenLeaders(board: Board, unmet: Unmet[]): Generator<void> {
  const stuck = new Set<Seat>();
  for (;;) {
    yield;
    const seats = [...board.active].sort(
      (a, b) => a.led.size - b.led.size || a.broker.id - b.broker.id,
    );
    const from = seats.findLast((seat) => !stuck.has(seat));
    if (from === undefined || from.led.size - (seats[0]?.led.size ?? 0) <= 1) break;
    const most = from.led.size - 2;
    const stepsFrom = function* (id: number, isNew: (to: number) => boolean): Iterable<Step> {
      for (const what of board.seat(id).led) {
        if (board.isFixed(what)) continue;
        for (const to of board.replicas[what] ?? []) {
          if (isNew(to) && board.isActive(to)) yield { from: id, to, what };
        }
      }
    };
    const path = shortestPath(from.broker.id, stepsFrom, (id) => board.seat(id).led.size <= most);
    if (path === undefined) stuck.add(from);
    else for (const { what, to } of path.toReversed()) board.lead(what, to);
  }
  const counts = board.active.map(({ led }) => led.size);
  if (stuck.size === 0 || Math.max(...counts) - Math.min(...counts) <= 1) return;
  const ids = [...stuck].map(({ broker }) => broker.id).join(", ");
  const why = `brokers ${ids} are to lead more partitions than others, which have no replicas of these`;
  unmet.push({ goal: "leaders", why });
}
