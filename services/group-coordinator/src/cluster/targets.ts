/** Target assignments, made by the assignors in steps. */
import type { Clock } from "@millrace/env";
import {
  type AssignmentRequest,
  range,
  type TargetAssignment,
  uniform,
} from "../assignors/index.ts";
import type { Target } from "../group/assignments.ts";
import { PartitionSet } from "../group/partition-map.ts";
import type { TargetRequest } from "../shard/shard.ts";

/** Longest turn of the event loop, ms, give or take a step. */
const turnMs = 5;

const requestOf = ({ members, topics }: TargetRequest): AssignmentRequest => ({
  members: new Map(
    [...members].map(([memberId, { assigned, ...member }]) => [
      memberId,
      { ...member, assigned: new Map(assigned.sorted()) },
    ]),
  ),
  topics: new Map([...topics].map(([topicId, partitionCount]) => [topicId, { partitionCount }])),
});

const targetOf = (assignment: TargetAssignment): Target =>
  new Map([...assignment].map(([memberId, topics]) => [memberId, PartitionSet.of(topics)]));

/** Makes a target, in as many turns of the event loop as it takes. */
export const makeTarget = async (
  clock: Pick<Clock, "defer" | "monoMs">,
  request: TargetRequest,
): Promise<Target> => {
  const steps = (request.assignor === "range" ? range : uniform).steps(requestOf(request));
  let endMs = clock.monoMs() + turnMs;
  for (;;) {
    const step = steps.next();
    if (step.done === true) return targetOf(step.value);
    if (clock.monoMs() < endMs) continue;
    await new Promise<void>((resolve) => clock.defer(resolve));
    endMs = clock.monoMs() + turnMs;
  }
};
