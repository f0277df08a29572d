/** GetLatest over a log that a test moves on, and that compaction has been at. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { topicConfigOf } from "@millrace/config";
import type { Clock } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { GetLatestRequestSchema } from "@millrace/proto/broker";
import type { CallContext } from "@millrace/rpc";
import { type GetLatestContext, getLatest } from "./get-latest.ts";
import { KeyIndex } from "./latest/key-index.ts";
import { indexContext, type Line, ReadableLog, settled } from "./latest/testing.ts";
import { noMetrics } from "./metrics.ts";
import { Replica } from "./partitions/replica.ts";
import { partitionOf, topicOf } from "./testing/fake-view.ts";
import { replicaContext } from "./testing/replicas.ts";

const config = topicConfigOf({ "cleanup.policy": "compact" });

/** The leader of a log with these batches, all committed, and what a call of it is answered. */
const setUp = async (...batches: readonly (readonly Line[])[]) => {
  const log = new ReadableLog();
  log.fill(...batches);
  log.highWatermark = log.logEndOffset;
  const shared = indexContext();
  const { clock, compressor } = shared.context;
  const replica = new Replica(
    replicaContext({ keyIndexOf: (of, moved) => new KeyIndex(shared.context, of, moved) }),
    ...([topicOf("t", []), partitionOf(0, 1, 1), config] as const),
  );
  replica.opened(log.asLog());
  const lead = async (leaderEpoch: number, leader = 0): Promise<void> => {
    replica.take(partitionOf(0, leader, leaderEpoch, [0]), config);
    await replica.followView();
  };
  await lead(2);
  await settled();
  const replicas = { find: () => replica, partitionCount: () => 1 };
  const reads: boolean[] = [];
  const metrics = { ...noMetrics, onLatestRead: (hit: boolean) => void reads.push(hit) };
  const context = { ...{ replicas, compressor, metrics }, clock: clock as Clock };
  const call = {
    signal: new AbortController().signal,
    draining: new AbortController().signal,
  } as CallContext;
  const ask = async (request: MessageInitShape<typeof GetLatestRequestSchema>): Promise<string> => {
    try {
      const message = create(GetLatestRequestSchema, { topic: "t", ...request });
      const answer = await getLatest(context as unknown as GetLatestContext, message, call);
      const found = answer.records.map(({ key, record }) => {
        const value = record?.value === undefined ? "-" : "";
        return `${Buffer.from(key)}${record === undefined ? " none" : ` ${value}${record.offset}`}`;
      });
      return `${found.join(", ")} of ${answer.indexedOffset}`;
    } catch (thrown) {
      return MillraceError.from(thrown).codeName;
    }
  };
  const keys = (...names: string[]) => ask({ keys: names.map((name) => Buffer.from(name)) });
  const list = () => ask({ keyPrefix: new Uint8Array(0) });
  const index = () => replica.requireLeader(undefined).requireKeyIndex();
  return { ...shared, ask, index, keys, lead, list, log, reads, replica };
};

test("the latest records are found inside of their batches, and in those that compaction left", async () => {
  const { keys, list, log } = await setUp(["a", "b", "a"], ["-c", "b"], ["d"]);
  assert.equal(await keys("a", "b", "c", "x"), "a 2, b 4, c -3, x none of 6");
  assert.equal(await list(), "a 2, b 4, d 5 of 6");
  log.compact(3, ["-c", "b"]);
  assert.equal(await keys("d", "a"), "d 5, a 2 of 6");
});

test("a tombstone that compaction removed is a key without a record, and is forgotten", async () => {
  const { index, keys, list, log } = await setUp(["a"], ["-b"]);
  assert.equal(await keys("b"), "b -1 of 2");
  log.compact(1, []);
  assert.equal(index().keys, 2);
  assert.equal(await keys("b", "a"), "b none, a 0 of 2");
  assert.deepEqual([index().keys, index().lastAppended("b")], [1, undefined]);
  assert.equal(await list(), "a 0 of 2");
});

test("a record that should be there, and is not, is no answer", async () => {
  const { keys, log } = await setUp(["a"]);
  log.compact(0, []);
  assert.equal(await keys("a"), "INTERNAL");
  log.compact(0, ["b"]);
  assert.equal(await keys("a"), "INTERNAL", "nor is that of another key");
});

test("what is overwritten or deleted while it is read is answered as it is then", async () => {
  const { index, keys, log } = await setUp(["a"], ["b"]);
  const read = log.read.bind(log);
  log.read = async (offset, maxBytes) => {
    log.read = read;
    const result = await read(offset, maxBytes);
    log.compact(0, []);
    log.fill(["a"]);
    index().appended(2, { keys: ["a"], isNull: [false] });
    log.highWatermark = 3;
    index().progress();
    return { ...result, chunks: [], bytes: 0 };
  };
  assert.equal(await keys("a"), "a 2 of 2");
  log.read = async () => {
    log.logStartOffset = 3;
    throw new MillraceError(ErrorCode.OFFSET_OUT_OF_RANGE, "it begins at 3");
  };
  assert.equal(await keys("b"), "b none of 3");
});

test("a record that was read is remembered, as long as it is the latest of its key", async () => {
  const { index, keys, list, log, reads } = await setUp(["a", "b"], ["-c"]);
  const before = log.reads;
  await list();
  assert.equal(log.reads, before + 1);
  assert.equal(await keys("a", "b"), "a 0, b 1 of 3", "a scan is not remembered");
  assert.equal(log.reads, before + 2);
  assert.equal(await keys("b", "a"), "b 1, a 0 of 3");
  assert.deepEqual([log.reads, reads], [before + 2, [false, false, false, false, true, true]]);
  log.fill(["a"]);
  index().appended(3, { keys: ["a"], isNull: [false] });
  log.highWatermark = 4;
  index().progress();
  assert.equal(await keys("a"), "a 3 of 4");
  log.logStartOffset = 2;
  assert.equal(await keys("b"), "b none of 4");
  assert.deepEqual([await keys("c"), log.reads], ["c -2 of 4", before + 4]);
  assert.deepEqual([await keys("c"), log.reads], ["c -2 of 4", before + 5], "nor is a tombstone");
});

test("a thousand records are answered in several turns of the event loop", async () => {
  const names = Array.from({ length: 1_000 }, (_, i) => `k${i}`);
  const { keys, reads, turns } = await setUp(names);
  await keys(...names);
  const before = turns();
  await keys(...names);
  assert.deepEqual([reads.filter((hit) => hit).length, turns() - before], [1_000, 4]);
});

test("what is remembered is of one leadership, and of a log that is not offline", async () => {
  const { keys, lead, log } = await setUp(["a"]);
  await keys("a");
  log.failures.push(new MillraceError(ErrorCode.PARTITION_OFFLINE, "damage"));
  assert.equal(await keys("a"), "a 0 of 1");
  log.state = { kind: "offline", reason: "damage" };
  assert.equal(await keys("a"), "PARTITION_OFFLINE");
  log.state = { kind: "online" };
  assert.equal(await keys("a"), "a 0 of 1");
  await lead(3, 1);
  await lead(4);
  await settled();
  const { reads } = log;
  assert.deepEqual([await keys("a"), log.reads], ["a 0 of 1", reads + 1]);
});

test("an answer waits for what its caller has seen, and no longer than it is to", async () => {
  const { ask, index, log, timers } = await setUp(["a"]);
  const key = [Buffer.from("a")];
  assert.equal(await ask({ keys: key, minOffset: 1n }), "a 0 of 1");
  assert.equal(await ask({ keys: key, minOffset: 2n }), "OFFSET_OUT_OF_RANGE");
  const waiting = ask({ keys: key, minOffset: 2n, maxWaitMs: 1000 });
  await settled();
  assert.equal(timers.size, 1);
  log.fill(["a"]);
  index().appended(1, { keys: ["a"], isNull: [false] });
  log.updateHighWatermark(2);
  assert.equal(await waiting, "a 1 of 2");
  assert.equal(timers.size, 0);
});

test("everything that was committed when the call came is in the answer", async () => {
  const { index, keys, log } = await setUp(["a"]);
  const names = Array.from({ length: 1_200 }, (_, i) => `k${i}`);
  log.fill(names);
  index().appended(1, { keys: names, isNull: names.map(() => false) });
  log.updateHighWatermark(1_201);
  assert.ok(index().committedEnd < 1_201, "it is taken over in several turns");
  assert.equal(await keys("k1199"), "k1199 1200 of 1201");
});

test("only a leader answers, and a leadership that ends meanwhile answers nothing", async () => {
  const { ask, keys, lead, log } = await setUp(["a"]);
  const read = log.read.bind(log);
  log.read = async (...args) => {
    const result = await read(...args);
    await lead(3, 1);
    return result;
  };
  assert.equal(await keys("a"), "NOT_LEADER");
  log.read = read;
  await lead(4);
  const key = [Buffer.from("a")];
  assert.equal(await ask({ keys: key }), "KEY_INDEX_LOAD_IN_PROGRESS");
  assert.equal(await ask({ keys: key, maxWaitMs: 1000 }), "a 0 of 1");
  assert.equal(await ask({ keys: key, leaderEpoch: 3 }), "FENCED_LEADER_EPOCH");
  await lead(5);
  await lead(6);
  const waiting = ask({ keys: key, maxWaitMs: 1000 });
  await lead(7, 1);
  assert.equal(await waiting, "NOT_LEADER");
});

test("a scan looks at a bounded number of keys, and goes on behind them", async () => {
  const dead = Array.from({ length: 10_001 }, (_, i) => `-k${10_000 + i}`);
  const { index, list, replica } = await setUp(dead, ["z"]);
  for (let i = 0; i < 20 && index().kind !== "ready"; i += 1) await settled();
  assert.equal(await list(), " of 10002", "a page without records");
  const page = async (pageToken: Uint8Array) => {
    const replicas = { find: () => replica, partitionCount: () => 1 };
    const { clock, compressor } = indexContext().context;
    const context = { replicas, clock, compressor, metrics: noMetrics };
    const request = create(GetLatestRequestSchema, { keyPrefix: new Uint8Array(0), pageToken });
    return getLatest(context as never, request, {} as never);
  };
  const first = await page(new Uint8Array(0));
  const second = await page(first.nextPageToken);
  assert.deepEqual([first.records.length, second.records.length], [0, 1]);
  assert.equal(second.nextPageToken.length, 0);
});
