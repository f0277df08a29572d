/** Hand-written codecs of the fetch stream, byte for byte equal to the generated code. */

import { WireReader } from "../reader.ts";
import {
  BATCH_TAG,
  batchesFrom,
  eachField,
  type Mutable,
  pushBounded,
  readDrain,
  readError,
  writeDrain,
  writeError,
  writePacked,
  writer,
} from "./common.ts";
import type {
  WireFetchCursor,
  WireFetchGrant,
  WireFetchOpen,
  WireFetchOpened,
  WireFetchRequest,
  WireFetchResponse,
} from "./messages.ts";

const noBytes = new Uint8Array(0);

const writeCursor = (cursor: WireFetchCursor): void => {
  writer.message(3, () => {
    writer.varint(1, cursor.cursorId);
    writer.bytes(2, cursor.topicId);
    writer.text(3, cursor.topic);
    writer.varint(4, cursor.partition);
    writer.varint(5, cursor.offset);
    writer.optional(6, cursor.leaderEpoch);
    writer.optional(7, cursor.lastFetchedEpoch);
    writer.varint(8, cursor.grantBytes);
  });
};

const encodeRequest = (message: WireFetchRequest): Buffer => {
  writer.begin();
  const { open } = message;
  if (open !== undefined) {
    writer.message(1, () => {
      writer.text(1, open.clientId);
      writer.varint(2, open.messageBytesMax);
      writer.text(3, open.clusterId);
      writer.int32(4, open.isolation);
      writer.texts(5, open.requiredFeatures);
    });
  }
  writePacked(2, message.remove);
  for (const cursor of message.add) writeCursor(cursor);
  for (const grant of message.grants) {
    writer.message(4, () => {
      writer.varint(1, grant.cursorId);
      writer.varint(2, grant.bytes);
    });
  }
  return writer.finish();
};

const readOpen = (bytes: Uint8Array, into: WireFetchOpen | undefined): WireFetchOpen => {
  // In place: a copy for each opening would let a small message take seconds.
  const requiredFeatures = (into?.requiredFeatures as string[] | undefined) ?? [];
  const open: Mutable<WireFetchOpen> = {
    ...(into ?? { clientId: "", messageBytesMax: 0, clusterId: "", isolation: 0 }),
    requiredFeatures,
  };
  const reader = new WireReader(bytes, "FetchOpen");
  eachField(reader, (field, wireType) => {
    if (field === 1 && wireType === 2) open.clientId = reader.text();
    else if (field === 2 && wireType === 0) open.messageBytesMax = reader.cappedUint64();
    else if (field === 3 && wireType === 2) open.clusterId = reader.text();
    else if (field === 4 && wireType === 0) open.isolation = reader.int32();
    else if (field === 5 && wireType === 2) pushBounded(requiredFeatures, reader.text(), reader);
    else return false;
    return true;
  });
  return open;
};

const readCursor = (bytes: Uint8Array): WireFetchCursor => {
  const cursor: Mutable<WireFetchCursor> = {
    cursorId: 0,
    topicId: noBytes,
    topic: "",
    partition: 0,
    offset: 0,
    leaderEpoch: undefined,
    lastFetchedEpoch: undefined,
    grantBytes: 0,
  };
  const reader = new WireReader(bytes, "FetchCursor");
  eachField(reader, (field, wireType) => {
    if (field === 2 && wireType === 2) cursor.topicId = reader.view();
    else if (field === 3 && wireType === 2) cursor.topic = reader.text();
    else if (wireType !== 0) return false;
    else if (field === 1) cursor.cursorId = reader.uint32();
    else if (field === 4) cursor.partition = reader.uint32();
    else if (field === 5) cursor.offset = reader.cappedUint64();
    else if (field === 6) cursor.leaderEpoch = reader.uint32();
    else if (field === 7) cursor.lastFetchedEpoch = reader.uint32();
    else if (field === 8) cursor.grantBytes = reader.cappedUint64();
    else return false;
    return true;
  });
  return cursor;
};

const readGrant = (bytes: Uint8Array): WireFetchGrant => {
  const grant: Mutable<WireFetchGrant> = { cursorId: 0, bytes: 0 };
  const reader = new WireReader(bytes, "FetchGrant");
  eachField(reader, (field, wireType) => {
    if (field === 1 && wireType === 0) grant.cursorId = reader.uint32();
    else if (field === 2 && wireType === 0) grant.bytes = reader.cappedUint64();
    else return false;
    return true;
  });
  return grant;
};

const decodeRequest = (bytes: Uint8Array): WireFetchRequest => {
  const remove: number[] = [];
  const add: WireFetchCursor[] = [];
  const grants: WireFetchGrant[] = [];
  const message: Mutable<WireFetchRequest> = { open: undefined, remove, add, grants };
  const reader = new WireReader(bytes, "FetchRequest");
  eachField(reader, (field, wireType) => {
    if (field === 2 && wireType === 0) pushBounded(remove, reader.uint32(), reader);
    else if (wireType !== 2) return false;
    else if (field === 1) message.open = readOpen(reader.view(), message.open);
    else if (field === 2) {
      const packed = new WireReader(reader.view(), "FetchRequest");
      while (!packed.done) pushBounded(remove, packed.uint32(), reader);
    } else if (field === 3) pushBounded(add, readCursor(reader.view()), reader);
    else if (field === 4) pushBounded(grants, readGrant(reader.view()), reader);
    else return false;
    return true;
  });
  return message;
};

const encodeResponse = (message: WireFetchResponse): Buffer => {
  writeResponseHead(message);
  return writer.finish(message.batches);
};

/** As encodeResponse, without copying the batches. */
const responseParts = (message: WireFetchResponse): readonly Uint8Array[] => {
  writeResponseHead(message);
  return [writer.finish(), ...message.batches];
};

const writeResponseHead = (message: WireFetchResponse): void => {
  writer.begin();
  const { opened } = message;
  if (opened !== undefined) {
    writer.message(1, () => {
      writer.varint(1, opened.heartbeatIntervalMs);
      writer.text(2, opened.clusterId);
      writer.varint(3, opened.brokerId);
      writer.varint(4, opened.cursorsMax);
      writer.varint(5, opened.featureLevel);
    });
  }
  writer.optional(2, message.cursorId);
  writer.optional(3, message.highWatermark);
  writer.optional(4, message.logStartOffset);
  writer.optional(5, message.lastStableOffset);
  writer.optional(6, message.leaderEpoch);
  writer.optional(7, message.nextOffset);
  writeError(8, message.error);
  writeDrain(9, message.drain);
};

const readOpened = (bytes: Uint8Array, into: WireFetchOpened | undefined): WireFetchOpened => {
  const opened: Mutable<WireFetchOpened> = into ?? {
    heartbeatIntervalMs: 0,
    clusterId: "",
    brokerId: 0,
    cursorsMax: 0,
    featureLevel: 0,
  };
  const reader = new WireReader(bytes, "FetchOpened");
  eachField(reader, (field, wireType) => {
    if (field === 2 && wireType === 2) opened.clusterId = reader.text();
    else if (wireType !== 0) return false;
    else if (field === 1) opened.heartbeatIntervalMs = reader.uint32();
    else if (field === 3) opened.brokerId = reader.uint32();
    else if (field === 4) opened.cursorsMax = reader.uint32();
    else if (field === 5) opened.featureLevel = reader.uint32();
    else return false;
    return true;
  });
  return opened;
};

const decodeResponse = (bytes: Uint8Array): WireFetchResponse => {
  const batches: Uint8Array[] = [];
  const message: Mutable<WireFetchResponse> = {
    opened: undefined,
    cursorId: undefined,
    highWatermark: undefined,
    logStartOffset: undefined,
    lastStableOffset: undefined,
    leaderEpoch: undefined,
    nextOffset: undefined,
    error: undefined,
    drain: undefined,
    batches,
  };
  const reader = new WireReader(bytes, "FetchResponse");
  while (!reader.done) {
    const start = reader.at;
    const tag = reader.tag();
    if (tag === BATCH_TAG) batches.push(batchesFrom(reader, start));
    else readResponseField(reader, tag, message);
  }
  return message;
};

/** A response that says nothing: a heartbeat. */
export const blankFetchResponse = decodeResponse(noBytes);

const readResponseField = (
  reader: WireReader,
  tag: number,
  message: Mutable<WireFetchResponse>,
): void => {
  const field = Math.floor(tag / 8);
  const wireType = tag & 7;
  if (wireType === 0) {
    if (field === 2) message.cursorId = reader.uint32();
    else if (field === 3) message.highWatermark = reader.uint64();
    else if (field === 4) message.logStartOffset = reader.uint64();
    else if (field === 5) message.lastStableOffset = reader.uint64();
    else if (field === 6) message.leaderEpoch = reader.uint32();
    else if (field === 7) message.nextOffset = reader.uint64();
    else reader.skip(wireType);
  } else if (field === 1 && wireType === 2) {
    message.opened = readOpened(reader.view(), message.opened);
  } else if (field === 8 && wireType === 2) {
    message.error = readError(reader.view(), message.error);
  } else if (field === 9 && wireType === 2) {
    message.drain = readDrain(reader.view(), message.drain);
  } else reader.skip(wireType);
};

/** `millrace.broker.v1.FetchRequest`. */
export const fetchRequestCodec = { encode: encodeRequest, decode: decodeRequest };
/** `millrace.broker.v1.FetchResponse`. Decoded `batches` are views. */
export const fetchResponseCodec = {
  encode: encodeResponse,
  decode: decodeResponse,
  parts: responseParts,
};
