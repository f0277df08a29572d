/** A replica among others: whom it follows, and what it makes of its followers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { topicConfigOf } from "@millrace/config";
import { silentLogger } from "@millrace/env";
import { manualClock, meanRandom } from "@millrace/env/testing";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { AppendBatch, LogManager } from "@millrace/log";
import { Acks } from "@millrace/proto/common";
import type { PartitionView } from "../metadata/view.ts";
import { FakeLog, noFloors } from "../testing/fake-log.ts";
import { FakeView, topicOf } from "../testing/fake-view.ts";
import { noReplication, replicaContext } from "../testing/replicas.ts";
import { EpochFloors } from "./epoch-floors.ts";
import type { ChangeOutcome } from "./in-sync.ts";
import type { LeaderChange } from "./in-sync-changes.ts";
import type { Append } from "./leader.ts";
import { Replica } from "./replica.ts";
import { ReplicaManager } from "./replica-manager.ts";

/** On brokers 0, 1 and 2, all in sync under their first registrations. Broker 1 leads. */
const viewOf = (change: Partial<PartitionView> = {}): PartitionView => {
  const { isr = [0, 1, 2] } = change;
  return {
    ...{ partition: 0, leader: 1, leaderEpoch: 1, replicas: [0, 1, 2], isr, elr: [] },
    ...{ adding: [], removed: [], uncleanLeaderEpoch: 0 },
    ...{ isrBrokerEpochs: isr.map(() => 1), modRevision: 1 },
    ...change,
  };
};

/** What a replica asks of those around it, in order, as text. */
const recorder = () => {
  const said: string[] = [];
  const state = { cutting: undefined as Promise<void> | undefined };
  const note = (what: string) => () => void said.push(what);
  const followers = {
    follow: (leader: number, { leaderEpoch }: { readonly leaderEpoch: number }) =>
      void said.push(`follow ${leader} in ${leaderEpoch}`),
    unfollow: (leader: number) => {
      said.push(`unfollow ${leader}`);
      return state.cutting;
    },
  };
  const changes = { add: note("add"), look: note("look"), remove: note("remove") };
  return { said, state, followers, changes };
};

/** Replica of broker 0, whose log ends at 10. */
const setUp = ({
  minInsync = 1,
  brokerEpoch = 1,
  log = new FakeLog(10, 0),
  epochFloors = noFloors,
} = {}) => {
  const { said, state, followers, changes } = recorder();
  const epochs = new Map([0, 1, 2].map((id) => [id, 1]));
  const context = replicaContext({
    ...{ followers, changes, epochFloors, brokerEpoch: () => brokerEpoch },
    registered: (id) => epochs.get(id),
  });
  const config = topicConfigOf({ "min.insync.replicas": String(minInsync) });
  const replica = new Replica(context, topicOf("t", []), viewOf(), config);
  replica.opened(log.asLog());
  const take = (change?: Partial<PartitionView>): boolean => replica.take(viewOf(change), config);
  const turn = async (change?: Partial<PartitionView>): Promise<void> => {
    if (take(change)) await replica.followView();
  };
  const lead = (change: Partial<PartitionView> = {}): Promise<void> =>
    turn({ leader: 0, leaderEpoch: 5, modRevision: 5, ...change });
  const report = (brokerId: number, endOffset: number, epoch = 1): boolean =>
    replica.durable({ brokerId, brokerEpoch: epoch }, endOffset);
  const kind = () => replica.state.kind;
  return { replica, log, said, state, epochs, take, turn, lead, report, kind };
};

type SetUp = ReturnType<typeof setUp>;

/** A log that is being cut for an earlier leader. */
const cutting = async (setup: SetUp): Promise<() => Promise<void>> => {
  await setup.replica.followView();
  const cut = Promise.withResolvers<void>();
  setup.state.cutting = cut.promise;
  return async () => {
    cut.resolve();
    for (let i = 0; i < 10; i += 1) await Promise.resolve();
  };
};

test("a replica follows the leader of its view, once in each term", async () => {
  const { replica, said, take } = setUp();
  await replica.followView();
  await replica.followView();
  assert.deepEqual(said, ["follow 1 in 1"]);
  assert.equal(take({ isr: [1], modRevision: 2 }), false, "the in-sync replicas are another thing");
  assert.deepEqual(said, ["follow 1 in 1"]);
});

test("another leader or epoch ends following at once", async () => {
  for (const next of [{ leaderEpoch: 2 }, { leader: 2 }, { leader: undefined, leaderEpoch: 2 }]) {
    const { replica, said, take } = setUp();
    await replica.followView();
    said.length = 0;
    const isDue = take({ modRevision: 2, ...next });
    assert.deepEqual(said.splice(0), ["unfollow 1"], "nothing was awaited");
    await replica.followView();
    const { leader = "nobody", leaderEpoch } = viewOf(next);
    const isLed = leader !== "nobody";
    assert.deepEqual([said, isDue], [isLed ? [`follow ${leader} in ${leaderEpoch}`] : [], isLed]);
  }
});

test("a replica leads under the registration that it was elected under, or a later one", async () => {
  const leads = async (elected: number, brokerEpoch: number, isr = [0, 1]): Promise<string> => {
    const { lead, kind } = setUp({ brokerEpoch });
    await lead({ isr, isrBrokerEpochs: isr.map(() => elected) });
    return kind();
  };
  assert.equal(await leads(6, 7), "follower", "an earlier process of this broker was elected");
  assert.equal(await leads(7, 7), "leader");
  assert.equal(await leads(8, 7), "leader", "the view is ahead of what this process knows");
  assert.equal(await leads(7, 7, [1, 2]), "follower", "it was not in sync");
});

test("a replica leads, or follows anew, once an earlier leader's cut has ended", async () => {
  for (const [next, wanted] of [
    [{ leader: 0, leaderEpoch: 2 }, ["unfollow 1", "add"]],
    [{ leader: 2, leaderEpoch: 2 }, ["unfollow 1", "follow 2 in 2"]],
  ] as const) {
    const setup = setUp();
    const { said, turn, log, replica } = setup;
    const endCut = await cutting(setup);
    said.length = 0;
    const followed = turn(next);
    await Promise.resolve();
    assert.deepEqual([said, log.epochs], [["unfollow 1"], []]);
    await endCut();
    await followed;
    assert.deepEqual(said, wanted);
    assert.equal(replica.cutting, undefined);
  }
});

test("what waited for a cut goes on only in the term that it began in", async () => {
  const setup = setUp();
  const { said, take, turn, log, replica } = setup;
  const endCut = await cutting(setup);
  const leading = turn({ leader: 0, leaderEpoch: 2 });
  take({ leader: 2, leaderEpoch: 3 });
  said.length = 0;
  await endCut();
  await leading;
  assert.deepEqual([said, log.epochs], [[], []], "neither the old term, nor the new one for it");
  await replica.followView();
  assert.deepEqual(said, ["follow 2 in 3"]);
});

test("a cut that outlives a second change of the leader is waited for all the same", async () => {
  const setup = setUp();
  const { take, replica, log } = setup;
  const endCut = await cutting(setup);
  take({ leader: 2, leaderEpoch: 2 });
  setup.state.cutting = undefined;
  take({ leader: 0, leaderEpoch: 3 });
  const led = replica.followView();
  await Promise.resolve();
  assert.deepEqual(log.epochs, []);
  await endCut();
  await led;
  assert.deepEqual(log.epochs, [3]);
});

test("a record that is older ends the term, though leader and epoch are the same", async () => {
  const { said, lead, take, turn, report, log } = setUp();
  await lead();
  report(1, 10);
  report(2, 10);
  assert.equal(log.highWatermark, 10);
  said.length = 0;
  assert.equal(take({ leader: 0, leaderEpoch: 5, modRevision: 4 }), true);
  assert.deepEqual(said.splice(0), ["remove"]);
  await turn({ leader: 0, leaderEpoch: 5, modRevision: 3 });
  assert.deepEqual([said, log.epochs], [["add"], [5, 5]]);
  log.logEndOffset = 12;
  log.ackedEndOffset = 12;
  log.notify();
  report(1, 12);
  assert.equal(log.highWatermark, 10, "what the followers had said before counts no more");
});

test("a partition that goes offline, or is given up, is followed no more", async () => {
  const offline = setUp();
  await offline.replica.followView();
  offline.log.become({ kind: "offline", reason: "damage" });
  assert.deepEqual(offline.said, ["follow 1 in 1", "unfollow 1"]);
  offline.take({ leader: 2, leaderEpoch: 2 });
  await offline.replica.followView();
  assert.equal(offline.said.length, 2);

  const closed = setUp();
  await closed.replica.followView();
  closed.replica.close();
  assert.deepEqual(closed.said, ["follow 1 in 1", "unfollow 1"]);
  await closed.replica.followView();
  assert.equal(closed.said.length, 2);
});

test("a stopped log is not followed", async () => {
  const { log, replica, said } = setUp();
  log.become({ kind: "stopped", reason: "EIO" });
  await replica.followView();
  assert.deepEqual(said, []);
});

test("a close of all replicas waits for their cuts", async () => {
  const { said, state, followers, changes } = recorder();
  const { clock, turn } = manualClock();
  const cut = Promise.withResolvers<void>();
  state.cutting = cut.promise;
  const none = undefined as never;
  const manager = new ReplicaManager({
    env: { clock, random: meanRandom, logger: silentLogger, disk: none, compressor: none },
    logs: {
      ...{ recovery: { clean: true }, partitions: () => [] },
      create: async () => new FakeLog().asLog(),
    } as unknown as LogManager,
    ...{ view: new FakeView(1, [topicOf("t", [viewOf()])]), brokerId: 0 },
    deletionDone: () => Promise.resolve(),
    removalsDone: () => Promise.resolve(),
    replication: { ...noReplication, followers, changes },
  });
  await manager.settle();
  let isClosed = false;
  void manager.close().then(() => {
    isClosed = true;
  });
  await turn();
  assert.deepEqual([said, isClosed], [["follow 1 in 1", "unfollow 1"], false]);
  cut.resolve();
  await turn();
  assert.equal(isClosed, true);
});

const batch = { body: new Uint8Array(3), info: { lastOffsetDelta: 0 } } as AppendBatch;

const unanswered = (): Append => {
  const append = {
    ...{ acks: Acks.LEADER, lastOffset: -1, failure: undefined },
    accepted: (_log: unknown, appended: { lastOffset: number }) => {
      append.lastOffset = appended.lastOffset;
    },
    refused: () => {},
    settle: () => {},
  };
  return append;
};

test("an append wakes the sessions of followers, and no consumer; progress wakes both", async () => {
  const { replica, lead, log } = setUp();
  await lead();
  const woken: string[] = [];
  replica.onceMoved(() => woken.push("follower"));
  replica.onceProgress(() => woken.push("consumer"));
  replica.append(batch, undefined, unanswered());
  assert.deepEqual(woken.splice(0), ["follower"]);
  replica.append(batch, undefined, unanswered());
  assert.equal(woken.length, 0, "once");
  replica.onceMoved(() => woken.push("follower"));
  const stop = replica.onceMoved(() => woken.push("nobody"));
  stop();
  log.notify();
  assert.deepEqual(woken.splice(0), ["follower", "consumer"]);
});

test("a change of role wakes the sessions of followers", async () => {
  const { replica, lead, turn } = setUp();
  await lead();
  let woken = 0;
  replica.onceMoved(() => (woken += 1));
  await turn({ leaderEpoch: 6 });
  assert.equal(woken, 1);
});

test("the word of a stranger, or of an earlier registration, counts for nothing", async () => {
  const { lead, report, replica, epochs, log } = setUp();
  assert.equal(report(1, 10), false, "it does not lead");
  await lead({ isrBrokerEpochs: [1, 2, 1], modRevision: 6 });
  epochs.set(1, 2);
  replica.registrationsChanged();
  assert.equal(report(2, 10), true);
  assert.deepEqual([report(7, 10), report(1, 10, 1), log.highWatermark], [false, false, 0]);
  assert.equal(report(1, 11, 2), false, "nor of one that has more than there is");
  assert.deepEqual([report(1, 10, 2), log.highWatermark], [true, 10]);
});

test("the high watermark is the least that a replica in sync has made durable", async () => {
  const { lead, take, report, log } = setUp({ minInsync: 2 });
  log.ackedEndOffset = 8;
  await lead();
  report(1, 10);
  assert.equal(log.highWatermark, 0, "broker 2 has said nothing");
  report(2, 6);
  assert.equal(log.highWatermark, 6);
  report(2, 10);
  assert.equal(log.highWatermark, 8, "the leader's own log counts, too");
  const term = { leader: 0, leaderEpoch: 5 };
  take({ ...term, isr: [0], modRevision: 6 });
  log.ackedEndOffset = 10;
  log.notify();
  assert.equal(log.highWatermark, 8, "too few are in sync");
  take({ ...term, isr: [0, 1], modRevision: 7 });
  assert.equal(log.highWatermark, 10);
});

test("a replica that leaves the record holds the high watermark back no more", async () => {
  const { lead, take, report, log } = setUp();
  await lead();
  report(1, 10);
  assert.equal(log.highWatermark, 0);
  take({ leader: 0, leaderEpoch: 5, isr: [0, 1], modRevision: 6 });
  assert.equal(log.highWatermark, 10);
});

test("a replica out of sync that catches up has its leader look for changes", async () => {
  const { lead, report, said } = setUp();
  await lead({ isr: [0, 1] });
  said.length = 0;
  report(1, 10);
  assert.deepEqual(said, [], "one in sync changes nothing");
  report(2, 10);
  assert.deepEqual(said, ["look"]);
});

test("a new record, and a new registration, have a leader look for changes", async () => {
  const { replica, lead, take, said } = setUp();
  replica.registrationsChanged();
  assert.deepEqual(said, [], "a follower has nothing to look for");
  await lead();
  said.length = 0;
  replica.registrationsChanged();
  take({ leader: 0, leaderEpoch: 5, modRevision: 6 });
  assert.deepEqual(said, ["look", "look"]);
});

test("changes are looked for while a replica leads others", async () => {
  const { lead, turn, said } = setUp();
  await lead();
  await turn({ leader: 1, leaderEpoch: 6 });
  assert.deepEqual(said.splice(0), ["add", "remove", "follow 1 in 6"]);
  const closed = setUp();
  await closed.lead();
  closed.replica.close();
  assert.deepEqual(closed.said, ["add", "remove"]);
  const alone = setUp();
  await alone.lead({ replicas: [0], isr: [0] });
  assert.deepEqual([alone.said, alone.kind()], [[], "leader"]);
  const moving = { leader: 0, leaderEpoch: 5, isr: [0], adding: [2] };
  alone.take({ ...moving, replicas: [2, 0], modRevision: 6 });
  assert.deepEqual(alone.said, ["look", "add"], "a reassignment has given it a follower");
  alone.report(2, 10);
  assert.deepEqual(alone.replica.beginChange()?.change.isr.length, 2);
});

test("replicas that are being added do not raise the minimum", async () => {
  const { replica, lead } = setUp({ minInsync: 2 });
  await lead({ replicas: [2, 0], adding: [2], isr: [0] });
  assert.equal(replica.minInsyncReplicas, 1);
  replica.append(batch, undefined, unanswered());
  await lead({ replicas: [2, 0], isr: [0], leaderEpoch: 6, modRevision: 6 });
  assert.equal(replica.minInsyncReplicas, 2);
});

/** The change that a leader asks for: broker 2, which is out of sync, has caught up. */
const begun = async ({ lead, report, replica }: SetUp): Promise<LeaderChange> => {
  await lead({ isr: [0, 1] });
  report(1, 10);
  report(2, 10);
  return replica.beginChange() ?? assert.fail("nothing to ask for");
};

test("a change is asked for under its epoch and record, once, and counts from then on", async () => {
  const setup = setUp();
  const { replica, log, report } = setup;
  assert.equal(replica.beginChange(), undefined, "it does not lead");
  const { change, leaderEpoch } = await begun(setup);
  const isr = [0, 1, 2].map((brokerId) => ({ brokerId, brokerEpoch: 1 }));
  assert.deepEqual({ change, leaderEpoch }, { change: { isr, modRevision: 5 }, leaderEpoch: 5 });
  assert.equal(replica.beginChange(), undefined);
  log.logEndOffset = 12;
  log.ackedEndOffset = 12;
  report(1, 12);
  assert.equal(log.highWatermark, 10, "broker 2 holds it back");
  replica.endChange({ change, leaderEpoch }, "refused");
  assert.equal(log.highWatermark, 12);
});

test("the end of a change of an earlier term changes nothing", async () => {
  const outcomes: ChangeOutcome[] = ["made", "refused", "unknown"];
  for (const outcome of outcomes) {
    const setup = setUp();
    const { replica, turn, report } = setup;
    const old = await begun(setup);
    await turn({ leader: 0, leaderEpoch: 6, isr: [0, 1], modRevision: 6 });
    assert.equal(replica.beginChange(), undefined, "nobody has said anything in this term");
    report(2, 10);
    const next = replica.beginChange() ?? assert.fail("nothing to ask for");
    assert.deepEqual([next.leaderEpoch, next.change.modRevision], [6, 6]);
    replica.endChange({ ...next, leaderEpoch: old.leaderEpoch }, outcome);
    replica.endChange(old, outcome);
    assert.equal(replica.beginChange(), undefined, "the new one is under way");
    replica.endChange(next, "unknown");
    assert.equal(replica.beginChange()?.change, next.change);
  }
});

test("what an earlier term asked for does not hold back the next", async () => {
  const setup = setUp();
  const { turn, report, log } = setup;
  await begun(setup);
  // Nothing came of it before the epoch rose.
  await turn({ leader: 0, leaderEpoch: 6, isr: [0, 1], modRevision: 6 });
  log.logEndOffset = 12;
  log.ackedEndOffset = 12;
  report(1, 12);
  assert.equal(log.highWatermark, 12);
});

test("a leader whose log goes offline asks for another one of those in sync, until there is one", async () => {
  const { replica, log, said, lead, turn, epochs } = setUp();
  const asked = () => {
    const begun = replica.beginChange();
    if (begun === undefined) return undefined;
    const { change, leaderEpoch, resigns } = begun;
    assert.equal(resigns, true);
    replica.endChange(begun, "refused");
    const isr = change.isr.map(({ brokerId, brokerEpoch }) => `${brokerId}@${brokerEpoch}`);
    return `${isr} in ${leaderEpoch} of ${change.modRevision}`;
  };
  await lead();
  assert.equal(asked(), undefined);
  said.length = 0;
  log.become({ kind: "offline", reason: "damage" });
  assert.deepEqual(said, ["remove", "add"]);
  const lost = (code: ErrorCode) => (thrown: unknown) => hasCode(thrown, code);
  assert.throws(() => replica.requireLeader(5), lost(ErrorCode.LEADER_NOT_AVAILABLE));
  assert.equal(asked(), "1@1,2@1 in 5 of 5");
  assert.equal(asked(), "1@1,2@1 in 5 of 5", "a refusal changes nothing");
  // Who has registered anew is not in sync.
  epochs.set(1, 2);
  assert.equal(asked(), "2@1 in 5 of 5");
  epochs.delete(2);
  assert.equal(asked(), undefined, "nobody else could lead");
  assert.throws(() => replica.requireLeader(5), lost(ErrorCode.PARTITION_OFFLINE));
  said.length = 0;
  await turn({ leader: 2, leaderEpoch: 6, modRevision: 7, isr: [1, 2] });
  assert.deepEqual([said, asked()], [["remove"], undefined]);
  // Elected again, since it was in sync when all had gone.
  await turn({ leader: 0, leaderEpoch: 7, modRevision: 8, isr: [0, 1] });
  assert.deepEqual(said, ["remove", "add"]);
  replica.close();
  assert.deepEqual(said, ["remove", "add", "remove"]);
});

test("a leader whose disk has failed lets others read until another one leads", async () => {
  const { replica, log, said, lead, kind } = setUp();
  await lead();
  said.length = 0;
  log.become({ kind: "stopped", reason: "EIO" });
  assert.deepEqual([said, kind()], [["look"], "leader"]);
  const begun = replica.beginChange() ?? assert.fail();
  assert.equal(begun.resigns, true);
  assert.deepEqual(
    begun.change.isr.map(({ brokerId }) => brokerId),
    [1, 2],
  );
  replica.endChange(begun, "unknown");
  assert.equal(kind(), "leader");
});

test("a log that is found damaged does not lead, and says so", async () => {
  const log = new FakeLog(10, 0);
  log.state = { kind: "offline", reason: "damage" };
  const { replica, said, lead } = setUp({ log });
  assert.deepEqual(said, []);
  await lead();
  assert.deepEqual([said, replica.beginChange()?.resigns], [["add"], true]);
});

test("a leader epoch that the log knows is not led in: a higher one is asked for", async () => {
  const log = new FakeLog(10, 0);
  log.leaderEpoch = 7;
  const { replica, said, lead, turn, kind } = setUp({ log });
  await lead();
  assert.deepEqual([said, kind()], [["add"], "follower"]);
  const begun = replica.beginChange() ?? assert.fail();
  assert.deepEqual([begun.leaderEpoch, begun.knownLeaderEpoch, begun.resigns], [5, 7, undefined]);
  assert.deepEqual(
    begun.change.isr.map(({ brokerId }) => brokerId),
    [0, 1, 2],
  );
  replica.endChange(begun, "made");
  await turn({ leader: 0, leaderEpoch: 8, modRevision: 6 });
  assert.deepEqual([said, kind()], [["add", "remove", "add"], "leader"]);
  // In a view of the same term it goes on: the epoch is its own.
  await turn({ leader: 0, leaderEpoch: 8, modRevision: 2 });
  assert.equal(kind(), "leader");
});

test("a higher epoch is asked for after an unclean stop, too", async () => {
  const log = new FakeLog(10, 0);
  log.leaderEpoch = 7;
  const logs = { partitions: () => [log.asLog()], recovery: { clean: false } };
  const epochFloors = new EpochFloors(silentLogger, logs as unknown as LogManager);
  const { replica, said, lead, kind } = setUp({ log, epochFloors });
  await lead();
  assert.deepEqual([said, kind()], [["add"], "follower"]);
  assert.equal(replica.beginChange()?.knownLeaderEpoch, 7);
  // Also once what it had of that epoch is cut.
  log.leaderEpoch = 4;
  await lead({ leaderEpoch: 7 });
  assert.deepEqual([kind(), replica.beginChange()?.knownLeaderEpoch], ["follower", 7]);
  await lead({ leaderEpoch: 8 });
  assert.equal(kind(), "leader");
});

test("an epoch of its own is not led in again once another broker has led in a later one", async () => {
  const { replica, log, said, lead, turn, kind } = setUp();
  await lead();
  await turn({ leaderEpoch: 8, modRevision: 6 });
  log.leaderEpoch = 8;
  said.length = 0;
  // A backup from before that.
  await turn({ leader: 0, leaderEpoch: 5, modRevision: 5 });
  assert.deepEqual([said, kind()], [["unfollow 1", "add"], "follower"]);
  assert.equal(replica.beginChange()?.knownLeaderEpoch, 8);
});
