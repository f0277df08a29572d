/**
 * The messages of the streams as plain objects, for the hand-written codecs of this package. 64-bit
 * fields are safe integers: a larger value on the wire is refused as INVALID_REQUEST or, for bounds
 * and positions, reduced to the largest. Absent optional fields are `undefined`; plain fields
 * default to 0, "" or empty.
 */

/** `millrace.common.v1.PartitionError`. */
export interface WirePartitionError {
  readonly code: number;
  readonly message: string;
  readonly leaderHint: WireLeaderHint | undefined;
  readonly retryAfterMs: number | undefined;
  readonly retriable: boolean;
  readonly refreshMetadata: boolean;
  readonly sideEffects: boolean;
  readonly actualEndOffset: number | undefined;
  /** -1: the log has no record of the key. */
  readonly actualLastOffsetForKey: number | undefined;
}

/** `millrace.common.v1.Endpoint`. */
export interface WireEndpoint {
  readonly host: string;
  readonly port: number;
  readonly listener: string;
  readonly tls: boolean;
  readonly authority: string;
}

/** `millrace.common.v1.LeaderHint`. */
export interface WireLeaderHint {
  readonly brokerId: number;
  readonly leaderEpoch: number;
  readonly endpoint: WireEndpoint | undefined;
  readonly metadataRevision: number;
}

/** `millrace.common.v1.Drain`. */
export interface WireDrain {
  readonly graceMs: number;
  readonly reason: string;
}

/** `millrace.broker.v1.ProduceOpen`. */
export interface WireProduceOpen {
  readonly clientId: string;
  readonly acks: number;
  readonly windowBytes: number;
  readonly clusterId: string;
  readonly requiredFeatures: readonly string[];
}

/** `millrace.broker.v1.ProduceRequest`. Of the batch only what a producer may set. */
export interface WireProduceRequest {
  readonly open: WireProduceOpen | undefined;
  readonly requestId: number;
  /** Empty or 16 bytes (other lengths are decoded as they are; the broker refuses them). */
  readonly topicId: Uint8Array;
  readonly topic: string;
  readonly partition: number;
  readonly leaderEpoch: number | undefined;
  /** Undefined: no batch in the message. A view when decoded. Empty when the batch has no body. */
  readonly body: Uint8Array | undefined;
  readonly bodyCrc: number | undefined;
  /** 0: none. */
  readonly orderEpoch: number;
  /** Undefined: wherever the log ends. */
  readonly expectedEndOffset: number | undefined;
  /** -1: the log has no record of the key. Undefined: whatever it has. */
  readonly expectedLastOffsetForKey: number | undefined;
  /**
   * To encode only: bytes before `body` in its memory that the encoder may overwrite, so that the
   * message needs no copy of the body. The encoded message then shares the memory of the body.
   */
  readonly headroomBytes?: number;
}

/** `millrace.broker.v1.ProduceOpened`. */
export interface WireProduceOpened {
  readonly windowBytes: number;
  readonly messageBytesMax: number;
  readonly clusterId: string;
  readonly brokerId: number;
  readonly featureLevel: number;
  readonly producerBatches: number;
}

/** `millrace.broker.v1.ProduceResult`. */
export interface WireProduceResult {
  readonly requestId: number;
  readonly baseOffset: number | undefined;
  readonly appendTimeMs: number | undefined;
  readonly logStartOffset: number | undefined;
  readonly guarantee: number;
  readonly duplicate: boolean;
  readonly error: WirePartitionError | undefined;
  readonly windowBytes: number;
}

/** `millrace.broker.v1.ProduceResponse`. */
export interface WireProduceResponse {
  readonly opened: WireProduceOpened | undefined;
  readonly results: readonly WireProduceResult[];
  readonly drain: WireDrain | undefined;
}

/** `millrace.broker.v1.FetchOpen`. */
export interface WireFetchOpen {
  readonly clientId: string;
  readonly messageBytesMax: number;
  readonly clusterId: string;
  readonly isolation: number;
  readonly requiredFeatures: readonly string[];
}

/** `millrace.broker.v1.FetchCursor`. */
export interface WireFetchCursor {
  readonly cursorId: number;
  /** Empty or 16 bytes (other lengths are decoded as they are; the broker refuses them). */
  readonly topicId: Uint8Array;
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly leaderEpoch: number | undefined;
  readonly lastFetchedEpoch: number | undefined;
  readonly grantBytes: number;
}

/** `millrace.broker.v1.FetchGrant`. */
export interface WireFetchGrant {
  readonly cursorId: number;
  readonly bytes: number;
}

/** `millrace.broker.v1.FetchRequest`. */
export interface WireFetchRequest {
  readonly open: WireFetchOpen | undefined;
  readonly remove: readonly number[];
  readonly add: readonly WireFetchCursor[];
  readonly grants: readonly WireFetchGrant[];
}

/** `millrace.broker.v1.FetchOpened`. */
export interface WireFetchOpened {
  readonly heartbeatIntervalMs: number;
  readonly clusterId: string;
  readonly brokerId: number;
  readonly cursorsMax: number;
  readonly featureLevel: number;
}

/** `millrace.broker.v1.FetchResponse`. */
export interface WireFetchResponse {
  readonly opened: WireFetchOpened | undefined;
  readonly cursorId: number | undefined;
  readonly highWatermark: number | undefined;
  readonly logStartOffset: number | undefined;
  readonly lastStableOffset: number | undefined;
  readonly leaderEpoch: number | undefined;
  readonly nextOffset: number | undefined;
  readonly error: WirePartitionError | undefined;
  readonly drain: WireDrain | undefined;
  /**
   * To encode: chunks of whole stored batches, spliced in as they are. Decoded: one view per
   * message that spans all batches when they are contiguous (they always are from our servers), to
   * be walked with `readStored`; several otherwise.
   */
  readonly batches: readonly Uint8Array[];
}
