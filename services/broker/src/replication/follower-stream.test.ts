/** What a follower says to its leader, message by message, and what it does to its logs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { manualClock, meanRandom } from "@millrace/env/testing";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { topicIdBytes } from "@millrace/record";
import { FakeDialer } from "../testing/fake-dialer.ts";
import { FakeLog } from "../testing/fake-log.ts";
import { type FollowedPartition, FollowerStream } from "./follower-stream.ts";

const broken = new MillraceError(ErrorCode.UNAVAILABLE, "reset by peer");

/** Broker 1 follows broker 0. */
const setUp = () => {
  const { clock, turn, soon, advance, pending } = manualClock();
  const dialer = new FakeDialer();
  const warnings: string[] = [];
  const rooms: PromiseWithResolvers<void>[] = [];
  const state = { brokerEpoch: 10, dialFails: false };
  const stream = new FollowerStream(
    {
      ...{ clock, random: meanRandom, brokerEpoch: () => state.brokerEpoch },
      logger: {
        ...silentLogger,
        warn: ({ err }, text) => void warnings.push(err instanceof Error ? err.message : text),
      },
      identity: { clusterId: "c", brokerId: 1 },
      logs: {
        waitForPendingRoom: () => {
          const room = Promise.withResolvers<void>();
          rooms.push(room);
          return room.promise;
        },
      },
    },
    0,
    () => {
      if (state.dialFails) throw new Error("no address");
      return dialer.dial("b0:7401");
    },
  );
  const followed = (log: FakeLog, leaderEpoch = 5, uncleanLeaderEpoch = 0): FollowedPartition => ({
    ...{ topicId: log.topicId, partition: log.partition, leaderEpoch, log: log.asLog() },
    uncleanLeaderEpoch,
    rebuild: () => Promise.reject(new Error("nothing is rebuilt here")),
  });
  const follow = async (
    log: FakeLog,
    leaderEpoch?: number,
    uncleanLeaderEpoch?: number,
  ): Promise<void> => {
    stream.follow(followed(log, leaderEpoch, uncleanLeaderEpoch));
    await turn();
  };
  const unfollow = (log: FakeLog) => stream.unfollow(log);
  const wire = () => dialer.channel.stream;
  const open = async (heartbeatMs?: number): Promise<void> => {
    wire().open(heartbeatMs);
    await turn();
  };
  /** The stream breaks, and is opened again after its pause. */
  const reopen = async (): Promise<void> => {
    wire().break(broken);
    await advance(50);
    await open();
  };
  /** Subscriptions on this stream: their ids, and where they begin. */
  const subscribed = () =>
    wire().written.flatMap(({ subscribe }) =>
      subscribe.map(({ logEndOffset, subscriptionId }) => [subscriptionId, logEndOffset]),
    );
  const append = async (subscriptionId: number, count = 1, more: object = {}): Promise<void> => {
    const batches = Array.from({ length: count }, () => new Uint8Array(7));
    wire().tell({
      appends: [{ subscriptionId, highWatermark: 0, logStartOffset: 0, batches, ...more }],
    });
    await turn();
  };
  /** The leader's log has something else from `endOffset` on. */
  const diverge = async (subscriptionId: number, endOffset: number): Promise<void> => {
    const what = { leaderEpoch: 1, logStartOffset: 0 };
    wire().tell({ diverge: [{ subscriptionId, endOffset, ...what }] });
    await turn();
  };
  return {
    ...{ stream, dialer, warnings, rooms, state, turn, soon, advance, pending, followed },
    ...{ follow, unfollow, wire, open, reopen, subscribed, append, diverge },
  };
};

/** A log with these many batches of epoch 1, of which the first few are committed. */
const logOf = (endOffset: number, highWatermark = 0): FakeLog =>
  Object.assign(new FakeLog(endOffset, highWatermark), { leaderEpoch: 1, lastEpoch: 1 });

test("a follower opens a stream, and subscribes where its log ends", async () => {
  const { follow, open, wire } = setUp();
  const log = logOf(4);
  await follow(log);
  assert.deepEqual(wire().written.splice(0), [
    {
      open: {
        ...{ clusterId: "c", brokerId: 1, brokerEpoch: 10, leaderBrokerId: 0 },
        ...{ windowBytes: 0, requiredFeatures: [] },
      },
      ...{ subscribe: [], unsubscribe: [], durable: [], windowBytes: 0 },
    },
  ]);
  await open();
  assert.deepEqual(wire().written, [
    {
      ...{ open: undefined, unsubscribe: [], windowBytes: 0 },
      subscribe: [
        {
          ...{ subscriptionId: 1, topicId: topicIdBytes(log.topicId), partition: 0 },
          ...{ leaderEpoch: 5, logEndOffset: 4, lastEpoch: 1 },
        },
      ],
      durable: [{ subscriptionId: 1, durableEndOffset: 4 }],
    },
  ]);
});

test("what comes is appended, and told of once it is durable", async () => {
  const { follow, open, append, wire, turn } = setUp();
  const log = logOf(4);
  await follow(log);
  await open();
  wire().written.length = 0;
  await append(1, 3, { highWatermark: 5 });
  assert.deepEqual([log.logEndOffset, log.highWatermark], [7, 5]);
  assert.deepEqual(wire().written, [], "what is given back goes along with the report");
  log.commit(2);
  await turn();
  const [told, ...more] = wire().written.splice(0);
  assert.deepEqual(told?.durable, [{ subscriptionId: 1, durableEndOffset: 6 }]);
  assert.deepEqual([told?.windowBytes, more], [21, []]);
});

test("a quarter of the window is given back at once, whatever becomes of it", async () => {
  const { follow, open, append, wire } = setUp();
  await follow(logOf(4));
  await open();
  wire().written.length = 0;
  const batches = [new Uint8Array(wire().windowBytes / 4)];
  await append(1, 0, { batches });
  assert.deepEqual(wire().written, []);
  // Also of a partition that is not followed.
  await append(9, 1);
  const [told, ...more] = wire().written;
  assert.deepEqual([told?.durable, told?.windowBytes, more], [[], wire().windowBytes / 4 + 7, []]);
});

test("nothing is appended for a partition that is followed no more", async () => {
  const { follow, unfollow, open, append, wire, turn } = setUp();
  const log = logOf(4);
  await follow(log);
  await open();
  assert.equal(unfollow(log), undefined);
  await append(1);
  await turn();
  assert.equal(log.logEndOffset, 4);
  assert.deepEqual(
    wire().written.flatMap(({ unsubscribe }) => unsubscribe),
    [1],
  );
});

test("an append waits for room, and is dropped when its partition is unfollowed meanwhile", async () => {
  const { follow, unfollow, open, append, rooms, turn } = setUp();
  const full = new MillraceError(ErrorCode.ADMISSION_REJECTED, "full");
  const log = Object.assign(logOf(4), { refusal: full });
  await follow(log);
  await open();
  await append(1);
  assert.deepEqual([rooms.length, log.logEndOffset], [1, 4]);
  rooms[0]?.resolve();
  await turn();
  assert.equal(log.logEndOffset, 5);
  log.refusal = full;
  await append(1);
  unfollow(log);
  rooms[1]?.resolve();
  await turn();
  assert.equal(log.logEndOffset, 5);
});

test("a leader is not taken for silent while an append waits for room", async () => {
  const { follow, open, append, rooms, wire, turn, advance } = setUp();
  const full = new MillraceError(ErrorCode.ADMISSION_REJECTED, "full");
  const log = Object.assign(logOf(4), { refusal: full });
  await follow(log);
  await open(1000);
  await append(1);
  await advance(10_000);
  assert.equal(wire().cancelled, undefined);
  rooms[0]?.resolve();
  await turn();
  assert.equal(log.logEndOffset, 5);
  await advance(3000);
  assert.match(String(wire().cancelled), /silent for 3000 ms/, "but afterwards");
});

test("a broker that has registered anew opens its streams again, and says so", async () => {
  const { follow, open, state, advance, dialer, append, wire, turn } = setUp();
  const log = logOf(4);
  await follow(log);
  await open();
  state.brokerEpoch = 11;
  const old = wire();
  // What had come under the old registration is not appended for it.
  await append(1);
  assert.equal(log.logEndOffset, 4);
  assert.match(String(old.cancelled), /has registered anew, and opens its streams again/);
  assert.deepEqual(dialer.open, []);
  await advance(50);
  assert.deepEqual(dialer.open, ["b0:7401"]);
  assert.equal(wire().written[0]?.open?.brokerEpoch, 11);
  await open();
  wire().tell({});
  await turn();
  assert.equal(wire().cancelled, undefined, "and goes on under the new one");
});

test("a log is cut where it differs, and subscribed again once it is cut", async () => {
  const { follow, open, diverge, subscribed, turn } = setUp();
  const log = logOf(9, 4);
  await follow(log);
  await open();
  await diverge(1, 4);
  assert.deepEqual(
    log.cuts.map(({ offset }) => offset),
    [4],
  );
  assert.deepEqual(subscribed(), [[1, 9]]);
  log.cuts[0]?.resolve();
  await turn();
  assert.deepEqual(subscribed(), [
    [1, 9],
    [2, 4],
  ]);
});

test("a log is never cut below its own high watermark: it keeps its records, and says so", async () => {
  const { follow, open, diverge, subscribed, advance, warnings } = setUp();
  const log = logOf(9, 5);
  await follow(log);
  await open();
  await diverge(1, 4);
  assert.deepEqual(log.cuts, []);
  assert.match(
    warnings.join(),
    /^broker 0 leads without records that were committed: .* below offset 4, and 5 is the high /,
  );
  assert.equal(subscribed().length, 1);
  await advance(50);
  assert.deepEqual(subscribed().at(-1), [2, 9], "and asks again, in case that leader changes");
  await diverge(2, 4);
  assert.deepEqual([log.cuts.length, log.logEndOffset, warnings.length], [0, 9, 1]);
});

test("an unclean election is above what was committed before it, and not what came after", async () => {
  for (const [ownEpoch, cuts] of [
    [3, [4]],
    [4, []],
  ] as const) {
    const { follow, open, diverge, warnings } = setUp();
    const log = Object.assign(logOf(9, 5), { leaderEpoch: ownEpoch, lastEpoch: ownEpoch });
    await follow(log, 5, 4);
    await open();
    await diverge(1, 4);
    assert.deepEqual(
      log.cuts.map(({ offset }) => offset),
      cuts,
    );
    assert.match(warnings.join(), ownEpoch < 4 ? /^committed records are cut/ : /without records/);
  }
});

/** A leader that began anew at this offset knows nothing of what is below. */
const begunAnewAt = (subscriptionId: number, logStartOffset: number) => ({
  diverge: [{ subscriptionId, leaderEpoch: 0, endOffset: 0, logStartOffset }],
});

test("what is committed below the log start of a leader that began anew is kept", async () => {
  for (const end of [5, 9]) {
    const { follow, open, reopen, turn, warnings, wire } = setUp();
    const log = logOf(end, 5);
    await follow(log);
    await open();
    wire().tell(begunAnewAt(1, 5));
    await turn();
    assert.deepEqual(
      log.cuts.map(({ offset }) => offset),
      end === 5 ? [] : [5],
    );
    log.cuts[0]?.resolve();
    await turn();
    const last = () => {
      const { lastEpoch, logEndOffset } = wire().written.at(-1)?.subscribe[0] ?? assert.fail();
      return [logEndOffset, lastEpoch];
    };
    assert.deepEqual(last(), [5, undefined], "it asks for what follows, whatever is below");
    assert.deepEqual(warnings, []);
    log.logEndOffset = 6;
    await reopen();
    assert.deepEqual(last(), [6, 1], "what it got since can differ again");
  }
});

test("what may not be committed, or is of before an unclean election, begins anew", async () => {
  for (const [highWatermark, uncleanLeaderEpoch] of [
    [4, 0],
    [5, 2],
  ] as const) {
    const { follow, open, turn, warnings, wire } = setUp();
    await follow(logOf(5, highWatermark), 5, uncleanLeaderEpoch);
    await open();
    wire().tell(begunAnewAt(1, 5));
    await turn();
    assert.deepEqual(warnings.slice(-1), ["unexpected: nothing is rebuilt here"]);
  }
});

test("a subscription waits for a cut, also when the stream is opened meanwhile", async () => {
  const { follow, open, reopen, diverge, subscribed, turn } = setUp();
  const log = logOf(9);
  await follow(log);
  await open();
  await diverge(1, 4);
  await reopen();
  assert.deepEqual(subscribed(), []);
  log.cuts[0]?.resolve();
  await turn();
  assert.deepEqual(subscribed(), [[2, 4]], "once");
});

test("a log is made ready once, though its cut ends and the stream is opened together", async () => {
  const { follow, open, reopen, diverge, subscribed, turn } = setUp();
  const log = logOf(9);
  await follow(log);
  await open();
  await diverge(1, 4);
  await reopen();
  // It has an epoch to cut off then: both ask for that, and one gets it.
  void log.cuts[0]?.promise.then(() => {
    log.leaderEpoch = 3;
  });
  log.cuts[0]?.resolve();
  await turn();
  assert.equal(log.cuts.length, 2);
  log.cuts[1]?.resolve();
  await turn();
  assert.deepEqual([subscribed(), log.cuts.length], [[[2, 4]], 2]);
});

test("a cut that fails is tried again after a pause", async () => {
  const { follow, open, diverge, subscribed, turn, advance, warnings } = setUp();
  const log = logOf(9);
  await follow(log);
  await open();
  await diverge(1, 4);
  log.cuts[0]?.reject(new Error("EIO"));
  await turn();
  assert.deepEqual(warnings, ["unexpected: EIO"]);
  assert.equal(subscribed().length, 1);
  await advance(50);
  assert.deepEqual(subscribed().at(-1), [2, 9]);
});

test("an empty epoch is cut before the log follows", async () => {
  const { follow, open, subscribed, turn } = setUp();
  const log = Object.assign(logOf(9), { leaderEpoch: 3 });
  await follow(log);
  await open();
  assert.deepEqual(
    log.cuts.map(({ offset }) => offset),
    [9],
  );
  assert.deepEqual(subscribed(), []);
  log.cuts[0]?.resolve();
  await turn();
  assert.deepEqual([subscribed(), log.cuts.length], [[[1, 9]], 1]);
});

test("unfollowing tells of the cut under way, and nothing follows it", async () => {
  const { follow, unfollow, open, diverge, subscribed, turn } = setUp();
  const log = logOf(9);
  await follow(log);
  await open();
  await diverge(1, 4);
  const cutting = unfollow(log);
  let isCut = false;
  void cutting?.then(() => {
    isCut = true;
  });
  await turn();
  assert.equal(isCut, false);
  log.cuts[0]?.resolve();
  await turn();
  assert.deepEqual([isCut, subscribed().length], [true, 1]);
});

test("a partition that is followed under another epoch waits for the cut of the one before", async () => {
  const { follow, open, diverge, subscribed, turn } = setUp();
  const log = logOf(9);
  await follow(log, 5);
  await open();
  await diverge(1, 4);
  await follow(log, 6);
  assert.equal(subscribed().length, 1);
  log.cuts[0]?.resolve();
  await turn();
  assert.deepEqual(subscribed(), [
    [1, 9],
    [2, 4],
  ]);
});

test("refusals are waited out, longer each time, and one that was followed starts over", async () => {
  const { follow, open, wire, advance, append, subscribed, turn } = setUp();
  await follow(logOf(4));
  await open();
  const refuse = async (subscriptionId: number): Promise<void> => {
    wire().tell({
      refuse: [{ subscriptionId, error: { code: ErrorCode.NOT_LEADER, message: "no" } as never }],
    });
    await turn();
  };
  let id = 1;
  for (const ms of [50, 100, 200]) {
    await refuse(id);
    await advance(ms - 1);
    assert.equal(subscribed().length, id);
    await advance(1);
    id += 1;
    assert.equal(subscribed().length, id);
  }
  await append(id);
  await refuse(id);
  await advance(50);
  assert.equal(subscribed().length, id + 1);
});

test("a stream that breaks is opened on a new connection, with new subscriptions", async () => {
  const { follow, open, reopen, dialer, append, subscribed, unfollow } = setUp();
  const log = logOf(4);
  await follow(log);
  await open();
  await append(1);
  await reopen();
  assert.deepEqual([dialer.dialed.length, dialer.open.length], [2, 1]);
  assert.deepEqual(subscribed(), [[2, 5]]);
  await append(1);
  assert.equal(log.logEndOffset, 5, "ids of the old stream mean nothing");
  await append(2);
  assert.equal(log.logEndOffset, 6);
  unfollow(log);
});

test("a dial that throws is tried again, with pauses that grow", async () => {
  const { state, open, reopen, wire, advance, dialer, follow, warnings } = setUp();
  await open();
  state.dialFails = true;
  wire().break(broken);
  await advance(50);
  for (const ms of [100, 200, 400]) await advance(ms);
  assert.equal(dialer.dialed.length, 1);
  state.dialFails = false;
  await advance(799);
  assert.equal(dialer.dialed.length, 1);
  await advance(1);
  assert.equal(dialer.dialed.length, 2);
  assert.deepEqual(warnings, ["reset by peer"], "said once");
  await open();
  await follow(logOf(4));
  await reopen();
  assert.equal(dialer.dialed.length, 3, "a stream that was opened ends the long pauses");
});

test("streams that their leader ends in good order do not make the pauses longer", async () => {
  const { open, wire, advance, dialer } = setUp();
  for (let i = 1; i < 6; i += 1) {
    await open();
    wire().break();
    await advance(50);
    assert.equal(dialer.dialed.length, i + 1);
  }
});

test("a leader that does not answer, or falls silent, is left", async () => {
  const { open, wire, advance, turn } = setUp();
  await advance(4999);
  assert.equal(wire().cancelled, undefined);
  const unanswered = wire();
  await advance(1);
  assert.match(String(unanswered.cancelled), /broker 0 has not answered within 5000 ms/);
  await advance(100);
  await open(1000);
  const silent = wire();
  await advance(2999);
  silent.tell({});
  await turn();
  await advance(2999);
  assert.equal(silent.cancelled, undefined);
  await advance(1);
  assert.match(String(silent.cancelled), /broker 0 has been silent for 3000 ms/);
});

test("a log start that the leader moves is followed, also while an earlier move is under way", async () => {
  const { follow, open, append, turn, unfollow } = setUp();
  const log = logOf(9, 8);
  await follow(log);
  await open();
  const offsets = () => log.starts.map(({ offset }) => offset);
  await append(1, 0, { logStartOffset: 9 });
  assert.deepEqual(offsets(), [], "not past the high watermark");
  await append(1, 0, { logStartOffset: 3 });
  await append(1, 0, { logStartOffset: 5 });
  await append(1, 0, { logStartOffset: 6 });
  assert.deepEqual(offsets(), [3], "one at a time");
  log.starts[0]?.resolve();
  await turn();
  assert.deepEqual(offsets(), [3, 6]);
  log.starts[1]?.reject(new Error("EIO"));
  await append(1, 0, { logStartOffset: 6 });
  assert.deepEqual(offsets(), [3, 6, 6], "and again after a failure");
  await append(1, 0, { logStartOffset: 7 });
  unfollow(log);
  log.starts[2]?.resolve();
  await turn();
  assert.deepEqual(offsets(), [3, 6, 6], "but not once it is unfollowed");
});

test("a close ends a stream that is being opened, waited for, or followed", async () => {
  const opening = setUp();
  await opening.soon(opening.stream.close());
  assert.deepEqual([opening.dialer.open, opening.pending()], [[], []]);

  const answered = setUp();
  answered.wire().open();
  await answered.soon(answered.stream.close());
  assert.deepEqual([answered.dialer.open, answered.pending()], [[], []]);

  const pausing = setUp();
  pausing.wire().break(broken);
  await pausing.turn();
  await pausing.soon(pausing.stream.close());
  assert.deepEqual([pausing.dialer.dialed.length, pausing.pending()], [1, []]);

  const following = setUp();
  await following.follow(logOf(4));
  await following.open();
  following.wire().tell({
    refuse: [{ subscriptionId: 1, error: { code: ErrorCode.NOT_LEADER, message: "no" } as never }],
  });
  await following.turn();
  await following.soon(following.stream.close());
  assert.deepEqual([following.dialer.open, following.pending()], [[], []]);
  assert.deepEqual([following.stream.size, following.warnings], [0, ["no"]]);
});

test("a close waits for cuts", async () => {
  const { stream, follow, open, diverge, turn } = setUp();
  const log = logOf(9);
  await follow(log);
  await open();
  await diverge(1, 4);
  let isClosed = false;
  void stream.close().then(() => {
    isClosed = true;
  });
  await turn();
  assert.equal(isClosed, false);
  log.cuts[0]?.resolve();
  await turn();
  assert.equal(isClosed, true);
});
