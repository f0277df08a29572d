/** A shard on its log: what is told when, and what becomes of it when an append fails. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { GroupLimits, Push, Subscription } from "../group/types.ts";
import { decodeRecord, type EncodedRecord } from "../shard/records.ts";
import { Shard } from "../shard/shard.ts";
import { toCommit } from "../testing/client.ts";
import { assignSimply } from "../testing/simple-assignor.ts";
import { topicIdAt, topicsOf } from "../testing/topics.ts";
import { patternOf } from "../testing/world.ts";
import type { ShardLog } from "./shard-log.ts";
import { type RunnerLimits, type RunnerSetup, ShardRunner } from "./shard-runner.ts";

const topics = topicsOf([{ topicId: topicIdAt(0), name: "t", partitionCount: 2 }]);

const groupLimits: GroupLimits = {
  membersMax: 100,
  offsetMetadataBytesMax: 100,
  offsetsRetentionMs: 1e9,
};

const subscription: Subscription = {
  ...{ instanceId: undefined, rackId: undefined, clientId: "c", clientHost: "h" },
  ...{ topics: ["t"], pattern: undefined, assignor: undefined },
  ...{ sessionTimeoutMs: 1000, rebalanceTimeoutMs: 1000 },
};

/** A log whose appends wait until they are let through. */
class TestLog implements ShardLog {
  readonly records: EncodedRecord[] = [];
  readonly appends: { readonly expected: number; readonly count: number }[] = [];
  open = true;
  error: MillraceError | undefined;
  #waiting: (() => void)[] = [];

  async load(take: (record: EncodedRecord) => void): Promise<number> {
    for (const record of this.records) take(record);
    return this.records.length;
  }

  async append(records: readonly EncodedRecord[], expected: number): Promise<void> {
    this.appends.push({ expected, count: records.length });
    if (!this.open) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.error !== undefined) throw this.error;
    assert.equal(expected, this.records.length);
    this.records.push(...records);
  }

  release(): void {
    this.open = true;
    this.releaseOne();
  }

  /** Lets the append through that waits; the next one waits again. */
  releaseOne(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

const limits: RunnerLimits = {
  queueBytesMax: 10_000,
  appendBytesMax: 10_000,
  tickMs: 20,
  expiredPerTick: 1,
};

interface Site {
  readonly runner: ShardRunner;
  readonly pushes: Push[];
  readonly failures: MillraceError[];
}

const clock: RunnerSetup["clock"] = {
  monoMs: () => performance.now(),
  wallMs: () => 1_700_000_000_000,
  defer: (fn) => void setImmediate(fn),
  timer: (ms, fn) => {
    const timer = setTimeout(fn, ms);
    return () => clearTimeout(timer);
  },
};

const runnerOn = (log: ShardLog, changed: Partial<RunnerLimits> = {}): Site => {
  const pushes: Push[] = [];
  const failures: MillraceError[] = [];
  const runner = new ShardRunner({
    clock,
    log,
    empty: () => new Shard(groupLimits, topics),
    replay: (shard, encoded) => {
      const record = decodeRecord(encoded, patternOf);
      if (record !== undefined) shard.replay(record);
    },
    assign: async (request) => assignSimply(request),
    push: (push) => pushes.push(push),
    failed: (error) => failures.push(error),
    limits: { ...limits, ...changed },
  });
  return { runner, pushes, failures };
};

const turns = async (count = 6): Promise<void> => {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
};

const join = (runner: ShardRunner, memberId: string, session: number): Promise<void> =>
  runner.run((shard, now) =>
    shard.join("g", { memberId, session, subscription, returning: undefined }, now),
  );

const commitOutside = (runner: ShardRunner, offset: number) =>
  runner.run((shard, now) =>
    shard.commitFromOutside("g", [toCommit(topicIdAt(0), 0, offset)], now),
  );

test("nobody is told anything before it is committed, and then in order", async () => {
  const log = new TestLog();
  const { runner, pushes } = runnerOn(log);
  await runner.start();
  log.open = false;
  const told: string[] = [];
  const joins = [
    join(runner, "a", 1).then(() => told.push("a")),
    join(runner, "b", 2).then(() => told.push("b")),
  ];
  // What changes nothing waits for what came before it.
  const none = runner
    .run((shard) => ({ changes: shard.expire(runner.now, 1), answer: undefined }))
    .then(() => told.push("none"));
  await turns();
  assert.deepEqual([told, pushes], [[], []]);
  log.release();
  await Promise.all([...joins, none]);
  assert.deepEqual(told, ["a", "b", "none"]);
  await turns();
  const assigned = pushes.filter((push) => push.kind === "assignment");
  assert.deepEqual(
    assigned.map(({ memberId }) => memberId).slice(0, 2),
    ["a", "b"],
    "each hears first that it is a member",
  );
  assert.equal(assigned.at(-1)?.assigned.size, 1);
  runner.stop();
});

test("what waits for the next append is not told with this one", async () => {
  const log = new TestLog();
  const { runner } = runnerOn(log);
  await runner.start();
  log.open = false;
  const told: number[] = [];
  const all = [1, 2].map((offset) => commitOutside(runner, offset).then(() => told.push(offset)));
  await turns();
  log.releaseOne();
  await turns();
  assert.deepEqual([told, log.appends.length], [[1], 2]);
  log.release();
  await Promise.all(all);
  assert.deepEqual(told, [1, 2]);
  runner.stop();
});

test("commands that come during an append share the next one", async () => {
  const log = new TestLog();
  const { runner } = runnerOn(log);
  await runner.start();
  log.open = false;
  const all = Array.from({ length: 50 }, (_, i) => commitOutside(runner, i));
  await turns();
  log.release();
  await Promise.all(all);
  assert.deepEqual(log.appends, [
    { expected: 0, count: 1 },
    { expected: 1, count: 49 },
  ]);
  runner.stop();
});

test("an append that fails ends the shard, and everyone who waits is told so", async () => {
  const log = new TestLog();
  const { runner, failures } = runnerOn(log);
  await runner.start();
  log.open = false;
  const first = commitOutside(runner, 1);
  const second = commitOutside(runner, 2);
  log.error = new MillraceError(ErrorCode.UNAVAILABLE, "the broker is gone");
  log.release();
  const isMoved = (thrown: unknown) => hasCode(thrown, ErrorCode.NOT_COORDINATOR);
  await assert.rejects(first, isMoved);
  await assert.rejects(second, isMoved);
  await assert.rejects(commitOutside(runner, 3), isMoved);
  assert.equal(failures.length, 1);
  assert.equal(runner.shard, undefined);
});

test("a successor knows what was committed, and nothing else", async () => {
  const log = new TestLog();
  const { runner } = runnerOn(log);
  await runner.start();
  await commitOutside(runner, 7);
  log.open = false;
  const lost = commitOutside(runner, 8);
  runner.stop();
  await assert.rejects(lost, (thrown) => hasCode(thrown, ErrorCode.NOT_COORDINATOR));
  const next = runnerOn(log);
  await assert.rejects(commitOutside(next.runner, 9), (thrown) =>
    hasCode(thrown, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS),
  );
  await next.runner.start();
  const group = next.runner.shard?.groups.get("g");
  assert.equal(group?.offsets.get(topicIdAt(0), 0)?.offset, 7);
  next.runner.stop();
});

test("appends stay within their bytes, and commands beyond the queue are refused", async () => {
  const log = new TestLog();
  const { runner } = runnerOn(log, { appendBytesMax: 100, queueBytesMax: 300 });
  await runner.start();
  log.open = false;
  const all: Promise<unknown>[] = [];
  let refusal: unknown;
  for (let i = 0; i < 30 && refusal === undefined; i += 1) {
    const one = commitOutside(runner, i);
    all.push(one.catch(() => {}));
    await turns(1);
    one.catch((thrown: unknown) => {
      refusal = thrown;
    });
    await turns(1);
  }
  assert.ok(hasCode(refusal, ErrorCode.ADMISSION_REJECTED), String(refusal));
  log.release();
  await Promise.all(all);
  assert.ok(log.appends.length > 2 && log.appends.every(({ count }) => count <= 3));
  assert.equal(runner.queuedBytes, 0);
  runner.stop();
});

test("a member that is silent is expelled by the clock alone", async () => {
  const log = new TestLog();
  const { runner, pushes } = runnerOn(log);
  await runner.start();
  const silent = { ...subscription, sessionTimeoutMs: 30 };
  const joining = { memberId: "a", session: 1, subscription: silent, returning: undefined };
  await runner.run((shard, now) => shard.join("g", joining, now));
  for (let i = 0; i < 50 && pushes.at(-1)?.kind !== "end"; i += 1)
    await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(pushes.at(-1)?.kind, "end");
  assert.equal(runner.shard?.groups.get("g")?.state, "empty");
  runner.stop();
});
