import assert from "node:assert/strict";
import { test } from "node:test";
import { topicConfigOf } from "@millrace/config";
import { type Logger, silentLogger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { AppendBatch } from "@millrace/log";
import { Acks } from "@millrace/proto/common";
import type { PartitionView } from "../metadata/view.ts";
import { FakeLog } from "../testing/fake-log.ts";
import { partitionOf, topicOf } from "../testing/fake-view.ts";
import { mirrored, replicaContext } from "../testing/replicas.ts";
import { EpochFloors } from "./epoch-floors.ts";
import type { Append } from "./leader.ts";
import { Replica } from "./replica.ts";

/** A replica of broker 0 over a log that records what it is told. */
const setUp = ({ minInsync = 1, log = new FakeLog(10, 0), uncleanEpoch = -1 } = {}) => {
  log.takeovers = [];
  const configOf = (min: number) => topicConfigOf({ "min.insync.replicas": String(min) });
  const config = configOf(minInsync);
  const viewOf = (leaderEpoch: number, leader: number | "none" = 0, isr = [0, 1]) =>
    partitionOf(0, leader, leaderEpoch, isr);
  const reports: string[] = [];
  const logger: Logger = { ...silentLogger, error: (_fields, message) => reports.push(message) };
  const found = Object.assign(new FakeLog(), { leaderEpoch: uncleanEpoch });
  const logs = { recovery: { clean: uncleanEpoch < 0 }, partitions: () => [found] };
  const epochFloors = new EpochFloors(logger, logs as never);
  const context = replicaContext({ epochFloors, hint: hintOf });
  const replica = new Replica(context, topicOf("t", []), viewOf(1, 1), config);
  replica.opened(log.asLog());
  mirrored(replica, log);
  const take = (view: PartitionView): boolean => replica.take(view, config);
  const follow = async (view: PartitionView): Promise<void> => {
    if (take(view)) await replica.followView();
  };
  const lead = async (view: PartitionView): Promise<void> => {
    const followed = follow(view);
    log.takeovers?.pop()?.resolve();
    await followed;
  };
  const codeOf = (ask: () => unknown): unknown => {
    try {
      return ask();
    } catch (thrown) {
      return MillraceError.from(thrown).codeName;
    }
  };
  const ask = (epoch?: number) => codeOf(() => replica.requireLeader(epoch).epoch);
  const latest = () => codeOf(() => replica.requireLeader(undefined).latestOffset());
  const answers: string[] = [];
  const append = (name: string, acks = Acks.ALL) =>
    codeOf(() => replica.append(batch, undefined, appendOf(name, acks, answers)));
  return {
    ...{ replica, log, configOf, viewOf, reports, take, follow, lead, ask, latest },
    ...{ answers, append },
  };
};

const hintOf = ({ leader, leaderEpoch }: PartitionView) =>
  leader === undefined
    ? undefined
    : { brokerId: leader, leaderEpoch, endpoint: undefined, metadataRevision: 1n };

const batch = { body: new Uint8Array(3), info: { lastOffsetDelta: 0 } } as AppendBatch;

/** An append that notes its answer as text. */
const appendOf = (name: string, acks: Acks, answers: string[]): Append => {
  const append = {
    ...{ acks, lastOffset: -1, failure: undefined },
    accepted: (_log: unknown, appended: { lastOffset: number }) => {
      append.lastOffset = appended.lastOffset;
    },
    refused: () => {},
    settle: (error: Error | undefined) => {
      answers.push(error === undefined ? name : `${name}: ${MillraceError.from(error).codeName}`);
    },
  };
  return append;
};

test("a replica leads once its log has recorded the epoch, and serves that epoch alone", async () => {
  const { log, viewOf, follow, ask } = setUp();
  assert.equal(ask(), "NOT_LEADER");
  const followed = follow(viewOf(5));
  assert.equal(ask(), "LEADER_NOT_AVAILABLE", "not recorded yet");
  log.takeovers?.pop()?.resolve();
  await followed;
  assert.deepEqual(log.epochs, [5]);
  assert.deepEqual(
    [ask(), ask(5), ask(4), ask(6)],
    [5, 5, "FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH"],
  );
});

test("a replica whose log is being made has a name for that, and leads once it is there", async () => {
  const log = new FakeLog();
  const context = replicaContext({ hint: hintOf });
  const config = topicConfigOf({});
  const replica = new Replica(context, topicOf("t", []), partitionOf(0), config);
  const kind = (): string => replica.state.kind;
  assert.equal(kind(), "none");
  assert.throws(() => replica.requireLeader(undefined), { code: ErrorCode.LEADER_NOT_AVAILABLE });
  await replica.followView();
  replica.opened(log.asLog());
  assert.equal(kind(), "follower");
  await replica.followView();
  assert.equal(kind(), "leader");
  replica.close();
  assert.equal(kind(), "closed");
  replica.opened(log.asLog());
  await replica.followView();
  assert.equal(kind(), "closed", "it does not come back");
});

test("a follower refuses, and names the leader", async () => {
  const { replica, viewOf, take, ask } = setUp();
  take(viewOf(7, 1));
  assert.throws(() => replica.requireLeader(undefined), {
    code: ErrorCode.NOT_LEADER,
    leaderHint: hintOf(viewOf(7, 1)),
  });
  take(viewOf(8, "none"));
  assert.equal(ask(), "LEADER_NOT_AVAILABLE");
});

test("a new epoch, or another leader, ends the old leadership at once", async () => {
  const { viewOf, follow, lead, log, ask } = setUp();
  await lead(viewOf(5));
  const followed = follow(viewOf(6));
  assert.equal(ask(), "LEADER_NOT_AVAILABLE");
  log.takeovers?.pop()?.resolve();
  await followed;
  assert.equal(ask(), 6);
  await follow(viewOf(6, 1));
  assert.equal(ask(), "NOT_LEADER", "whatever the epoch");
});

test("a replica that was deposed while it took over does not lead", async () => {
  const { viewOf, follow, log, ask } = setUp();
  const followed = follow(viewOf(5));
  await follow(viewOf(6, 1));
  log.takeovers?.pop()?.resolve();
  await followed;
  assert.equal(ask(), "NOT_LEADER");
});

test("a takeover that fails once another epoch has come is no failure", async () => {
  const { viewOf, follow, log } = setUp();
  const followed = follow(viewOf(5));
  await follow(viewOf(6, 1));
  log.takeovers?.pop()?.reject(new Error("EIO"));
  await followed;
  const failing = follow(viewOf(7));
  log.takeovers?.pop()?.reject(new Error("EIO"));
  await assert.rejects(failing, /EIO/);
});

test("a replica that leads is not made to lead again by work that was asked for twice", async () => {
  const { replica, viewOf, lead, log, append, answers } = setUp();
  await lead(viewOf(5));
  append("a");
  log.takeovers = undefined;
  await replica.followView();
  assert.deepEqual(log.epochs, [5]);
  log.commit();
  assert.deepEqual(answers, ["a"]);
});

test("the high watermark rises only with enough in-sync replicas", async () => {
  const { log, viewOf, lead } = setUp({ minInsync: 2 });
  await lead(viewOf(5, 0, [0]));
  assert.equal(log.highWatermark, 0);
  await lead(viewOf(6, 0, [0, 1]));
  assert.equal(log.highWatermark, 10);
});

test("the high watermark follows a change of the in-sync replicas or of their minimum", async () => {
  const { replica, log, viewOf, lead, take, configOf } = setUp({ minInsync: 2 });
  await lead(viewOf(5, 0, [0]));
  assert.equal(take(viewOf(5)), false, "no I/O for a change of the in-sync replicas");
  assert.equal(log.highWatermark, 10);
  assert.equal(replica.state.kind, "leader");
  take(viewOf(5, 0, [0]));
  log.ackedEndOffset = 12;
  log.notify();
  assert.equal(log.highWatermark, 10);
  replica.take(viewOf(5, 0, [0]), configOf(1));
  assert.equal(log.highWatermark, 12);
});

test("an offline partition is not served, a stopped one is", async () => {
  const { log, viewOf, lead, take, follow, ask } = setUp();
  await lead(viewOf(5));
  log.become({ kind: "stopped", reason: "EIO" });
  assert.equal(ask(), 5);
  log.takeovers = undefined;
  await follow(viewOf(6));
  assert.equal(ask(), "LEADER_NOT_AVAILABLE", "it takes over no more");
  log.become({ kind: "offline", reason: "damage" });
  assert.equal(ask(), "LEADER_NOT_AVAILABLE", "another one is to lead");
  take(viewOf(6, 0, [0]));
  assert.equal(ask(), "PARTITION_OFFLINE");
  take(viewOf(7, 1));
  assert.equal(ask(), "PARTITION_OFFLINE");
});

test("a partition that goes offline while it takes over neither leads nor fails to", async () => {
  for (const end of ["resolve", "reject"] as const) {
    const { log, viewOf, follow, ask } = setUp();
    const followed = follow(viewOf(5, 0, [0]));
    log.become({ kind: "offline", reason: "damage" });
    log.takeovers?.pop()?.[end]();
    await followed;
    assert.equal(ask(), "PARTITION_OFFLINE");
  }
});

test("acks all is answered at the high watermark, acks leader once it is stored", async () => {
  const { log, viewOf, lead, take, append, answers } = setUp({ minInsync: 2 });
  await lead(viewOf(5));
  append("all-1");
  append("leader-1", Acks.LEADER);
  append("none", Acks.NONE);
  append("all-2");
  append("leader-2", Acks.LEADER);
  assert.deepEqual(answers, []);
  log.commit(2);
  assert.deepEqual(answers.splice(0), ["leader-1", "all-1"]);
  take(viewOf(5, 0, [0]));
  log.commit();
  assert.deepEqual(answers.splice(0), ["leader-2"], "too few are in sync for the other");
  take(viewOf(5));
  assert.deepEqual(answers, ["all-2"]);
});

test("the high watermark has to pass the last offset of a batch, not to reach it", async () => {
  const { log, viewOf, lead, append, answers } = setUp({ log: new FakeLog(10) });
  await lead(viewOf(5));
  append("a");
  log.ackedEndOffset = 10;
  log.notify();
  assert.deepEqual(answers, []);
  log.ackedEndOffset = 11;
  log.notify();
  assert.deepEqual(answers, ["a"]);
});

test("an append that the log fails is answered so, in its order", async () => {
  const { log, viewOf, lead, take, append, answers } = setUp({ minInsync: 2 });
  await lead(viewOf(5));
  append("a");
  append("b");
  append("c", Acks.LEADER);
  take(viewOf(5, 0, [0]));
  log.commit(1);
  log.failAppends(new MillraceError(ErrorCode.STORAGE_ERROR, "EIO"));
  assert.deepEqual(answers.splice(0), ["c: STORAGE_ERROR"], "a waits for replicas, and b for a");
  take(viewOf(5));
  assert.deepEqual(answers, ["a", "b: STORAGE_ERROR"]);
});

test("appends that the log fails are answered at once when nothing is before them", async () => {
  for (const [isr, code] of [
    [[0], "STORAGE_ERROR"],
    // Another one is to lead.
    [[0, 1], "UNAVAILABLE"],
  ] as const) {
    const { log, viewOf, lead, append, answers } = setUp();
    await lead(viewOf(5, 0, [...isr]));
    append("a");
    append("b");
    log.failAppends(new MillraceError(ErrorCode.STORAGE_ERROR, "EIO"));
    assert.deepEqual(answers, [`a: ${code}`, `b: ${code}`]);
  }
});

test("a repeated batch is answered in its turn, though it is below the high watermark", async () => {
  const { log, viewOf, lead, append, answers } = setUp();
  await lead(viewOf(5));
  append("new");
  log.duplicateOf = 3;
  append("repeated");
  log.commit();
  assert.deepEqual(answers, ["new", "repeated"]);
});

test("what waits for an acknowledgement fails with the leadership, and is answered once", async () => {
  for (const next of [partitionOf(0, 1, 6), partitionOf(0, 0, 6), partitionOf(0, "none", 6)]) {
    const { log, viewOf, lead, take, append, answers } = setUp();
    await lead(viewOf(5));
    append("all");
    append("leader", Acks.LEADER);
    take(next);
    // Within the call: nothing was awaited.
    assert.deepEqual(answers, ["leader: UNAVAILABLE", "all: UNAVAILABLE"]);
    log.commit();
    log.failAppends(new Error("EIO"));
    assert.equal(answers.length, 2);
  }
});

test("an append that lost its leader may have been written: its error says so, and who leads", async () => {
  const { replica, viewOf, lead, take } = setUp();
  await lead(viewOf(5));
  const errors: (Error | undefined)[] = [];
  const append = { ...appendOf("a", Acks.ALL, []), settle: (error?: Error) => errors.push(error) };
  replica.append(batch, 5, append as never);
  take(viewOf(6, 1));
  const error = MillraceError.from(errors[0]);
  const { retriable, refreshMetadata, sideEffects } = error.spec;
  assert.deepEqual(
    { retriable, refreshMetadata, sideEffects },
    { retriable: true, refreshMetadata: true, sideEffects: true },
  );
  assert.equal(error.leaderHint?.brokerId, 1);
});

test("what waits for an acknowledgement fails when the partition goes offline or is given up", async () => {
  const offline = setUp();
  await offline.lead(offline.viewOf(5));
  offline.append("a");
  offline.log.become({ kind: "offline", reason: "damage" });
  assert.deepEqual(offline.answers, ["a: UNAVAILABLE"]);
  const closed = setUp();
  await closed.lead(closed.viewOf(5));
  closed.append("b");
  closed.replica.close();
  assert.deepEqual(closed.answers, ["b: UNAVAILABLE"]);
  closed.log.commit();
  assert.equal(closed.log.highWatermark, 10, "and nothing of it counts any more");
});

test("acks all is refused without enough in-sync replicas, other acks are not", async () => {
  const { viewOf, lead, append, log } = setUp({ minInsync: 2 });
  await lead(viewOf(5, 0, [0]));
  assert.equal(append("all"), "NOT_ENOUGH_REPLICAS");
  append("leader", Acks.LEADER);
  append("none", Acks.NONE);
  assert.equal(log.appended.length, 2);
});

test("a change of role wakes readers", async () => {
  const { replica, viewOf, lead, take } = setUp();
  await lead(viewOf(5));
  let woken = 0;
  const wait = () => replica.onceProgress(() => (woken += 1));
  wait();
  take(viewOf(6, 1));
  assert.equal(woken, 1);
  wait();
  replica.close();
  assert.equal(woken, 2);
});

test("the latest offset is not told before the high watermark is where the epoch began", async () => {
  const log = new FakeLog(10, 4);
  log.ackedEndOffset = 7;
  const { viewOf, lead, latest } = setUp({ log });
  await lead(viewOf(5));
  assert.equal(log.highWatermark, 7);
  assert.equal(latest(), "LEADER_NOT_AVAILABLE");
  log.ackedEndOffset = 9;
  log.notify();
  assert.equal(latest(), "LEADER_NOT_AVAILABLE");
  log.ackedEndOffset = 10;
  log.notify();
  assert.equal(latest(), 10);
});

test("after an unclean stop a replica leads only in a higher epoch than its log had", async () => {
  for (const epochs of [[4, 5], [5]]) {
    const { viewOf, follow, lead, ask, log, reports } = setUp({ uncleanEpoch: 5 });
    for (const epoch of epochs) {
      const followed = follow(viewOf(epoch));
      assert.deepEqual(log.takeovers, [], `the log is not taken over in epoch ${epoch}`);
      await followed;
    }
    assert.deepEqual([ask(), log.epochs], ["LEADER_NOT_AVAILABLE", []]);
    assert.equal(reports.length, 1);
    assert.match(reports[0] ?? "", /does not lead: .*: restart the server, which raises it/);
    await lead(viewOf(6));
    assert.deepEqual([ask(), log.epochs], [6, [6]]);
    assert.equal(reports.length, 1);
  }
});

test("a change of the configs reaches the log", () => {
  const { replica, log, viewOf } = setUp();
  const config = topicConfigOf({ "segment.bytes": "1048576" });
  replica.take(viewOf(1, 1), config);
  assert.equal(log.configs.at(-1)?.segmentBytes, 1048576);
  assert.equal(log.configs.length, 2, "and only a change");
  replica.take(viewOf(2, 1), config);
  assert.equal(log.configs.length, 2);
});
