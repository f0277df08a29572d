/**
 * What is fuzzed. A target takes any bytes and may refuse them only with a MillraceError; what it
 * accepts must survive being written and read again.
 */
import assert from "node:assert/strict";
import { type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/errors";
import * as brokerProto from "@millrace/proto/broker";
import * as controllerProto from "@millrace/proto/controller";
import type { TopicId } from "@millrace/record";
import {
  BatchBuilder,
  bodyCrcMatches,
  checkRecords,
  crcOf,
  decodeRecords,
  encodeStoredPrefix,
  fetchRequestCodec,
  fetchResponseCodec,
  parseBody,
  produceRequestCodec,
  produceResponseCodec,
  readStored,
  replicateRequestCodec,
  replicateResponseCodec,
  validateBatch,
} from "@millrace/record";
import { nodeCompressor } from "@millrace/record/node";
import { messageCodec } from "@millrace/rpc";
import {
  decodeRound,
  encodeRound,
  type JournalEntry,
} from "../../packages/log/src/journal/format.ts";
import {
  decodeIndex,
  encodeOffsetEntries,
  encodeTimeEntries,
} from "../../packages/log/src/segment/index-format.ts";

export interface Target {
  readonly name: string;
  /** Share of the inputs. */
  readonly weight: number;
  readonly seeds: readonly Buffer[];
  run(bytes: Buffer): void | Promise<void>;
}

interface AnyCodec {
  encode(message: never): Uint8Array;
  decode(bytes: Uint8Array): unknown;
}

/** Decoding what was encoded of what was decoded gives the same bytes. */
const stable = (codec: AnyCodec, bytes: Buffer): void => {
  const first = Buffer.from(codec.encode(codec.decode(bytes) as never));
  const second = Buffer.from(codec.encode(codec.decode(first) as never));
  assert.deepEqual(second, first, "a decoded message changes when it is written and read again");
};

const body = (count = 3, size = 20): Buffer => {
  const builder = new BatchBuilder();
  for (let i = 0; i < count; i += 1) {
    const headers = i === 1 ? [{ name: "h", value: Buffer.from("x") }] : [];
    builder.append({
      key: Buffer.from("k"),
      value: Buffer.alloc(size, i),
      timestampMs: 1_000 + i,
      headers,
    });
  }
  return builder.finishPlain();
};

const stored = (baseOffset: number): Buffer => {
  const bytes = body();
  const fields = { baseOffset, leaderEpoch: 1, appendTimeMs: 5, bodyCrc: crcOf(bytes) };
  return Buffer.concat([encodeStoredPrefix(fields, bytes.length), bytes]);
};

const noBytes = Buffer.alloc(0);
const error = {
  ...{ code: 3, message: "m", retryAfterMs: 5 },
  ...{ retriable: true, refreshMetadata: false, sideEffects: true, actualEndOffset: 41 },
  actualLastOffsetForKey: 40,
  leaderHint: {
    brokerId: 1,
    leaderEpoch: 2,
    endpoint: { host: "a", port: 1, listener: "", tls: false, authority: "" },
    metadataRevision: 3,
  },
};
const produceRequest = {
  ...{ open: undefined, requestId: 7, topicId: Buffer.alloc(16, 1), topic: "t", partition: 2 },
  ...{ leaderEpoch: 1, body: body(), bodyCrc: 1, orderEpoch: 3, expectedEndOffset: 42 },
  expectedLastOffsetForKey: 41,
};
const produceResult = {
  ...{ requestId: 7, baseOffset: 5, appendTimeMs: 6, logStartOffset: 0, guarantee: 1 },
  ...{ duplicate: true, error, windowBytes: 100 },
};
const opened = {
  ...{ windowBytes: 1, messageBytesMax: 2, clusterId: "c", brokerId: 3, featureLevel: 1 },
  producerBatches: 16,
};
const fetchCursor = {
  ...{ cursorId: 1, topicId: noBytes, topic: "t", partition: 0, offset: 9 },
  ...{ leaderEpoch: 1, lastFetchedEpoch: undefined, grantBytes: 1000 },
};
const fetchResponse = {
  ...{ opened: undefined, cursorId: 1, highWatermark: 9, logStartOffset: 0, lastStableOffset: 9 },
  ...{
    leaderEpoch: 1,
    nextOffset: 9,
    error: undefined,
    drain: undefined,
    batches: [stored(0), stored(3)],
  },
};

const replicateRequest = {
  open: {
    ...{ clusterId: "c", brokerId: 1, brokerEpoch: 2, leaderBrokerId: 3, windowBytes: 4 },
    requiredFeatures: ["f"],
  },
  unsubscribe: [1, 2],
  subscribe: [
    {
      ...{ subscriptionId: 3, topicId: Buffer.alloc(16, 1), partition: 1, leaderEpoch: 2 },
      ...{ logEndOffset: 9, lastEpoch: 1 },
    },
  ],
  durable: [{ subscriptionId: 4, durableEndOffset: 9 }],
  windowBytes: 100,
};
const progress = { subscriptionId: 1, highWatermark: 9, logStartOffset: 2, batches: [] };
const replicateResponse = {
  opened: { windowBytes: 1, heartbeatIntervalMs: 2, brokerEpoch: 3, featureLevel: 4 },
  appends: [progress, { ...progress, batches: [stored(0), stored(3)] }],
  diverge: [{ subscriptionId: 2, leaderEpoch: 3, endOffset: 4, logStartOffset: 1 }],
  refuse: [{ subscriptionId: 3, error }],
};

const hot = (name: string, codec: AnyCodec, seeds: readonly Uint8Array[]): Target => ({
  name,
  weight: 5,
  seeds: seeds.map((seed) => Buffer.from(seed)),
  run: (bytes) => stable(codec, bytes),
});

const limits = {
  ...{ bodyBytesMax: 1 << 20, recordCountMax: 1000, inflatedBytesMax: 1 << 20 },
  ...{ timestampAfterMaxMs: 1e15, timestampBeforeMaxMs: 1e15, nowMs: 2_000 },
};

const compressedBodies = async (): Promise<Buffer[]> => {
  const bodies: Buffer[] = [];
  for (const compression of ["gzip", "zstd", "lz4"] as const) {
    const builder = new BatchBuilder();
    for (let i = 0; i < 5; i += 1)
      builder.append({ value: Buffer.alloc(50, i), timestampMs: 1_000 });
    bodies.push(await builder.finish({ compression, compressor: nodeCompressor }));
  }
  return bodies;
};

const directoryId = Buffer.alloc(16, 9);
const topicId = "0a".repeat(16) as TopicId;

const journalSeeds = (): Buffer[] => {
  const payload = stored(4);
  const of = { topicId, partition: 1 };
  const entry: JournalEntry = {
    ...of,
    kind: "batch",
    offset: 4,
    headerCrc: 1,
    payload: [payload],
    payloadBytes: payload.length,
  };
  const control: JournalEntry = {
    ...of,
    kind: "logStart",
    offset: 4,
    payload: [],
    payloadBytes: 0,
  };
  return [[entry], [control, entry]].map((entries) =>
    Buffer.concat(encodeRound(directoryId, 3, 2, entries)),
  );
};

/** Every message of the services, by the generated code. */
const messages = (): DescMessage[] => {
  const all: unknown[] = [...Object.values(brokerProto), ...Object.values(controllerProto)];
  return all.filter(
    (value): value is DescMessage => (value as { kind?: string } | null)?.kind === "message",
  );
};

const rows = [
  { offset: 0, position: 0, maxBeforeMs: -1 },
  { offset: 40, position: 5000, maxBeforeMs: 1000 },
];

const generated = (desc: DescMessage): Target => ({
  name: desc.typeName,
  weight: 0.2,
  seeds: [noBytes, Buffer.from([0x0a, 1, 0x61]), Buffer.from([0x08, 1, 0x12, 2, 0x0a, 0])],
  run: (bytes) => {
    messageCodec(desc).decode(bytes);
    const once = toBinary(desc, fromBinary(desc, bytes));
    assert.deepEqual(toBinary(desc, fromBinary(desc, once)), once);
  },
});

/** All targets. */
export const targets = async (): Promise<Target[]> => [
  hot("ProduceRequest", produceRequestCodec, [
    produceRequestCodec.encode(produceRequest),
    produceRequestCodec.encode({
      ...produceRequest,
      open: { clientId: "a", acks: 1, windowBytes: 5, clusterId: "", requiredFeatures: ["f"] },
    }),
  ]),
  hot("ProduceResponse", produceResponseCodec, [
    produceResponseCodec.encode({
      opened,
      results: [produceResult],
      drain: { graceMs: 1, reason: "r" },
    }),
  ]),
  hot("FetchRequest", fetchRequestCodec, [
    fetchRequestCodec.encode({
      open: undefined,
      remove: [1, 2],
      add: [fetchCursor],
      grants: [{ cursorId: 1, bytes: 9 }],
    }),
  ]),
  hot("FetchResponse", fetchResponseCodec, [
    fetchResponseCodec.encode(fetchResponse),
    fetchResponseCodec.encode({ ...fetchResponse, error, batches: [] }),
  ]),
  hot("ReplicateRequest", replicateRequestCodec, [replicateRequestCodec.encode(replicateRequest)]),
  hot("ReplicateResponse", replicateResponseCodec, [
    replicateResponseCodec.encode(replicateResponse),
  ]),
  {
    name: "validateBatch",
    weight: 5,
    seeds: [body(), body(1, 0), body(10, 200)],
    run: async (bytes) => void (await validateBatch(bytes, undefined, limits, nodeCompressor)),
  },
  {
    name: "validateBatch, compressed",
    weight: 0.5,
    seeds: await compressedBodies(),
    run: async (bytes) => void (await validateBatch(bytes, undefined, limits, nodeCompressor)),
  },
  {
    name: "stored batches",
    weight: 5,
    seeds: [stored(0), Buffer.concat([stored(0), stored(3)])],
    run: (bytes) => {
      for (let start = 0; start < bytes.length; ) {
        const batch = readStored(bytes, start);
        if ("fault" in batch || !bodyCrcMatches(bytes, batch)) return;
        assert.ok(batch.bodyEnd > start && batch.bodyEnd <= bytes.length);
        parseBody(bytes.subarray(batch.bodyStart, batch.bodyEnd));
        start = batch.bodyEnd;
      }
    },
  },
  {
    name: "record sets",
    weight: 5,
    seeds: [Buffer.from(parseBody(body()).records), Buffer.from(parseBody(body(9, 3)).records)],
    run: (bytes) => {
      const records = decodeRecords(bytes, 1_000);
      const info = { ...parseBody(body()), recordCount: records.length, baseTimestampMs: 1_000 };
      checkRecords(bytes, info);
    },
  },
  {
    name: "journal rounds",
    weight: 3,
    seeds: journalSeeds(),
    run: (bytes) => {
      const round = decodeRound(bytes, 0, directoryId);
      for (const entry of round?.entries ?? []) {
        assert.ok(
          entry.payloadAt + entry.payloadBytes <= bytes.length,
          "a payload lies outside of its round",
        );
      }
    },
  },
  {
    name: "index files",
    weight: 3,
    seeds: [encodeOffsetEntries(0, rows), encodeTimeEntries(0, rows)],
    run: (bytes) => {
      const half = Math.floor(bytes.length / 2);
      for (const [offsets, times] of [
        [bytes, bytes],
        [bytes.subarray(0, half), bytes.subarray(half)],
      ] as const) {
        const { rows: found } = decodeIndex(0, offsets, times, 100, 10_000);
        for (const row of found)
          assert.ok(
            row.position < 10_000 && row.offset < 100,
            "a row points outside of its segment",
          );
      }
    },
  },
  ...messages().map(generated),
];

/** True when a target may refuse with it. */
export const isRefusal = (thrown: unknown): boolean => thrown instanceof MillraceError;
