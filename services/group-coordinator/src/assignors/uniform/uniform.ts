/** The assignor `uniform`: balanced, then sticky, then near (KIP-848). */
import { atOnce, Pace, type Steps } from "../../steps.ts";
import type { AssignmentRequest, Assignor, TargetAssignment } from "../assignor.ts";
import { assignmentsOf, type Board, boardOf } from "../board.ts";
import { assignAlike } from "./alike.ts";
import { racksOf } from "./racks.ts";
import { assignUnlike } from "./unlike.ts";

/** Whether members that subscribe to anything subscribe to the same topics. */
const subscribeAlike = ({ members, topics }: Board): boolean =>
  members.every(({ topicCount }) => topicCount === 0 || topicCount === topics.length);

function* steps(request: AssignmentRequest): Steps<TargetAssignment> {
  const pace = new Pace();
  const board = yield* boardOf(request, pace);
  const racks = yield* racksOf(board, pace);
  if (subscribeAlike(board)) yield* assignAlike(board, racks, pace);
  else yield* assignUnlike(board, racks, pace);
  return yield* assignmentsOf(board, pace);
}

export const uniform: Assignor = {
  name: "uniform",
  assign: (request) => atOnce(steps(request)),
  steps,
};
