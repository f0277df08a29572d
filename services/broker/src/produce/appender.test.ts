import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { topicConfigOf } from "@millrace/config";
import type { Compressor } from "@millrace/env";
import { nodeClock } from "@millrace/env/node";
import { within } from "@millrace/env/testing";
import { MillraceError } from "@millrace/errors";
import type { LogGauges, LogManager } from "@millrace/log";
import { ProduceOnceRequestSchema } from "@millrace/proto/broker";
import { Acks, Guarantee } from "@millrace/proto/common";
import { BatchBuilder } from "@millrace/record";
import { nodeCompressor } from "@millrace/record/node";
import { Replica } from "../partitions/replica.ts";
import { produceOnce } from "../produce-once.ts";
import { FakeLog } from "../testing/fake-log.ts";
import { partitionOf, topicOf } from "../testing/fake-view.ts";
import { mirrored, replicaContext } from "../testing/replicas.ts";
import { TopicMeters } from "../topic-meters.ts";
import { Appender } from "./appender.ts";
import type { AppendOrder, AppendResult } from "./pending-append.ts";

const clock = nodeClock();

const bodyOf = (value: string, compression: "none" | "zstd" = "none"): Promise<Uint8Array> => {
  const builder = new BatchBuilder();
  builder.append({ value: Buffer.from(value), timestampMs: clock.wallMs() });
  return builder.finish({ compression, compressor: nodeCompressor });
};

/** A log that stores batches at the end of the turn, unless the test holds them. */
class SwiftLog extends FakeLog {
  holds = false;

  override append(...args: Parameters<FakeLog["append"]>) {
    const appended = super.append(...args);
    if (!this.holds) clock.defer(() => this.commit());
    return appended;
  }
}

/** An appender over one replica whose log notes what it takes; inflating waits for the test. */
const setUp = async () => {
  const log = new SwiftLog();
  const inflating: (() => void)[] = [];
  const counted: [records: number, bytes: number][] = [];
  const state = { pendingBytes: 0 };
  let waitsForLog = 0;
  const config = topicConfigOf({ "min.insync.replicas": "2" });
  const meters = new TopicMeters({ topicsMax: 1, partitionsMax: 0 });
  const context = replicaContext({ meterOf: (...names) => meters.open(...names) });
  const replica = new Replica(context, topicOf("t", []), partitionOf(0, 0, 3), config);
  replica.opened(log.asLog());
  mirrored(replica, log);
  await replica.followView();
  const take = async (leaderEpoch: number, isr = [0, 1]): Promise<void> => {
    replica.take(partitionOf(0, 0, leaderEpoch, isr), config);
    await replica.followView();
  };
  const compressor: Compressor = {
    ...nodeCompressor,
    decompress: async (kind, bytes, bytesMax) => {
      await new Promise<void>((resolve) => inflating.push(resolve));
      return nodeCompressor.decompress(kind, bytes, bytesMax);
    },
  };
  const gauges = { pendingBytesMax: 1000 };
  const logs: Pick<LogManager, "gauges" | "waitForPendingRoom"> = {
    gauges: () => Object.assign({} as LogGauges, gauges, { pendingBytes: state.pendingBytes }),
    waitForPendingRoom: () => {
      waitsForLog += 1;
      return Promise.resolve();
    },
  };
  const appender = new Appender({
    ...{ clock, compressor, identity: { clusterId: "c", brokerId: 0 } },
    logs,
    replicas: { find: () => replica },
    metrics: {
      onProduce: () => {},
      onAppend: (records: number, bytes: number) => counted.push([records, bytes]),
    },
  } as never);
  const append = (body: Uint8Array, { acks = Acks.ALL, ...asked }: AppendOptions = {}) =>
    new Promise<AppendResult>((resolve) => {
      const target = { topicId: new Uint8Array(0), topic: "t", partition: 0, bodyCrc: undefined };
      appender.append({ ...target, leaderEpoch: undefined, ...asked }, body, acks, resolve);
    });
  const { appended } = log;
  return {
    appender,
    append,
    appended,
    inflating,
    log,
    counted,
    totals: () => [...meters.topics()][0]?.totals ?? assert.fail(),
    state,
    take,
    waitsForLog: () => waitsForLog,
  };
};

interface AppendOptions {
  readonly leaderEpoch?: number;
  readonly acks?: Acks;
  readonly order?: AppendOrder;
  readonly expectedEndOffset?: number;
}

const codeOf = (result: AppendResult): string =>
  "error" in result ? result.error.codeName : "appended";

test("batches of a partition are appended in the order of their requests, however long each inflates", async () => {
  const { append, appended, inflating } = await setUp();
  const bodies = await Promise.all([
    bodyOf("a".repeat(500), "zstd"),
    bodyOf("b", "zstd"),
    bodyOf("plain"),
  ]);
  const results = bodies.map((body) => append(body));
  await clock.sleep(5);
  assert.deepEqual(appended, [], "the plain batch waits for those before it");
  inflating[1]?.();
  await clock.sleep(20);
  assert.deepEqual(appended, [], "and so does the second");
  inflating[0]?.();
  assert.deepEqual((await Promise.all(results)).map(codeOf), ["appended", "appended", "appended"]);
  assert.deepEqual(
    appended.map(({ bytes }) => bytes),
    bodies.map(({ length }) => length),
  );
});

test("what is appended counts for its topic, and what is refused as an error of it", async () => {
  const { append, counted, log, totals } = await setUp();
  const body = await bodyOf("v");
  assert.equal(codeOf(await append(body)), "appended");
  log.duplicateOf = 0;
  assert.equal(codeOf(await append(body)), "appended");
  assert.deepEqual(counted, [[1, body.length]], "a retry of what is there is not appended");
  const { producedRecords, producedBytes, errors } = totals();
  assert.deepEqual([producedRecords, producedBytes, errors], [1, body.length, 0]);
  assert.equal(codeOf(await append(body, { leaderEpoch: 2 })), "FENCED_LEADER_EPOCH");
  assert.equal(codeOf(await append(Buffer.from("no batch"))), "CORRUPT_MESSAGE");
  assert.deepEqual([totals().errors, totals().producedRecords], [2, 1]);
});

test("a batch is appended under the leader epoch of the moment of its append", async () => {
  const { append, appended, inflating, take } = await setUp();
  const fenced = append(await bodyOf("a", "zstd"), { leaderEpoch: 3 });
  const anyEpoch = append(await bodyOf("b", "zstd"));
  await clock.sleep(1);
  await take(4);
  for (const resume of inflating) resume();
  assert.equal(codeOf(await fenced), "FENCED_LEADER_EPOCH");
  assert.equal(codeOf(await anyEpoch), "appended");
  assert.deepEqual(
    appended.map(({ epoch }) => epoch),
    [4],
  );
});

test("acks all needs min.insync.replicas, other acks do not; the answer says what is guaranteed", async () => {
  const { append, take } = await setUp();
  const body = await bodyOf("a");
  const guarantee = async (acks: Acks) => {
    const result = await within(append(body, { acks }), `answer to acks ${Acks[acks]}`);
    return "error" in result ? result.error.codeName : Guarantee[result.guarantee];
  };
  assert.equal(await guarantee(Acks.ALL), "FSYNCED_QUORUM");
  await take(3, [0]);
  assert.equal(await guarantee(Acks.ALL), "NOT_ENOUGH_REPLICAS");
  assert.equal(await guarantee(Acks.LEADER), "FSYNCED_LEADER");
  assert.equal(await guarantee(Acks.NONE), "RECEIVED");
});

test("bytes that are being validated count as pending", async () => {
  const { appender, append, inflating, state, waitsForLog } = await setUp();
  state.pendingBytes = 740;
  assert.equal(appender.waitForCapacity(), undefined);
  const result = append(await bodyOf("a", "zstd"));
  await appender.waitForCapacity();
  assert.equal(waitsForLog(), 1);
  await clock.sleep(1);
  inflating[0]?.();
  await result;
  assert.equal(appender.waitForCapacity(), undefined, "and no longer than that");
});

/** An order that notes what it is told. */
const orderOf = () => {
  const told: string[] = [];
  return { told, check: () => told.push("check"), failed: () => told.push("failed") };
};

test("a request that fails after its append stops the later ones of its order", async () => {
  const { append, log, take } = await setUp();
  const order = orderOf();
  log.holds = true;
  const appended = append(await bodyOf("a"), { order });
  assert.deepEqual(order.told, ["check"]);
  await take(4);
  assert.equal(codeOf(await appended), "UNAVAILABLE");
  assert.deepEqual(order.told, ["check", "failed"]);
});

test("acks none is answered before anything is stored, other acks are not", async () => {
  const { append, log } = await setUp();
  log.holds = true;
  const body = await bodyOf("a");
  assert.equal(codeOf(await append(body, { acks: Acks.NONE })), "appended");
  const rest = Promise.all([append(body, { acks: Acks.LEADER }), append(body)]);
  assert.equal(await Promise.race([rest, clock.sleep(10).then(() => "waiting")]), "waiting");
  log.commit();
  assert.deepEqual((await rest).map(codeOf), ["appended", "appended"]);
});

test("the log is told of records that have their timestamps from this broker", async () => {
  const { appender, log } = await setUp();
  const value = Buffer.from("v");
  const once = (...records: { value: Buffer; timestampDeltaMs?: bigint }[]) =>
    produceOnce(appender, create(ProduceOnceRequestSchema, { topic: "t", records }));
  await once({ value }, { value, timestampDeltaMs: 7n });
  await once({ value, timestampDeltaMs: 7n });
  assert.deepEqual(log.ownTimes, [true, false]);
});

test("ProduceOnce answers a retry with the first offset, once the first append has its acks", async () => {
  const { appender, log } = await setUp();
  log.holds = true;
  const batch = { body: await bodyOf("v") };
  const once = () => produceOnce(appender, create(ProduceOnceRequestSchema, { topic: "t", batch }));
  const first = once();
  await clock.sleep(1);
  log.duplicateOf = log.logEndOffset - 1;
  const retry = once();
  assert.equal(await Promise.race([retry, clock.sleep(10).then(() => "waiting")]), "waiting");
  log.commit();
  const [appended, repeated] = await Promise.all([first, retry]);
  assert.deepEqual([appended.duplicate, repeated.duplicate], [false, true]);
  assert.equal(repeated.baseOffset, appended.baseOffset);
});

test("an end of the log is expected at the moment of the append, however long a batch inflates", async () => {
  const { append, inflating, log } = await setUp();
  log.logEndOffset = 5;
  const first = append(await bodyOf("a", "zstd"), { expectedEndOffset: 5 });
  const rival = append(await bodyOf("b", "zstd"), { expectedEndOffset: 5 });
  const next = append(await bodyOf("c"), { expectedEndOffset: 6 });
  await clock.sleep(1);
  for (const resume of inflating) resume();
  const results = await Promise.all([first, rival, next]);
  assert.deepEqual(results.map(codeOf), ["appended", "END_OFFSET_MISMATCH", "appended"]);
  const refused = results[1];
  assert.ok(refused !== undefined && "error" in refused);
  assert.equal(refused.error.actualEndOffset, 6n);
  assert.match(refused.error.message, /^t-0 ends at offset 6, the append expects 5, and was not/);
});

test("an expected end needs acks all", async () => {
  const { append, appended } = await setUp();
  const body = await bodyOf("a");
  for (const acks of [Acks.LEADER, Acks.NONE]) {
    const result = await append(body, { acks, expectedEndOffset: 0 });
    assert.equal(codeOf(result), "INVALID_REQUEST");
    const text = "error" in result ? result.error.message : "";
    assert.match(text, new RegExp(`needs acks all, not ${Acks[acks]?.toLowerCase()}: `));
  }
  assert.deepEqual(appended, []);
  assert.equal(codeOf(await append(body, { expectedEndOffset: 0 })), "appended");
});

test("an append that expects another end stops the later ones of its order", async () => {
  const { append, appended } = await setUp();
  const order = orderOf();
  const result = await append(await bodyOf("a"), { order, expectedEndOffset: 1 });
  assert.equal(codeOf(result), "END_OFFSET_MISMATCH");
  assert.deepEqual([order.told[0], order.told[1], appended], ["check", "failed", []]);
});

test("what comes behind a mismatch knows of it before that is told", async () => {
  const { append, log } = await setUp();
  const [first, order] = [orderOf(), orderOf()];
  log.holds = true;
  const appended = append(await bodyOf("a"), { order: first, expectedEndOffset: 0 });
  const refused = append(await bodyOf("b"), { order, expectedEndOffset: 0 });
  assert.deepEqual([first.told, order.told], [["check"], ["check", "failed"]]);
  const waits = clock.sleep(10).then(() => "it waits");
  assert.equal(await Promise.race([refused.then(codeOf), waits]), "it waits");
  log.commit();
  assert.deepEqual(
    [codeOf(await appended), codeOf(await refused)],
    ["appended", "END_OFFSET_MISMATCH"],
  );
});

test("ProduceOnce appends where the caller expects, or says where the log ends", async () => {
  const { appender, log } = await setUp();
  log.logEndOffset = 3;
  log.ackedEndOffset = 3;
  log.notify();
  const records = [{ value: Buffer.from("v") }];
  const once = (expectedEndOffset: bigint) =>
    produceOnce(
      appender,
      create(ProduceOnceRequestSchema, { topic: "t", records, expectedEndOffset }),
    );
  for (const elsewhere of [0n, 2n, 4n, 2n ** 64n - 1n]) {
    await assert.rejects(once(elsewhere), (thrown) => {
      const { actualEndOffset, codeName } = MillraceError.from(thrown);
      assert.deepEqual([codeName, actualEndOffset], ["END_OFFSET_MISMATCH", 3n]);
      return true;
    });
  }
  assert.equal((await once(3n)).baseOffset, 3n);
  assert.equal(log.appended.length, 1);
});
