/** Which leaders a broker has a stream to, and where. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { manualClock, meanRandom } from "@millrace/env/testing";
import { ErrorCode, MillraceError, parseEndpoint } from "@millrace/errors";
import { FakeDialer } from "../testing/fake-dialer.ts";
import { FakeLog } from "../testing/fake-log.ts";
import { brokerOf, FakeView, topicOf } from "../testing/fake-view.ts";
import { Followers } from "./followers.ts";

/** Broker 3, which knows where brokers 0 and 1 are. */
const setUp = () => {
  const { clock, turn, soon, advance, pending } = manualClock();
  const dialer = new FakeDialer();
  const view = new FakeView(1);
  view.change({ brokers: [brokerOf(0), brokerOf(1)] });
  const followers = new Followers({
    ...{ clock, random: meanRandom, logger: silentLogger, dialer, view },
    ...{ brokerEpoch: () => 10, identity: { clusterId: "c", brokerId: 3 } },
    logs: { waitForPendingRoom: () => Promise.resolve() },
  });
  const follow = (leader: number, log: FakeLog): void =>
    followers.follow(leader, {
      ...{ topicId: log.topicId, partition: log.partition, leaderEpoch: 5, log: log.asLog() },
      uncleanLeaderEpoch: 0,
      rebuild: () => Promise.resolve(),
    });
  /** What differs from the leader's log is being cut. */
  const cut = async (): Promise<void> => {
    const { stream } = dialer.channel;
    stream.open();
    await turn();
    const what = { leaderEpoch: 1, endOffset: 4, logStartOffset: 0 };
    stream.tell({ diverge: [{ subscriptionId: 1, ...what }] });
    await turn();
  };
  return { followers, dialer, view, follow, cut, turn, soon, advance, pending };
};

const logOf = (partition: number): FakeLog => {
  const { id: topicId } = topicOf("t", []);
  const log = new FakeLog(9, 0, { topicId, topic: "t", partition });
  return Object.assign(log, { leaderEpoch: 1, lastEpoch: 1 });
};

const [p0, p1, p2] = [logOf(0), logOf(1), logOf(2)];

test("there is one stream for each leader, which ends with its last partition", async () => {
  const { followers, dialer, follow, turn, soon } = setUp();
  follow(0, p0);
  follow(0, p1);
  follow(1, p2);
  assert.deepEqual([dialer.open, followers.leaders], [["b0:7401", "b1:7401"], 2]);
  followers.unfollow(0, p0);
  await turn();
  assert.deepEqual(dialer.open, ["b0:7401", "b1:7401"]);
  followers.unfollow(0, p1);
  await turn();
  assert.deepEqual([dialer.open, followers.leaders], [["b1:7401"], 1]);
  assert.equal(followers.unfollow(0, p1), undefined, "nothing is left to unfollow");
  follow(0, p0);
  assert.deepEqual(dialer.open, ["b1:7401", "b0:7401"], "a new stream, for who comes later");
  await soon(followers.close());
});

test("an address that changes is dialed at the next attempt", async () => {
  const { followers, dialer, view, follow, advance, soon } = setUp();
  follow(0, p0);
  const internalEndpoint = parseEndpoint("elsewhere:9000");
  view.change({ brokers: [{ ...brokerOf(0), internalEndpoint }] });
  assert.deepEqual(dialer.dialed, ["b0:7401"]);
  dialer.channel.stream.break(new MillraceError(ErrorCode.UNAVAILABLE, "refused"));
  await advance(50);
  assert.deepEqual(dialer.open, ["elsewhere:9000"]);
  await soon(followers.close());
});

test("a leader without an address is dialed once it has one", async () => {
  const { followers, dialer, view, follow, advance, soon } = setUp();
  follow(2, p0);
  await advance(50);
  assert.deepEqual(dialer.dialed, []);
  view.change({ brokers: [brokerOf(2)] });
  await advance(100);
  assert.deepEqual(dialer.open, ["b2:7401"]);
  await soon(followers.close());
});

test("unfollowing tells of the cut under way", async () => {
  const { followers, follow, cut, turn } = setUp();
  const log = logOf(0);
  follow(0, log);
  await cut();
  const cutting = followers.unfollow(0, log);
  let isCut = false;
  void cutting?.then(() => {
    isCut = true;
  });
  await turn();
  assert.equal(isCut, false);
  log.cuts[0]?.resolve();
  await turn();
  assert.equal(isCut, true);
});

test("a close ends all streams, and waits for all cuts", async () => {
  for (const unfollowed of [false, true]) {
    const { followers, dialer, follow, cut, turn, pending } = setUp();
    const log = logOf(0);
    follow(1, p1);
    follow(0, log);
    await cut();
    if (unfollowed) followers.unfollow(0, log);
    let isClosed = false;
    void followers.close().then(() => {
      isClosed = true;
    });
    await turn();
    assert.deepEqual([dialer.open, pending(), isClosed], [[], [], false]);
    log.cuts[0]?.resolve();
    await turn();
    assert.equal(isClosed, true);
    follow(0, p0);
    assert.deepEqual([dialer.open, followers.leaders], [[], 0], "nobody is followed after it");
  }
});
