import assert from "node:assert/strict";
import { test } from "node:test";
import type { Compressor } from "@millrace/env";
import { nodeClock } from "@millrace/env/node";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { LogGauges, LogManager } from "@millrace/log";
import { Acks, Guarantee } from "@millrace/proto/common";
import { BatchBuilder } from "@millrace/record";
import { nodeCompressor } from "@millrace/record/node";
import { Appender, type AppendResult } from "./appender.ts";

const clock = nodeClock();

const bodyOf = (value: string, compression: "none" | "zstd" = "none"): Promise<Uint8Array> => {
  const builder = new BatchBuilder();
  builder.append({ value: Buffer.from(value), timestampMs: clock.wallMs() });
  return builder.finish({ compression, compressor: nodeCompressor });
};

/** An appender over one replica whose log notes what it takes; inflating waits for the test. */
const setUp = () => {
  const appended: { bytes: number; epoch: number }[] = [];
  const inflating: (() => void)[] = [];
  const state = { epoch: 3, isr: [0, 1], pendingBytes: 0 };
  let waitsForLog = 0;
  const replica = {
    name: "t-0",
    config: {
      "flush.policy": "commit",
      "max.message.bytes": 1_000_000,
      "message.timestamp.after.max.ms": 10_000,
      "message.timestamp.before.max.ms": 10_000,
    },
    minInsyncReplicas: 2,
    get view() {
      return { isr: state.isr };
    },
    get leadingEpoch() {
      return state.epoch;
    },
    requireLeader: (expected: number | undefined) => {
      if (expected !== undefined && expected !== state.epoch) {
        throw new MillraceError(ErrorCode.FENCED_LEADER_EPOCH, "old");
      }
      return state.epoch;
    },
    log: {
      logStartOffset: 0,
      append: (batch: { body: Uint8Array }, epoch: number, done: () => void) => {
        appended.push({ bytes: batch.body.length, epoch });
        clock.defer(done);
        const offset = appended.length - 1;
        return { baseOffset: offset, lastOffset: offset, appendTimeMs: 1, duplicate: false };
      },
    },
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
  const context = {
    ...{ clock, compressor, identity: { clusterId: "c", brokerId: 0 } },
    logs,
    replicas: { find: () => replica },
    metrics: { onProduce: () => {}, onAppend: () => {} },
  };
  const appender = new Appender(context as never);
  const append = (
    body: Uint8Array,
    { leaderEpoch, acks = Acks.ALL }: { leaderEpoch?: number; acks?: Acks } = {},
  ) =>
    new Promise<AppendResult>((resolve) => {
      const target = { topicId: new Uint8Array(0), topic: "t", partition: 0, bodyCrc: undefined };
      appender.append({ ...target, leaderEpoch }, body, acks, resolve);
    });
  return { appender, append, appended, inflating, state, waitsForLog: () => waitsForLog };
};

const codeOf = (result: AppendResult): string =>
  "error" in result ? result.error.codeName : "appended";

test("batches of a partition are appended in the order of their requests, however long each inflates", async () => {
  const { append, appended, inflating } = setUp();
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

test("a batch is appended under the leader epoch of the moment of its append", async () => {
  const { append, appended, inflating, state } = setUp();
  const fenced = append(await bodyOf("a", "zstd"), { leaderEpoch: 3 });
  const anyEpoch = append(await bodyOf("b", "zstd"));
  await clock.sleep(1);
  state.epoch = 4;
  for (const resume of inflating) resume();
  assert.equal(codeOf(await fenced), "FENCED_LEADER_EPOCH");
  assert.equal(codeOf(await anyEpoch), "appended");
  assert.deepEqual(
    appended.map(({ epoch }) => epoch),
    [4],
  );
});

test("acks all needs min.insync.replicas, other acks do not; the answer says what is guaranteed", async () => {
  const { append, state } = setUp();
  const body = await bodyOf("a");
  const guarantee = async (acks: Acks) => {
    const result = await append(body, { acks });
    return "error" in result ? result.error.codeName : Guarantee[result.guarantee];
  };
  assert.equal(await guarantee(Acks.ALL), "FSYNCED_QUORUM");
  state.isr = [0];
  assert.equal(await guarantee(Acks.ALL), "NOT_ENOUGH_REPLICAS");
  assert.equal(await guarantee(Acks.LEADER), "FSYNCED_LEADER");
  assert.equal(await guarantee(Acks.NONE), "RECEIVED");
});

test("bytes that are being validated count as pending", async () => {
  const { appender, append, inflating, state, waitsForLog } = setUp();
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
