export type { Steps } from "../steps.ts";
export type {
  Assignment,
  AssignmentRequest,
  Assignor,
  MemberId,
  MemberSubscription,
  TargetAssignment,
  TopicPartitions,
} from "./assignor.ts";
export { range } from "./range.ts";
export { uniform } from "./uniform/uniform.ts";
