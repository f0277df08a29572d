/** Plans between other work: a controller must not be deaf while it plans. */
import type { Clock } from "@millrace/env";
import { planInSteps } from "./planner.ts";
import type { PlanRequest, RebalancePlan } from "./types.ts";

/** Longest time without a pause, ms. */
const sliceMsMax = 10;

export const planBetween = async (
  clock: Pick<Clock, "defer" | "monoMs">,
  request: PlanRequest,
): Promise<RebalancePlan> => {
  const steps = planInSteps(request);
  let sinceMs = clock.monoMs();
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (clock.monoMs() - sinceMs < sliceMsMax) continue;
    await new Promise<void>((resolve) => clock.defer(resolve));
    sinceMs = clock.monoMs();
  }
};
