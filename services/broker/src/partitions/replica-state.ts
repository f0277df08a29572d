/** The states of a partition on a broker. */
import type { PartitionLog } from "@millrace/log";
import type { Acknowledgements } from "./acknowledgements.ts";

/** Leads under `epoch`, which its log has recorded. */
export interface Leader {
  readonly kind: "leader";
  readonly log: PartitionLog;
  readonly epoch: number;
  /** Where the log ended when it took over. Until the high watermark is here, it may be too low. */
  readonly startOffset: number;
  readonly acknowledgements: Acknowledgements;
}

/**
 * ```
 *  none ──▶ follower ◀──▶ leader        any of them ──▶ closed
 *               └──▶ offline ◀──┘
 * ```
 */
export type ReplicaState =
  /** Its log is being made. */
  | { readonly kind: "none" }
  /** Does not lead: another broker does, nobody, or its log has yet to record the epoch. */
  | { readonly kind: "follower"; readonly log: PartitionLog }
  | Leader
  /** Its log is damaged, until the next start. */
  | { readonly kind: "offline"; readonly log: PartitionLog; readonly reason: string }
  /** Not a replica of this broker any more. */
  | { readonly kind: "closed" };
