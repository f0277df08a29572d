/**
 * Plans which replicas go where. Pure: what is known of brokers and partitions in, moves out. Hard
 * goals first, each as far as it can be met: replicas on active brokers alone, in as many racks as
 * there are, no broker beyond its room. No later step makes one of them worse. Then counts of
 * replicas are made even with as few copies as that takes, bytes by swaps, and preferred leaders by
 * their order.
 */
import { Board } from "./board.ts";
import { evenBytes } from "./bytes.ts";
import { evenCounts } from "./counts.ts";
import { meetHardGoals, unmetHardGoals } from "./hard-goals.ts";
import { evenLeaders } from "./leaders.ts";
import type { PlannedMove, PlanRequest, RebalancePlan, Unmet } from "./types.ts";

/** How often hard goals are tried again after counts were evened, which may have made room. */
const roundsMax = 3;

/** Plans in small steps, so that whoever has other things to do can do them in between. */
export function* planInSteps(request: PlanRequest): Generator<void, RebalancePlan> {
  const board = new Board(request);
  const before = board.shares();
  let counts: readonly Unmet[] = [];
  for (let round = 0; round < roundsMax; round += 1) {
    yield* meetHardGoals(board);
    counts = yield* evenCounts(board);
    if (unmetHardGoals(board).length === 0) break;
  }
  const others: Unmet[] = [];
  yield* evenBytes(board, request, others);
  yield* evenLeaders(board, others);
  const unmet = [...unmetHardGoals(board), ...counts, ...others];
  const moves: PlannedMove[] = [];
  let copies = 0;
  let copiedBytes = 0;
  for (const [p, { bytes, key, replicas: from }] of request.partitions.entries()) {
    const to = board.replicas[p] ?? [];
    if (to.every((id, i) => id === from[i])) continue;
    const added = to.filter((id) => !from.includes(id)).length;
    copies += added;
    copiedBytes += added * bytes;
    moves.push({ key, from, to });
  }
  return { moves, copies, copiedBytes, before, after: board.shares(), unmet };
}

/** Plans at once. */
export const planRebalance = (request: PlanRequest): RebalancePlan => {
  const steps = planInSteps(request);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
};
