import assert from "node:assert/strict";
import { test } from "node:test";
import { type Logger, silentLogger } from "@millrace/env";
import { manualClock } from "@millrace/env/testing";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { handOver } from "./hand-over.ts";
import type { PartitionView } from "./metadata/view.ts";
import { brokerOf, FakeView, partitionOf, topicOf } from "./testing/fake-view.ts";

const leavingSoon = { ...brokerOf(1), isShuttingDown: true };

const start = (partitions: readonly PartitionView[], announce = async (): Promise<void> => {}) => {
  const view = new FakeView(1, [topicOf("t", partitions)]);
  view.change({ brokers: [brokerOf(0), brokerOf(1)] });
  const { clock, turn, soon, advance, pending } = manualClock();
  const lines: string[] = [];
  const add = (fields: object, message: string): void =>
    void lines.push(`${message} ${JSON.stringify(fields)}`);
  const logger: Logger = { ...silentLogger, info: add, warn: add };
  const state = { announced: 0, done: false, lines };
  const told = (): Promise<void> => {
    state.announced += 1;
    return announce();
  };
  const over = handOver({
    ...{ clock, logger, view, brokerId: 0, announce: told, timeoutMs: 10_000 },
  }).then(() => {
    state.done = true;
  });
  return { view, state, turn, advance, pending, over: () => soon(over) };
};
test("a broker that leads nothing, or nothing that another could lead, stops at once", async () => {
  const alone = [partitionOf(0, 0, 1, [0]), partitionOf(1, 1)];
  const { over, state } = start(alone);
  await over();
  assert.equal(state.announced, 0);
});

test("a stop waits until others lead, and tells how many", async () => {
  const { view, over, state, turn, pending } = start([
    partitionOf(0),
    partitionOf(1),
    partitionOf(2, 0, 1, [0]),
  ]);
  await turn();
  assert.deepEqual([state.announced, state.done], [1, false]);
  view.change({ put: [topicOf("t", [partitionOf(0, 1, 2), partitionOf(1)])] });
  await turn();
  assert.equal(state.done, false);
  view.change({ put: [topicOf("t", [partitionOf(0, 1, 2), partitionOf(1, 1, 2)])] });
  await over();
  assert.deepEqual(state.lines, ['leaderships are handed over {"handed_over":2,"left":0}']);
  assert.deepEqual([view.listeners, pending()], [0, []]);
});

test("nobody waits for a successor that stops, too, or has registered anew", async () => {
  for (const other of [leavingSoon, { ...brokerOf(1), epoch: 2 }, undefined]) {
    const { view, over, state, turn } = start([partitionOf(0)]);
    await turn();
    assert.equal(state.done, false);
    view.change({ brokers: [brokerOf(0), ...(other === undefined ? [] : [other])] });
    await over();
  }
});

test("a stop goes on without a controller or a metadata store", async () => {
  const silent = start([partitionOf(0)]);
  await silent.advance(9_999);
  assert.equal(silent.state.done, false);
  await silent.advance(1);
  await silent.over();
  assert.match(
    silent.state.lines[0] ?? "",
    /^leaderships are left: .* {"handed_over":0,"left":1}$/,
  );
  const down = async (): Promise<void> => {
    throw new MillraceError(ErrorCode.UNAVAILABLE, "no store");
  };
  const failed = start([partitionOf(0)], down);
  await failed.over();
  assert.match(failed.state.lines[0] ?? "", /cannot be handed over/);
});
