/** What followers get that do not keep to the protocol, or are not who they say. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import {
  blankReplicateRequest,
  topicIdBytes,
  type WireReplicaAppend,
  type WireReplicateRequest,
  type WireReplicateResponse,
} from "@millrace/record";
import { replicateMethod } from "@millrace/rpc";
import { Incarnation } from "@millrace/sim";
import {
  inWorld,
  lead,
  Machine,
  type TestLeader,
  topicId,
  type World,
} from "../testing/replication.ts";
import { CatchUpRate } from "./catch-up-rate.ts";
import { LeaderSession } from "./leader-session.ts";
import { replicationLimits } from "./replication-limits.ts";

const opening = {
  ...{ clusterId: "c", brokerId: 1, brokerEpoch: 10, leaderBrokerId: 0, windowBytes: 0 },
  requiredFeatures: [] as string[],
};
const subscription = {
  ...{ subscriptionId: 1, topicId: topicIdBytes(topicId), partition: 0, leaderEpoch: 1 },
  ...{ logEndOffset: 0, lastEpoch: undefined as number | undefined },
};

interface Raw {
  readonly world: World;
  readonly leader: TestLeader;
  say(request: Partial<WireReplicateRequest>): void;
  /** The next message that is no heartbeat. */
  hear(): Promise<WireReplicateResponse>;
  /** Rejects with the end of the stream. */
  ended(): Promise<never>;
}

/** A stream to a leader of epoch 1, from whoever. */
const raw = (body: (raw: Raw) => Promise<void>): Promise<void> =>
  inWorld(1, async (world) => {
    const a = new Machine(world, 0);
    const { leader } = await lead(a, 1, [{ brokerId: 1, brokerEpoch: 10 }], (brokerId) =>
      brokerId === 1 ? 10 : undefined,
    );
    const process = new Incarnation(world.kernel, "raw");
    const { dialer } = world.network.attach("raw", process);
    const stream = dialer.dial("b0:7401").bidi(replicateMethod);
    const hear = async (): Promise<WireReplicateResponse> => {
      for (;;) {
        const message = await stream.read();
        if (message === undefined) assert.fail("the stream has ended");
        const { appends, diverge, opened, refuse } = message;
        if (opened !== undefined || appends.length + diverge.length + refuse.length > 0) {
          return message;
        }
      }
    };
    const say = (request: Partial<WireReplicateRequest>): void => {
      stream.write({ ...blankReplicateRequest, ...request });
    };
    const ended = async (): Promise<never> => {
      for (;;) await hear();
    };
    await body({ world, leader, say, hear, ended });
    stream.cancel();
  });

const opens = (change: Partial<typeof opening>, code: ErrorCode, text: RegExp) =>
  test(`an opening is refused: ${text.source}`, async () => {
    await raw(async ({ say, ended }) => {
      say({ open: { ...opening, ...change } });
      await assert.rejects(ended(), (thrown) => {
        assert.match(String(thrown), text);
        return hasCode(thrown, code);
      });
    });
  });

opens({ clusterId: "other" }, ErrorCode.CLUSTER_ID_MISMATCH, /cluster/);
opens({ clusterId: "" }, ErrorCode.STREAM_PROTOCOL_VIOLATION, /names no cluster/);
opens({ leaderBrokerId: 2 }, ErrorCode.INVALID_REQUEST, /asks for broker 2, and this is broker 0/);
opens({ brokerId: 0 }, ErrorCode.INVALID_REQUEST, /broker 0 asks for broker 0/);
opens({ brokerEpoch: 9 }, ErrorCode.STALE_BROKER_EPOCH, /epoch 9, which is over: it is 10 now/);
opens({ requiredFeatures: ["x"] }, ErrorCode.UNSUPPORTED_OPERATION, /no feature/);

test("a stream that does not begin with an opening, or has two, ends", async () => {
  for (const first of [{ subscribe: [subscription] }, { open: opening }]) {
    await raw(async ({ say, ended }) => {
      say(first);
      say({ open: opening });
      await assert.rejects(ended(), (thrown) =>
        hasCode(thrown, ErrorCode.STREAM_PROTOCOL_VIOLATION),
      );
    });
  }
});

const refusalOf = ({ refuse }: WireReplicateResponse) => {
  const [refusal] = refuse;
  return [refusal?.subscriptionId, refusal?.error?.code];
};

test("subscriptions are refused one by one, and the stream goes on", async () => {
  await raw(async ({ say, hear, leader }) => {
    say({ open: opening });
    assert.equal((await hear()).opened?.brokerEpoch, 10);
    await leader.append("x");
    say({ subscribe: [{ ...subscription, leaderEpoch: 9 }] });
    assert.deepEqual(refusalOf(await hear()), [1, ErrorCode.FENCED_LEADER_EPOCH]);
    say({ subscribe: [{ ...subscription, subscriptionId: 2, topicId: Buffer.alloc(3) }] });
    assert.deepEqual(refusalOf(await hear()), [2, ErrorCode.INVALID_REQUEST]);
    say({ subscribe: [{ ...subscription, subscriptionId: 3 }] });
    assert.equal((await hear()).appends[0]?.subscriptionId, 3);
    // In use.
    say({ subscribe: [{ ...subscription, subscriptionId: 3 }] });
    await assert.rejects(hear(), (thrown) => hasCode(thrown, ErrorCode.STREAM_PROTOCOL_VIOLATION));
  });
});

test("a message has no more refusals than a follower decodes", async () => {
  await inWorld(1, async (world) => {
    const clock = new Incarnation(world.kernel, "s").clock();
    const context = {
      catchUpRate: new CatchUpRate(0),
      ...{ clock, random: world.kernel.random, identity: { clusterId: "c", brokerId: 0 } },
      ...{ brokerEpoch: () => 1, registered: () => undefined, find: () => assert.fail("unknown") },
    };
    // All of them come in one turn.
    const messages = [0, 1, 2].map((part) => ({
      ...blankReplicateRequest,
      subscribe: Array.from({ length: 5000 }, (_, i) => ({
        ...{ ...subscription, topicId: Buffer.alloc(3) },
        subscriptionId: part * 5000 + i,
      })),
    }));
    const sizes: number[] = [];
    let isOpen = false;
    const stream = {
      context: { draining: new AbortController().signal },
      tryRead: () => messages.shift(),
      read: async () => {
        if (isOpen) return new Promise<never>(() => {});
        isOpen = true;
        return { ...blankReplicateRequest, open: opening };
      },
      write: ({ refuse }: WireReplicateResponse) => sizes.push(refuse.length) > 0,
    };
    void new LeaderSession(stream as never, context).run();
    await world.sleep(1);
    assert.deepEqual(
      sizes.filter((size) => size > 0),
      [5000, 5000, 5000],
    );
  });
});

test("a follower that claims more than it was sent counts for nothing", async () => {
  await raw(async ({ say, hear, leader, world }) => {
    say({ open: opening, subscribe: [subscription] });
    await hear();
    await hear();
    await leader.append("x");
    await hear();
    say({ durable: [{ subscriptionId: 1, durableEndOffset: 2 }] });
    assert.deepEqual(refusalOf(await hear()), [1, ErrorCode.INVALID_REQUEST]);
    await world.sleep(100);
    assert.equal(leader.log.highWatermark, 0);
    // Nor does what it says of a subscription that is over.
    say({ durable: [{ subscriptionId: 1, durableEndOffset: 1 }] });
    await world.sleep(100);
    assert.equal(leader.log.highWatermark, 0);
    say({ subscribe: [{ ...subscription, subscriptionId: 2 }] });
    await hear();
    say({ durable: [{ subscriptionId: 2, durableEndOffset: 1 }] });
    const { appends } = await hear();
    assert.deepEqual([leader.log.highWatermark, appends[0]?.highWatermark], [1, 1]);
  });
});

test("a high watermark goes along with batches, or is told for many commits together", async () => {
  await raw(async ({ say, hear, leader, world }) => {
    say({ open: opening, subscribe: [subscription] });
    await hear();
    const openedMs = world.kernel.nowMs;
    assert.equal((await hear()).appends[0]?.highWatermark, 0);
    assert.ok(world.kernel.nowMs < openedMs + 1, "at once");
    const heard: WireReplicaAppend[] = [];
    let isOver = false;
    const listening = (async () => {
      while (!isOver) heard.push(...(await hear()).appends);
    })();
    const appended = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i += 1) {
        await leader.append("x");
        await world.sleep(0.5);
        const durableEndOffset = leader.log.logEndOffset;
        say({ durable: [{ subscriptionId: 1, durableEndOffset }] });
        await world.sleep(0.5);
      }
    };
    await appended(40);
    const before = heard.length;
    const alone = heard.filter(({ batches }) => batches.length === 0).length;
    assert.ok(alone <= 12, `${alone} messages of 40 commits`);
    await world.sleep(2 * replicationLimits.highWatermarkDelayMs + 5);
    assert.equal(heard.at(-1)?.highWatermark, 40, "the last one is told, too");
    assert.ok(heard.length <= before + 1);
    await world.sleep(100);
    assert.ok(heard.length <= before + 1, "and once is enough");
    isOver = true;
    await leader.append("x");
    await listening;
    // A log start does not wait: another leader must not serve again what was deleted.
    await leader.log.advanceLogStart(10);
    const deletedMs = world.kernel.nowMs;
    assert.equal((await hear()).appends[0]?.logStartOffset, 10);
    assert.ok(world.kernel.nowMs < deletedMs + replicationLimits.highWatermarkDelayMs);
  });
});

test("a follower whose registration is over meanwhile is told, and counts for nothing", async () => {
  await raw(async ({ say, hear, leader }) => {
    say({ open: { ...opening, brokerId: 2, brokerEpoch: 3 }, subscribe: [subscription] });
    await hear();
    await hear();
    leader.inSync.report({ brokerId: 2, brokerEpoch: 4 }, 0, 0, 0);
    say({ durable: [{ subscriptionId: 1, durableEndOffset: 0 }] });
    assert.deepEqual(refusalOf(await hear()), [1, ErrorCode.STALE_BROKER_EPOCH]);
  });
});

test("a leader that begins anew in its epoch hears again how far its followers are", async () => {
  await raw(async ({ say, hear, leader }) => {
    say({ open: opening, subscribe: [subscription] });
    await hear();
    await hear();
    leader.beginAnew();
    assert.deepEqual(refusalOf(await hear()), [1, ErrorCode.LEADER_NOT_AVAILABLE]);
    say({ subscribe: [{ ...subscription, subscriptionId: 2 }] });
    assert.equal((await hear()).appends[0]?.subscriptionId, 2);
  });
});

test("a leader sends no more than the window, and goes on once bytes are given back", async () => {
  await raw(async ({ say, hear, leader, world }) => {
    say({ open: { ...opening, windowBytes: 5000 } });
    assert.equal((await hear()).opened?.windowBytes, 5000);
    for (let i = 0; i < 30; i += 1) await leader.append("x".repeat(100_000));
    say({ subscribe: [subscription] });
    let bytes = 0;
    const count = ({ appends }: WireReplicateResponse): number =>
      appends.flatMap(({ batches }) => batches).reduce((sum, { length }) => sum + length, 0);
    let isOver = false;
    const listening = (async () => {
      while (!isOver) bytes += count(await hear());
    })();
    await world.sleep(2000);
    // One append may overshoot it.
    assert.ok(bytes >= 5000 && bytes <= 5000 + replicationLimits.appendBytesMax, `${bytes}`);
    const before = bytes;
    say({ windowBytes: before });
    await world.sleep(2000);
    assert.ok(bytes > before && bytes <= before + 5000 + replicationLimits.appendBytesMax);
    isOver = true;
    say({ windowBytes: bytes - before });
    await listening;
  });
});

test("a follower of an empty log is in sync with its subscription", async () => {
  await raw(async ({ say, hear, leader }) => {
    const reported = { subscriptionId: 1, durableEndOffset: 0 };
    const told: number[] = [];
    const { durable } = leader;
    leader.durable = (...args) => {
      told.push(args[1]);
      return durable.apply(leader, args);
    };
    say({ open: opening, subscribe: [subscription], durable: [reported] });
    await hear();
    await hear();
    assert.deepEqual(told, [0]);
  });
});
