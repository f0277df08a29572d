/** Hand-written codecs of the replication stream, byte for byte equal to the generated code. */

import { WireReader } from "../reader.ts";
import {
  BATCH_TAG,
  batchesFrom,
  eachField,
  type Mutable,
  pushBounded,
  readError,
  SUBSCRIPTION_ELEMENTS_MAX,
  writeError,
  writePacked,
  writer,
} from "./common.ts";
import type {
  WireReplicaAppend,
  WireReplicaDivergence,
  WireReplicaDurable,
  WireReplicaRefusal,
  WireReplicaSubscription,
  WireReplicateOpen,
  WireReplicateOpened,
  WireReplicateRequest,
  WireReplicateResponse,
} from "./replicate-messages.ts";

const noBytes = new Uint8Array(0);
/** Shared by all appends that only report progress. */
const noBatches: readonly Uint8Array[] = [];

const writeOpen = (open: WireReplicateOpen): void => {
  writer.message(1, () => {
    writer.text(1, open.clusterId);
    writer.varint(2, open.brokerId);
    writer.varint(3, open.brokerEpoch);
    writer.varint(4, open.leaderBrokerId);
    writer.varint(5, open.windowBytes);
    writer.texts(6, open.requiredFeatures);
  });
};

const encodeRequest = (message: WireReplicateRequest): Buffer => {
  writer.begin();
  if (message.open !== undefined) writeOpen(message.open);
  writePacked(2, message.unsubscribe);
  for (const subscription of message.subscribe) {
    writer.message(3, () => {
      writer.varint(1, subscription.subscriptionId);
      writer.bytes(2, subscription.topicId);
      writer.varint(3, subscription.partition);
      writer.varint(4, subscription.leaderEpoch);
      writer.varint(5, subscription.logEndOffset);
      writer.optional(6, subscription.lastEpoch);
    });
  }
  for (const durable of message.durable) {
    writer.message(4, () => {
      writer.varint(1, durable.subscriptionId);
      writer.varint(2, durable.durableEndOffset);
    });
  }
  writer.varint(5, message.windowBytes);
  return writer.finish();
};

interface OpenDraft extends Mutable<WireReplicateOpen> {
  /** Grows in place: a copy for each repeated `open` would take quadratic time. */
  readonly requiredFeatures: string[];
}

const readOpen = (bytes: Uint8Array, into: OpenDraft | undefined): OpenDraft => {
  const open: OpenDraft = into ?? {
    clusterId: "",
    brokerId: 0,
    brokerEpoch: 0,
    leaderBrokerId: 0,
    windowBytes: 0,
    requiredFeatures: [],
  };
  const reader = new WireReader(bytes, "ReplicateOpen");
  eachField(reader, (field, wireType) => {
    if (field === 1 && wireType === 2) open.clusterId = reader.text();
    else if (field === 6 && wireType === 2) {
      pushBounded(open.requiredFeatures, reader.text(), reader);
    } else if (wireType !== 0) return false;
    else if (field === 2) open.brokerId = reader.uint32();
    else if (field === 3) open.brokerEpoch = reader.uint64();
    else if (field === 4) open.leaderBrokerId = reader.uint32();
    else if (field === 5) open.windowBytes = reader.cappedUint64();
    else return false;
    return true;
  });
  return open;
};

const readSubscription = (bytes: Uint8Array): WireReplicaSubscription => {
  const subscription: Mutable<WireReplicaSubscription> = {
    subscriptionId: 0,
    topicId: noBytes,
    partition: 0,
    leaderEpoch: 0,
    logEndOffset: 0,
    lastEpoch: undefined,
  };
  const reader = new WireReader(bytes, "ReplicaSubscription");
  eachField(reader, (field, wireType) => {
    if (field === 2 && wireType === 2) subscription.topicId = reader.view();
    else if (wireType !== 0) return false;
    else if (field === 1) subscription.subscriptionId = reader.uint32();
    else if (field === 3) subscription.partition = reader.uint32();
    else if (field === 4) subscription.leaderEpoch = reader.uint32();
    else if (field === 5) subscription.logEndOffset = reader.uint64();
    else if (field === 6) subscription.lastEpoch = reader.uint32();
    else return false;
    return true;
  });
  return subscription;
};

const readDurable = (bytes: Uint8Array): WireReplicaDurable => {
  const durable: Mutable<WireReplicaDurable> = { subscriptionId: 0, durableEndOffset: 0 };
  const reader = new WireReader(bytes, "ReplicaDurable");
  eachField(reader, (field, wireType) => {
    if (field === 1 && wireType === 0) durable.subscriptionId = reader.uint32();
    else if (field === 2 && wireType === 0) durable.durableEndOffset = reader.uint64();
    else return false;
    return true;
  });
  return durable;
};

const decodeRequest = (bytes: Uint8Array): WireReplicateRequest => {
  let open: OpenDraft | undefined;
  const unsubscribe: number[] = [];
  const subscribe: WireReplicaSubscription[] = [];
  const durable: WireReplicaDurable[] = [];
  let windowBytes = 0;
  const reader = new WireReader(bytes, "ReplicateRequest");
  eachField(reader, (field, wireType) => {
    if (field === 5 && wireType === 0) windowBytes = reader.uint64();
    else if (field === 2 && wireType === 0) pushBounded(unsubscribe, reader.uint32(), reader);
    else if (wireType !== 2) return false;
    else if (field === 1) open = readOpen(reader.view(), open);
    else if (field === 2) {
      const packed = new WireReader(reader.view(), "ReplicateRequest");
      while (!packed.done) pushBounded(unsubscribe, packed.uint32(), reader);
    } else if (field === 3) pushBounded(subscribe, readSubscription(reader.view()), reader);
    else if (field === 4) {
      pushBounded(durable, readDurable(reader.view()), reader, SUBSCRIPTION_ELEMENTS_MAX);
    } else return false;
    return true;
  });
  return { open, unsubscribe, subscribe, durable, windowBytes };
};

/** Where the batches of an append go in what was written of a response. */
interface Splice {
  readonly at: number;
  readonly batches: readonly Uint8Array[];
}

/** Writes everything but the batches, which count in the lengths of their appends. */
const writeResponse = (message: WireReplicateResponse): readonly Splice[] => {
  const splices: Splice[] = [];
  writer.begin();
  const { opened } = message;
  if (opened !== undefined) {
    writer.message(1, () => {
      writer.varint(1, opened.windowBytes);
      writer.varint(2, opened.heartbeatIntervalMs);
      writer.varint(3, opened.brokerEpoch);
      writer.varint(4, opened.featureLevel);
    });
  }
  for (const append of message.appends) {
    writeAppend(append);
    const { batches } = append;
    if (batches.length > 0) splices.push({ at: writer.sizeBytes, batches });
  }
  for (const divergence of message.diverge) {
    writer.message(3, () => {
      writer.varint(1, divergence.subscriptionId);
      writer.varint(2, divergence.leaderEpoch);
      writer.varint(3, divergence.endOffset);
      writer.varint(4, divergence.logStartOffset);
    });
  }
  for (const refusal of message.refuse) {
    writer.message(4, () => {
      writer.varint(1, refusal.subscriptionId);
      writeError(2, refusal.error);
    });
  }
  return splices;
};

const writeAppend = (append: WireReplicaAppend): void => {
  let batchBytes = 0;
  for (const chunk of append.batches) batchBytes += chunk.length;
  const write = (): void => {
    writer.varint(1, append.subscriptionId);
    writer.varint(2, append.highWatermark);
    writer.varint(3, append.logStartOffset);
  };
  writer.message(2, write, batchBytes);
};

/** As encodeResponse, without copying the batches. */
const responseParts = (message: WireReplicateResponse): readonly Uint8Array[] => {
  const splices = writeResponse(message);
  const written = writer.finish();
  if (splices.length === 0) return [written];
  const parts: Uint8Array[] = [];
  let from = 0;
  for (const { at, batches } of splices) {
    parts.push(written.subarray(from, at));
    for (const chunk of batches) parts.push(chunk);
    from = at;
  }
  if (from < written.length) parts.push(written.subarray(from));
  return parts;
};

const encodeResponse = (message: WireReplicateResponse): Uint8Array => {
  const parts = responseParts(message);
  const [only] = parts;
  return only !== undefined && parts.length === 1 ? only : Buffer.concat(parts);
};

const readOpened = (
  bytes: Uint8Array,
  into: WireReplicateOpened | undefined,
): WireReplicateOpened => {
  const opened: Mutable<WireReplicateOpened> = into ?? {
    windowBytes: 0,
    heartbeatIntervalMs: 0,
    brokerEpoch: 0,
    featureLevel: 0,
  };
  const reader = new WireReader(bytes, "ReplicateOpened");
  eachField(reader, (field, wireType) => {
    if (wireType !== 0) return false;
    if (field === 1) opened.windowBytes = reader.uint64();
    else if (field === 2) opened.heartbeatIntervalMs = reader.uint32();
    else if (field === 3) opened.brokerEpoch = reader.uint64();
    else if (field === 4) opened.featureLevel = reader.uint32();
    else return false;
    return true;
  });
  return opened;
};

const readAppend = (bytes: Uint8Array): WireReplicaAppend => {
  let batches: Uint8Array[] | undefined;
  const append = { subscriptionId: 0, highWatermark: 0, logStartOffset: 0 };
  const reader = new WireReader(bytes, "ReplicaAppend");
  while (!reader.done) {
    const start = reader.at;
    // A tag is the number of the field times 8, plus the wire type: 0 for a varint.
    const tag = reader.tag();
    if (tag === BATCH_TAG) {
      batches ??= [];
      pushBounded(batches, batchesFrom(reader, start), reader);
    } else if (tag === 8) append.subscriptionId = reader.uint32();
    else if (tag === 16) append.highWatermark = reader.uint64();
    else if (tag === 24) append.logStartOffset = reader.uint64();
    else reader.skip(tag & 7);
  }
  return { ...append, batches: batches ?? noBatches };
};

const readDivergence = (bytes: Uint8Array): WireReplicaDivergence => {
  const divergence: Mutable<WireReplicaDivergence> = {
    subscriptionId: 0,
    leaderEpoch: 0,
    endOffset: 0,
    logStartOffset: 0,
  };
  const reader = new WireReader(bytes, "ReplicaDivergence");
  eachField(reader, (field, wireType) => {
    if (wireType !== 0) return false;
    if (field === 1) divergence.subscriptionId = reader.uint32();
    else if (field === 2) divergence.leaderEpoch = reader.uint32();
    else if (field === 3) divergence.endOffset = reader.uint64();
    else if (field === 4) divergence.logStartOffset = reader.uint64();
    else return false;
    return true;
  });
  return divergence;
};

const readRefusal = (bytes: Uint8Array): WireReplicaRefusal => {
  const refusal: Mutable<WireReplicaRefusal> = { subscriptionId: 0, error: undefined };
  const reader = new WireReader(bytes, "ReplicaRefusal");
  eachField(reader, (field, wireType) => {
    if (field === 1 && wireType === 0) refusal.subscriptionId = reader.uint32();
    else if (field === 2 && wireType === 2) {
      refusal.error = readError(reader.view(), refusal.error);
    } else return false;
    return true;
  });
  return refusal;
};

const decodeResponse = (bytes: Uint8Array): WireReplicateResponse => {
  let opened: WireReplicateOpened | undefined;
  const appends: WireReplicaAppend[] = [];
  const diverge: WireReplicaDivergence[] = [];
  const refuse: WireReplicaRefusal[] = [];
  const reader = new WireReader(bytes, "ReplicateResponse");
  eachField(reader, (field, wireType) => {
    if (wireType !== 2) return false;
    if (field === 1) opened = readOpened(reader.view(), opened);
    else if (field === 2) {
      pushBounded(appends, readAppend(reader.view()), reader, SUBSCRIPTION_ELEMENTS_MAX);
    } else if (field === 3) pushBounded(diverge, readDivergence(reader.view()), reader);
    else if (field === 4) pushBounded(refuse, readRefusal(reader.view()), reader);
    else return false;
    return true;
  });
  return { opened, appends, diverge, refuse };
};

/** A request that says nothing. */
export const blankReplicateRequest = decodeRequest(noBytes);
/** A response that says nothing: a heartbeat. */
export const blankReplicateResponse = decodeResponse(noBytes);

/** `millrace.broker.v1.ReplicateRequest`. Decoded `topicId`s are views. */
export const replicateRequestCodec = { encode: encodeRequest, decode: decodeRequest };
/** `millrace.broker.v1.ReplicateResponse`. Decoded `batches` are views. */
export const replicateResponseCodec = {
  encode: encodeResponse,
  decode: decodeResponse,
  parts: responseParts,
};
