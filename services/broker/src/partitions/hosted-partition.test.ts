/** What one partition goes through is its own. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Clock, type Logger, silentLogger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { LogManager } from "@millrace/log";
import type { TopicId } from "@millrace/record";
import type { TopicView } from "../metadata/view.ts";
import { FakeLog } from "../testing/fake-log.ts";
import { brokerOf, FakeView, partitionOf, topicOf } from "../testing/fake-view.ts";
import { noReplication } from "../testing/replicas.ts";
import { Replica } from "./replica.ts";
import { ReplicaManager } from "./replica-manager.ts";

const logOf = (topicId: TopicId, partition: number): FakeLog =>
  new FakeLog(0, 0, { topicId, topic: "t", partition });

/** A data directory that holds or refuses the creations that the test names by partition. */
class FakeLogs {
  readonly recovery: { readonly clean: boolean };
  readonly logs = new Map<string, FakeLog>();
  readonly held = new Map<number, PromiseWithResolvers<void>>();
  readonly refused = new Set<number>();
  readonly attempts: number[] = [];
  /** Partitions whose takeovers wait for the test. */
  readonly slow = new Set<number>();

  constructor(clean: boolean) {
    this.recovery = { clean };
  }

  partitions() {
    return this.logs.values();
  }

  async create(topicId: TopicId, _topic: string, partition: number) {
    this.attempts.push(partition);
    if (this.refused.has(partition)) throw new Error("EMFILE");
    await this.held.get(partition)?.promise;
    const known = this.logs.get(`${topicId}#${partition}`);
    const log = known ?? logOf(topicId, partition);
    if (this.slow.has(partition)) log.takeovers = [];
    this.logs.set(`${topicId}#${partition}`, log);
    return log;
  }

  async delete(topicId: TopicId, partition: number): Promise<void> {
    this.logs.delete(`${topicId}#${partition}`);
  }
}

const indexes = (count: number) => Array.from({ length: count }, (_, i) => i);

const topicWith = (count: number, leaderEpoch = 1): TopicView =>
  topicOf(
    "t",
    indexes(count).map((i) => partitionOf(i, 0, leaderEpoch)),
  );

/** Another view of a topic, where one partition is another. */
const changed = (topic: TopicView, index: number, leader: number, epoch: number): TopicView => ({
  ...topic,
  partitions: topic.partitions.with(index, partitionOf(index, leader, epoch)),
});

/** A manager of broker 0 over a view that the test changes. */
const setUp = (
  context: TestContext,
  { clean = true, before = (_: FakeLogs) => {}, topics = [] as TopicView[] } = {},
) => {
  const view = new FakeView(1, topics);
  const logs = new FakeLogs(clean);
  before(logs);
  const timers: { readonly ms: number; readonly fire: () => void }[] = [];
  const timer: Clock["timer"] = (ms, fire) => {
    timers.push({ ms, fire });
    return () => {};
  };
  const errors: string[] = [];
  const logger: Logger = {
    ...silentLogger,
    error: ({ partition }, message) => errors.push(`${partition}: ${message}`),
  };
  const done: TopicId[] = [];
  const replicas = new ReplicaManager({
    env: { clock: { timer, monoMs: () => 0 }, logger } as never,
    replication: noReplication,
    logs: logs as unknown as LogManager,
    view,
    brokerId: 0,
    deletionDone: async (id) => void done.push(id),
    removalsDone: async () => {},
  });
  context.after(() => {
    // Closing waits for creations: a test that fails has not ended those it holds.
    for (const { resolve } of logs.held.values()) resolve();
    return replicas.close();
  });
  const ask = (partition: number): number | string => {
    try {
      const address = { topicId: new Uint8Array(0), topic: "t", partition };
      return replicas.find(address).requireLeader(undefined).epoch;
    } catch (thrown) {
      return MillraceError.from(thrown).codeName;
    }
  };
  const made = (partition: number): FakeLog | undefined =>
    [...logs.logs.values()].find((log) => log.partition === partition);
  return { view, logs, timers, errors, done, replicas, ask, made };
};

/** Everything that does not wait for the test goes on. */
const turns = async (): Promise<void> => {
  for (let i = 0; i < 50; i += 1) await Promise.resolve();
};

test("partitions whose disk hangs hold up no others, nor their own resignation", async (context) => {
  const hold = (logs: FakeLogs): void => {
    logs.slow.add(1);
    logs.held.set(2, Promise.withResolvers<void>());
  };
  const topic = topicWith(4);
  const { view, replicas, ask, made } = setUp(context, { before: hold, topics: [topic] });
  const settled = replicas.settle().then(() => "settled");
  await turns();
  assert.deepEqual([0, 1, 2, 3].map(ask), [1, "LEADER_NOT_AVAILABLE", "LEADER_NOT_AVAILABLE", 1]);
  view.change({ put: [changed(topic, 3, 0, 2)] });
  await turns();
  assert.equal(ask(3), 2, "a later change is taken up, too");
  view.change({ put: [changed(view.current.topics.get("t") ?? topic, 1, 1, 2)] });
  assert.equal(ask(1), "NOT_LEADER", "within the call");
  assert.equal(await Promise.race([settled, turns().then(() => "waiting")]), "waiting");
  made(1)?.takeovers?.[0]?.resolve();
  await turns();
  assert.equal(ask(1), "NOT_LEADER");
});

test("the newest view wins: what came in between is not done", async (context) => {
  const topic = topicWith(1, 5);
  const slow = (logs: FakeLogs): void => void logs.slow.add(0);
  const { view, replicas, ask, made } = setUp(context, { before: slow, topics: [topic] });
  void replicas.settle();
  await turns();
  for (const epoch of [6, 7, 8]) view.change({ put: [changed(topic, 0, 0, epoch)] });
  const log = made(0);
  assert.equal(log?.takeovers?.length, 1, "one at a time");
  log?.takeovers?.[0]?.resolve();
  await turns();
  log?.takeovers?.[1]?.resolve();
  await turns();
  assert.deepEqual([ask(0), log?.epochs], [8, [5, 8]]);
});

test("a partition that cannot be started is tried again by itself", async (context) => {
  const refuse = (logs: FakeLogs): void => void logs.refused.add(1);
  const topic = topicWith(3);
  const options = { before: refuse, topics: [topic] };
  const { view, logs, timers, errors, replicas, ask } = setUp(context, options);
  await replicas.settle();
  assert.deepEqual([0, 1, 2].map(ask), [1, "LEADER_NOT_AVAILABLE", 1]);
  assert.deepEqual(errors, ["1: a partition cannot be started: it is tried again"]);
  timers[0]?.fire();
  await turns();
  view.change({ put: [changed(topic, 2, 0, 2)] });
  await turns();
  assert.deepEqual(logs.attempts, [0, 1, 2, 1], "nobody else is tried again");
  assert.deepEqual(
    timers.map(({ ms }) => ms),
    [500, 1000],
  );
  logs.refused.clear();
  timers[1]?.fire();
  await turns();
  assert.deepEqual([0, 1, 2].map(ask), [1, 1, 2]);
});

test("a change of one partition touches that partition alone", async (context) => {
  const topic = topicWith(1000);
  const { view, replicas, logs } = setUp(context, { topics: [topic] });
  await replicas.settle();
  const take = context.mock.method(Replica.prototype, "take");
  const configs = (): number =>
    [...logs.logs.values()].reduce((n, log) => n + log.configs.length, 0);
  view.change({ put: [changed(topic, 7, 0, 2)] });
  await replicas.settle();
  assert.equal(take.mock.callCount(), 1);
  assert.equal(logs.attempts.length, 1000);
  assert.equal(configs(), 1000);
  const now = view.current.topics.get("t") ?? topic;
  view.change({ put: [{ ...now, configs: { "segment.bytes": "1048576" } }] });
  assert.equal(take.mock.callCount(), 1001, "but new configs are for all");
  assert.equal(configs(), 2000);
});

test("configs that cannot be read are not applied, and stop nobody", async (context) => {
  const topic = topicWith(1);
  const { view, replicas, errors, ask } = setUp(context, { topics: [topic] });
  await replicas.settle();
  const strange = { ...changed(topic, 0, 0, 2), configs: { "flush.policy": "sometimes" } };
  const other = { ...topicOf("u", [partitionOf(0)]), configs: strange.configs };
  view.change({ put: [other, strange] });
  await turns();
  assert.deepEqual([ask(0), errors.length], [2, 2]);
});

test("a partition that goes to other brokers ends here, one that comes begins", async (context) => {
  const topic = topicWith(2);
  const away = { ...partitionOf(0, 1, 2), replicas: [1, 2] };
  const { view, replicas, ask } = setUp(context, { topics: [topic] });
  await replicas.settle();
  const address = { topicId: new Uint8Array(0), topic: "t", partition: 0 };
  const replica = replicas.find(address);
  view.change({ put: [{ ...topic, partitions: topic.partitions.with(0, away) }] });
  assert.deepEqual([replica.state.kind, ask(0), ask(1)], ["closed", "NOT_LEADER", 1]);
  assert.equal([...replicas.replicas()].length, 1);
  view.change({ put: [changed(topic, 0, 0, 3)] });
  await turns();
  assert.equal(ask(0), 3);
});

test("a partition that was being made when its topic was deleted is deleted, too", async (context) => {
  const creation = Promise.withResolvers<void>();
  const hold = (logs: FakeLogs): void => void logs.held.set(0, creation);
  const topic = topicWith(1);
  const { view, replicas, logs, done } = setUp(context, { before: hold, topics: [topic] });
  void replicas.settle();
  await turns();
  const replica = replicas.find({ topicId: new Uint8Array(0), topic: "t", partition: 0 });
  const deletion = { name: "t", id: topic.id, pendingBrokerIds: [0] };
  view.current = { ...view.current, deletions: new Map([[topic.id, deletion]]) };
  view.change({ remove: ["t"] });
  assert.equal(replica.state.kind, "closed");
  await turns();
  assert.equal(done.length, 0, "not before it is there");
  creation.resolve();
  await replicas.settle();
  assert.deepEqual([logs.logs.size, done.includes(topic.id)], [0, true]);
});

test("a partition whose topic was deleted while it waited to be made is not made", async (context) => {
  const creation = Promise.withResolvers<void>();
  const hold = (logs: FakeLogs): void => {
    for (const i of indexes(64)) logs.held.set(i, creation);
  };
  const { view, replicas, logs } = setUp(context, { before: hold, topics: [topicWith(65)] });
  void replicas.settle();
  await turns();
  view.change({ remove: ["t"] });
  creation.resolve();
  await turns();
  assert.equal(logs.attempts.length, 64);
});

test("what was on the disk leads in higher epochs alone", async (context) => {
  const topic = topicWith(3, 5);
  const before = (logs: FakeLogs): void => {
    for (const [partition, epoch] of [5, 4].entries()) {
      const log = logOf(topic.id, partition);
      log.leaderEpoch = epoch;
      logs.logs.set(`${topic.id}#${partition}`, log);
    }
  };
  const unclean = setUp(context, { clean: false, before, topics: [topic] });
  await unclean.replicas.settle();
  // The first was in this epoch, the second in an older one, the third is new.
  assert.deepEqual([0, 1, 2].map(unclean.ask), ["LEADER_NOT_AVAILABLE", 5, 5]);
  assert.equal(unclean.errors.length, 1);
  unclean.view.change({ put: [changed(topic, 0, 0, 6)] });
  await turns();
  assert.equal(unclean.ask(0), 6);
  const clean = setUp(context, { before, topics: [topic] });
  await clean.replicas.settle();
  // Another broker may have led in it since.
  assert.deepEqual([0, 1, 2].map(clean.ask), ["LEADER_NOT_AVAILABLE", 5, 5]);
});

test("a stop ends everything at once, and waits for no disk", async (context) => {
  const slow = (logs: FakeLogs): void => void logs.slow.add(1);
  const { replicas, ask, view } = setUp(context, { before: slow, topics: [topicWith(2)] });
  void replicas.settle();
  await turns();
  const address = { topicId: new Uint8Array(0), topic: "t", partition: 0 };
  const replica = replicas.find(address);
  const closed = replicas.close();
  assert.equal(replica.state.kind, "closed");
  assert.throws(() => replica.requireLeader(1), { code: ErrorCode.LEADER_NOT_AVAILABLE });
  assert.equal(await Promise.race([closed, turns().then(() => "waiting")]), undefined);
  assert.equal(view.listeners, 0);
  void replicas.settle();
  await turns();
  assert.equal(ask(0), "LEADER_NOT_AVAILABLE", "and nothing begins after it");
  assert.deepEqual([...replicas.replicas()], []);
});

/** Partition 0 on brokers 0 and 1, which leads; broker 0 finds its log damaged. */
const damaged = (context: TestContext, isr: readonly number[], elr: readonly number[] = []) => {
  const viewOf = (inSync: readonly number[], eligible: readonly number[] = []): TopicView =>
    topicOf("t", [{ ...partitionOf(0, 1, 1, inSync), elr: eligible }]);
  const log = logOf(viewOf([]).id, 0);
  log.state = { kind: "offline", reason: "damage" };
  const before = (logs: FakeLogs): void => void logs.logs.set(`${log.topicId}#0`, log);
  const parts = setUp(context, { before, topics: [viewOf(isr, elr)] });
  const isAnew = (): boolean => parts.made(0) !== log;
  return { ...parts, log, viewOf, isAnew };
};

test("a damaged log that counts for nothing is deleted, and copied anew", async (context) => {
  const { errors, isAnew, replicas } = damaged(context, [1]);
  await replicas.settle();
  assert.equal(isAnew(), true);
  const [replica] = replicas.replicas();
  assert.deepEqual([replica?.state.kind, replica?.log?.state.kind], ["follower", "online"]);
  assert.match(errors.join(), /^0: a damaged log is deleted, and copied anew from the leader/);
});

for (const [what, isr, elr] of [
  ["in sync", [1, 0], []],
  ["eligible to lead", [1], [0]],
] as const) {
  test(`a damaged log that is ${what} is kept, until it is not`, async (context) => {
    const { isAnew, replicas, view, viewOf } = damaged(context, isr, elr);
    await replicas.settle();
    assert.equal(isAnew(), false);
    view.change({ put: [viewOf([1])] });
    await replicas.settle();
    assert.equal(isAnew(), true);
  });
}

test("a damaged log is kept while nobody else leads", async (context) => {
  for (const leader of ["none", 0] as const) {
    const { isAnew, replicas, view } = damaged(context, [1]);
    view.change({ put: [topicOf("t", [partitionOf(0, leader, 2, [1])])] });
    await replicas.settle();
    assert.equal(isAnew(), false);
  }
});

test("a damaged log is kept until the view has this broker's registration", async (context) => {
  const { isAnew, replicas, view } = damaged(context, [1]);
  view.change({ brokers: [] });
  await replicas.settle();
  assert.equal(isAnew(), false);
  view.change({ brokers: [brokerOf(0), brokerOf(1)] });
  await replicas.settle();
  assert.equal(isAnew(), true);
});

test("damage that is met later is left to the next start: the leader believes what was told", async (context) => {
  const { log, replicas, view, viewOf } = damaged(context, [1]);
  log.state = { kind: "online" };
  await replicas.settle();
  log.become({ kind: "offline", reason: "damage" });
  view.change({ put: [viewOf([1])] });
  await replicas.settle();
  const [replica] = replicas.replicas();
  assert.equal(replica?.state.kind, "offline");
});
