/** Shards are hosted, dropped and hosted again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { Incarnation, Kernel } from "@millrace/sim";
import { limits } from "../limits.ts";
import { Coordinator } from "./coordinator.ts";
import type { ShardLog } from "./shard-log.ts";

/** Logs of which a test decides how they load and append. */
const setUp = (more: { readonly caughtUp?: () => Promise<unknown> } = {}) => {
  const kernel = new Kernel(3);
  const clock = new Incarnation(kernel).clock();
  const loads: PromiseWithResolvers<number>[] = [];
  const state = { appendError: undefined as MillraceError | undefined };
  const log: ShardLog = {
    load: (_, signal) => {
      const load = Promise.withResolvers<number>();
      loads.push(load);
      signal.addEventListener("abort", () => load.reject(signal.reason));
      return load.promise;
    },
    append: async () => {
      if (state.appendError !== undefined) throw state.appendError;
    },
  };
  const coordinator = new Coordinator({
    ...{ clock, logger: silentLogger, shardCount: 1, offsetsRetentionMs: 1000, logOf: () => log },
    topics: { byName: () => undefined, byId: () => undefined, *all() {} },
    patternOf: () => assert.fail(),
    assign: () => assert.fail(),
    hintOf: () => undefined,
    ...more,
  });
  const pass = (ms: number): Promise<void> =>
    kernel.run(new Promise((resolve) => void kernel.schedule(ms, resolve, "test")));
  const fence = async (): Promise<void> => {
    const message = "another coordinator has appended";
    state.appendError = MillraceError.refusal(ErrorCode.END_OFFSET_MISMATCH, message);
    const [error] = await kernel.run(
      Promise.allSettled([coordinator.runnerOf("g").then((one) => one.readLatest(() => 0))]),
    );
    assert.equal(error.status, "rejected");
    state.appendError = undefined;
  };
  return { coordinator, loads, pass, fence };
};

test("the end of a load that was dropped does not disturb the next one", async () => {
  const { coordinator, loads, pass } = setUp();
  coordinator.host(0);
  coordinator.drop(0);
  coordinator.host(0);
  await pass(1);
  assert.equal(loads.length, 2);
  loads[1]?.resolve(1);
  await pass(1);
  assert.equal(coordinator.state.shardsLoaded, 1);
  await pass(60_000);
  assert.equal(loads.length, 2);
});

test("a shard that was fenced is loaded at once when the metadata say that it is ours", async () => {
  let asked = 0;
  const { coordinator, fence, loads, pass } = setUp({
    caughtUp: async () => {
      asked += 1;
    },
  });
  coordinator.host(0);
  for (let i = 0; i < 5; i += 1) {
    await pass(limits.reloadMs + 1);
    assert.equal(loads.length, i + 1);
    loads[i]?.resolve(1);
    await pass(1);
    await fence();
  }
  assert.equal(asked, 5);
});

test("while the metadata cannot be asked, a shard that was fenced waits longer each time", async () => {
  const { coordinator, fence, loads, pass } = setUp({
    caughtUp: () => Promise.reject(new MillraceError(ErrorCode.UNAVAILABLE, "cut off")),
  });
  coordinator.host(0);
  await pass(1);
  for (let i = 0; i < 5; i += 1) {
    loads[i]?.resolve(1);
    await pass(1);
    await fence();
    await pass(limits.reloadMs * 2 ** i - 10);
    assert.equal(loads.length, i + 1, `after ${i}`);
    await pass(20);
    assert.equal(loads.length, i + 2, `after ${i}`);
  }
});

test("a shard that was dropped while the metadata were asked stays down", async () => {
  const answer = Promise.withResolvers<void>();
  const { coordinator, fence, loads, pass } = setUp({ caughtUp: () => answer.promise });
  coordinator.host(0);
  await pass(1);
  loads[0]?.resolve(1);
  await pass(1);
  await fence();
  coordinator.drop(0);
  answer.resolve();
  await pass(60_000);
  assert.equal(loads.length, 1);
  assert.deepEqual(coordinator.state.shardsLoading, 0);
});
