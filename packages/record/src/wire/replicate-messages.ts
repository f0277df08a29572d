/**
 * The messages of the replication stream as plain objects, by the rules of `messages.ts`: 64-bit
 * fields are safe integers, absent optional fields are `undefined`, plain fields default to 0, ""
 * or empty.
 */
import type { WirePartitionError } from "./messages.ts";

/** `millrace.broker.v1.ReplicateOpen`. */
export interface WireReplicateOpen {
  readonly clusterId: string;
  readonly brokerId: number;
  readonly brokerEpoch: number;
  readonly leaderBrokerId: number;
  /** Bytes; 0 leaves the choice to the leader. 2^53 - 1 when decoded from a larger one. */
  readonly windowBytes: number;
  readonly requiredFeatures: readonly string[];
}

/** `millrace.broker.v1.ReplicaSubscription`. */
export interface WireReplicaSubscription {
  readonly subscriptionId: number;
  /** 16 bytes (other lengths are decoded as they are; the leader refuses them). A view. */
  readonly topicId: Uint8Array;
  readonly partition: number;
  readonly leaderEpoch: number;
  readonly logEndOffset: number;
  /** Undefined: the follower's log is empty. */
  readonly lastEpoch: number | undefined;
}

/** `millrace.broker.v1.ReplicaDurable`. */
export interface WireReplicaDurable {
  readonly subscriptionId: number;
  readonly durableEndOffset: number;
}

/** `millrace.broker.v1.ReplicateRequest`. */
export interface WireReplicateRequest {
  readonly open: WireReplicateOpen | undefined;
  readonly unsubscribe: readonly number[];
  readonly subscribe: readonly WireReplicaSubscription[];
  readonly durable: readonly WireReplicaDurable[];
  /** Bytes given back to the window. */
  readonly windowBytes: number;
}

/** `millrace.broker.v1.ReplicateOpened`. */
export interface WireReplicateOpened {
  readonly windowBytes: number;
  readonly heartbeatIntervalMs: number;
  readonly brokerEpoch: number;
  readonly featureLevel: number;
}

/** `millrace.broker.v1.ReplicaAppend`. */
export interface WireReplicaAppend {
  readonly subscriptionId: number;
  readonly highWatermark: number;
  readonly logStartOffset: number;
  /**
   * To encode: chunks of whole stored batches, tags included, spliced in as they are. Decoded: one
   * view that spans all batches of the append when they are contiguous (they always are from our
   * leaders), to be walked with `readStored`; several otherwise.
   */
  readonly batches: readonly Uint8Array[];
}

/** `millrace.broker.v1.ReplicaDivergence`. */
export interface WireReplicaDivergence {
  readonly subscriptionId: number;
  readonly leaderEpoch: number;
  readonly endOffset: number;
  readonly logStartOffset: number;
}

/** `millrace.broker.v1.ReplicaRefusal`. */
export interface WireReplicaRefusal {
  readonly subscriptionId: number;
  readonly error: WirePartitionError | undefined;
}

/** `millrace.broker.v1.ReplicateResponse`. */
export interface WireReplicateResponse {
  readonly opened: WireReplicateOpened | undefined;
  readonly appends: readonly WireReplicaAppend[];
  readonly diverge: readonly WireReplicaDivergence[];
  readonly refuse: readonly WireReplicaRefusal[];
}
