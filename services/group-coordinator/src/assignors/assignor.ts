/** What an assignor is told, and what it answers. */
import type { TopicId } from "@millrace/record";
import type { Steps } from "../steps.ts";

export type MemberId = string;

/** Partitions by topic, rising. */
export type Assignment = ReadonlyMap<TopicId, readonly number[]>;

/** A member of a group, as far as it matters to an assignor. */
export interface MemberSubscription {
  /** Of a static member. */
  readonly instanceId?: string | undefined;
  readonly rackId?: string | undefined;
  readonly topicIds: ReadonlySet<TopicId>;
  /**
   * What the present target gives it. Topics and partitions that are gone are passed over, and so
   * is what the member no longer subscribes to. Of two members with one partition the first keeps
   * it, in the order of `inOrder`.
   */
  readonly assigned: Assignment;
}

export interface TopicPartitions {
  readonly partitionCount: number;
  /** By partition, the racks of its replicas, as far as they are known. */
  readonly racks?: readonly (readonly string[])[] | undefined;
}

export interface AssignmentRequest {
  /** By member id, in no order that matters. */
  readonly members: ReadonlyMap<MemberId, MemberSubscription>;
  /** Topics that there are, in no order that matters. */
  readonly topics: ReadonlyMap<TopicId, TopicPartitions>;
}

/** Of every member, also where it is empty. */
export type TargetAssignment = ReadonlyMap<MemberId, Assignment>;

export interface Assignor {
  readonly name: "uniform" | "range";
  /** The whole computation at once. */
  assign(request: AssignmentRequest): TargetAssignment;
  /** The same in steps of some milliseconds, for beside an event loop. */
  steps(request: AssignmentRequest): Steps<TargetAssignment>;
}
