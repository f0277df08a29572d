/** Parts that several wire messages share. */

import { WireReader } from "../reader.ts";
import { varintBytes } from "../varint.ts";
import { WireWriter } from "../writer.ts";
import type { WireDrain, WireEndpoint, WireLeaderHint, WirePartitionError } from "./messages.ts";

/** Most elements of a repeated field that a decoder takes. */
export const ELEMENTS_MAX = 10_000;

/**
 * Most elements where a message of a replication stream has one per subscription: one sync of a
 * follower's disk, or one round of a leader's progress, may concern every partition between two
 * brokers, and is one message. Only brokers send these messages.
 */
export const SUBSCRIPTION_ELEMENTS_MAX = 100_000;

/** Field 15 with wire type 2, as it stands before every stored batch. */
export const BATCH_TAG = 0x7a;

/** Scratch memory of all encoders; each encode is one synchronous section. */
export const writer = new WireWriter();

const named = (bytes: Uint8Array): WireReader => new WireReader(bytes, "sub-");

/**
 * Calls `field` for every field of a sub-message; it returns false for one that it does not know.
 */
export const eachField = (
  reader: WireReader,
  field: (number: number, wireType: number) => boolean,
): void => {
  while (!reader.done) {
    const tag = reader.tag();
    const wireType = tag & 7;
    if (!field(Math.floor(tag / 8), wireType)) reader.skip(wireType);
  }
};

/** Adds to a repeated field, which must not have more than `elementsMax` elements. */
export const pushBounded = <T>(
  list: T[],
  value: T,
  reader: WireReader,
  elementsMax = ELEMENTS_MAX,
): void => {
  if (list.length >= elementsMax) {
    throw reader.excess(`more than ${elementsMax} elements of a kind: send several`);
  }
  list.push(value);
};

/**
 * A view of the batches, tags included, from the one at `start`, whose tag has been read, to the
 * last that follows without another field between. Moves the reader behind them.
 */
export const batchesFrom = (reader: WireReader, start: number): Uint8Array => {
  const { bytes } = reader;
  reader.view();
  while (bytes[reader.at] === BATCH_TAG) {
    reader.at += 1;
    reader.view();
  }
  return bytes.subarray(start, reader.at);
};

/** A packed field of varints: an empty list is not written. */
export const writePacked = (field: number, values: readonly number[]): void => {
  if (values.length === 0) return;
  let bytes = 0;
  for (const value of values) bytes += varintBytes(value);
  writer.header(field, bytes);
  for (const value of values) writer.bare(value);
};

/** A mutable copy of a readonly message while it is decoded. */
export type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export const writeDrain = (field: number, drain: WireDrain | undefined): void => {
  if (drain === undefined) return;
  writer.message(field, () => {
    writer.varint(1, drain.graceMs);
    writer.text(2, drain.reason);
  });
};

export const readDrain = (bytes: Uint8Array, into: WireDrain | undefined): WireDrain => {
  const drain: Mutable<WireDrain> = into ?? { graceMs: 0, reason: "" };
  const reader = named(bytes);
  eachField(reader, (field, wireType) => {
    if (field === 1 && wireType === 0) drain.graceMs = reader.uint32();
    else if (field === 2 && wireType === 2) drain.reason = reader.text();
    else return false;
    return true;
  });
  return drain;
};

const writeEndpoint = (field: number, endpoint: WireEndpoint | undefined): void => {
  if (endpoint === undefined) return;
  writer.message(field, () => {
    writer.text(1, endpoint.host);
    writer.varint(2, endpoint.port);
    writer.text(3, endpoint.listener);
    writer.bool(4, endpoint.tls);
    writer.text(5, endpoint.authority);
  });
};

export const writeError = (field: number, error: WirePartitionError | undefined): void => {
  if (error === undefined) return;
  writer.message(field, () => {
    writer.int32(1, error.code);
    writer.text(2, error.message);
    const hint = error.leaderHint;
    if (hint !== undefined) {
      writer.message(3, () => {
        writer.varint(1, hint.brokerId);
        writer.varint(2, hint.leaderEpoch);
        writeEndpoint(3, hint.endpoint);
        writer.varint(4, hint.metadataRevision);
      });
    }
    writer.optional(4, error.retryAfterMs);
    writer.bool(5, error.retriable);
    writer.bool(6, error.refreshMetadata);
    writer.bool(7, error.sideEffects);
    writer.optional(8, error.actualEndOffset);
    writer.optionalSigned(9, error.actualLastOffsetForKey);
  });
};

const readEndpoint = (bytes: Uint8Array, into: WireEndpoint | undefined): WireEndpoint => {
  const endpoint: Mutable<WireEndpoint> = into ?? {
    host: "",
    port: 0,
    listener: "",
    tls: false,
    authority: "",
  };
  const reader = named(bytes);
  eachField(reader, (field, wireType) => {
    if (field === 1 && wireType === 2) endpoint.host = reader.text();
    else if (field === 2 && wireType === 0) endpoint.port = reader.uint32();
    else if (field === 3 && wireType === 2) endpoint.listener = reader.text();
    else if (field === 4 && wireType === 0) endpoint.tls = reader.bool();
    else if (field === 5 && wireType === 2) endpoint.authority = reader.text();
    else return false;
    return true;
  });
  return endpoint;
};

const readHint = (bytes: Uint8Array, into: WireLeaderHint | undefined): WireLeaderHint => {
  const hint: Mutable<WireLeaderHint> = into ?? {
    brokerId: 0,
    leaderEpoch: 0,
    endpoint: undefined,
    metadataRevision: 0,
  };
  const reader = named(bytes);
  eachField(reader, (field, wireType) => {
    if (field === 1 && wireType === 0) hint.brokerId = reader.uint32();
    else if (field === 2 && wireType === 0) hint.leaderEpoch = reader.uint32();
    else if (field === 3 && wireType === 2)
      hint.endpoint = readEndpoint(reader.view(), hint.endpoint);
    else if (field === 4 && wireType === 0) hint.metadataRevision = reader.uint64();
    else return false;
    return true;
  });
  return hint;
};

export const readError = (
  bytes: Uint8Array,
  into: WirePartitionError | undefined,
): WirePartitionError => {
  const error: Mutable<WirePartitionError> = into ?? {
    code: 0,
    message: "",
    leaderHint: undefined,
    retryAfterMs: undefined,
    retriable: false,
    refreshMetadata: false,
    sideEffects: false,
    actualEndOffset: undefined,
    actualLastOffsetForKey: undefined,
  };
  const reader = named(bytes);
  eachField(reader, (field, wireType) => {
    if (field === 1 && wireType === 0) error.code = reader.int32();
    else if (field === 2 && wireType === 2) error.message = reader.text();
    else if (field === 3 && wireType === 2)
      error.leaderHint = readHint(reader.view(), error.leaderHint);
    else if (wireType !== 0) return false;
    else if (field === 4) error.retryAfterMs = reader.uint32();
    else if (field === 5) error.retriable = reader.bool();
    else if (field === 6) error.refreshMetadata = reader.bool();
    else if (field === 7) error.sideEffects = reader.bool();
    else if (field === 8) error.actualEndOffset = reader.uint64();
    else if (field === 9) error.actualLastOffsetForKey = reader.cappedSint64();
    else return false;
    return true;
  });
  return error;
};
