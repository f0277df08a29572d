/** The states of a partition on a broker. */
import type { PartitionLog } from "@millrace/log";
import type { Leader } from "./leader.ts";

/** Does not lead: another broker does, nobody, or its log has yet to record the epoch. */
export interface Follower {
  readonly kind: "follower";
  readonly log: PartitionLog;
}

/**
 * ```
 *  none ──▶ follower ◀──▶ leader        any of them ──▶ closed
 *   ▲           └──▶ offline ◀──┘
 *   └──────────────────┘
 * ```
 */
export type ReplicaState =
  /** Its log is being made. */
  | { readonly kind: "none" }
  | Follower
  | Leader
  /** Its log is damaged, until the next start, or until it is deleted to be copied anew. */
  | { readonly kind: "offline"; readonly log: PartitionLog; readonly reason: string }
  /** Not a replica of this broker any more. */
  | { readonly kind: "closed" };
