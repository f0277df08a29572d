import assert from "node:assert/strict";
import { test } from "node:test";
import { topicConfigOf } from "@millrace/config";
import { silentLogger } from "@millrace/env";
import { nodeClock } from "@millrace/env/node";
import { MillraceError } from "@millrace/errors";
import type { PartitionView } from "../metadata/view.ts";
import { Replica } from "./replica.ts";

/**
 * A replica of broker 0 over a log that records what it is told; taking over waits for the test.
 */
const setUp = (minInsync = 1) => {
  const recorded: number[] = [];
  const takeovers: (() => void)[] = [];
  const log = {
    state: { kind: "online" } as { kind: string; reason?: string },
    ackedEndOffset: 10,
    highWatermark: 0,
    onProgress: () => () => {},
    becomeLeader: async (epoch: number) => {
      await new Promise<void>((resolve) => takeovers.push(resolve));
      recorded.push(epoch);
    },
    updateHighWatermark: (offset: number) => {
      log.highWatermark = Math.max(log.highWatermark, offset);
    },
  };
  const topic = { name: "t", id: "i", replicationFactor: 2, configs: {}, partitions: [] };
  const config = topicConfigOf({ "min.insync.replicas": String(minInsync) });
  const viewOf = (leaderEpoch: number, leader = 0, isr = [0, 1]): PartitionView => ({
    ...{ partition: 0, leader, leaderEpoch, replicas: [0, 1], isr, elr: [] },
  });
  const context = {
    ...{ brokerId: 0, clock: nodeClock(), logger: silentLogger },
    hint: () => undefined,
  };
  const first = viewOf(1, 1);
  const replica = new Replica(context, log as never, topic as never, first, config);
  const apply = (view: PartitionView): Promise<void> => replica.apply(topic as never, view, config);
  const lead = async (view: PartitionView): Promise<void> => {
    const applied = apply(view);
    takeovers.pop()?.();
    await applied;
  };
  const ask = (epoch?: number): number | string => {
    try {
      return replica.requireLeader(epoch);
    } catch (thrown) {
      return MillraceError.from(thrown).codeName;
    }
  };
  return { replica, log, recorded, takeovers, viewOf, apply, lead, ask };
};

test("a replica leads once its log has recorded the epoch, and serves that epoch alone", async () => {
  const { recorded, takeovers, viewOf, apply, ask } = setUp();
  assert.equal(ask(), "NOT_LEADER");
  const applied = apply(viewOf(5));
  assert.equal(ask(), "LEADER_NOT_AVAILABLE", "not recorded yet");
  takeovers.pop()?.();
  await applied;
  assert.deepEqual(recorded, [5]);
  assert.deepEqual(
    [ask(), ask(5), ask(4), ask(6)],
    [5, 5, "FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH"],
  );
});

test("a new epoch, or another leader, ends the old leadership at once", async () => {
  const { viewOf, apply, lead, takeovers, ask } = setUp();
  await lead(viewOf(5));
  const applied = apply(viewOf(6));
  assert.equal(ask(), "LEADER_NOT_AVAILABLE");
  takeovers.pop()?.();
  await applied;
  assert.equal(ask(), 6);
  await apply(viewOf(7, 1));
  assert.equal(ask(), "NOT_LEADER");
});

test("a replica that was deposed while it took over does not lead", async () => {
  const { viewOf, apply, takeovers, ask } = setUp();
  const applied = apply(viewOf(5));
  await apply(viewOf(6, 1));
  takeovers.pop()?.();
  await applied;
  assert.equal(ask(), "NOT_LEADER");
});

test("the high watermark rises only with enough in-sync replicas", async () => {
  const { log, viewOf, lead } = setUp(2);
  await lead(viewOf(5, 0, [0]));
  assert.equal(log.highWatermark, 0);
  await lead(viewOf(6, 0, [0, 1]));
  assert.equal(log.highWatermark, 10);
});

test("an offline partition is not served, a stopped one is", async () => {
  const { log, viewOf, lead, ask } = setUp();
  await lead(viewOf(5));
  log.state = { kind: "stopped", reason: "EIO" };
  assert.equal(ask(), 5);
  log.state = { kind: "offline", reason: "damage" };
  assert.equal(ask(), "PARTITION_OFFLINE");
});
