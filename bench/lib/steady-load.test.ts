import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@millrace/client";
import { SteadyLoad } from "./steady-load.ts";

/** A client whose partition 1 answers only while `open`. */
const gated = () => {
  const waiting: (() => void)[] = [];
  const state = { isOpen: true, failure: undefined as Error | undefined };
  const send = ({ partition }: { partition: number }): Promise<void> => {
    if (state.failure !== undefined) return Promise.reject(state.failure);
    if (partition === 0 || state.isOpen) return Promise.resolve();
    return new Promise((resolve) => waiting.push(resolve));
  };
  const open = (): void => {
    state.isOpen = true;
    for (const resolve of waiting.splice(0)) resolve();
  };
  const producer = { send, flush: async () => {}, [Symbol.asyncDispose]: async () => {} };
  // The load uses nothing else of a client.
  const client = { producer: () => producer } as unknown as Client;
  return { client, state, open };
};

test("a partition that stands still is told apart from one that goes on", async () => {
  const { client, open, state } = gated();
  const load = new SteadyLoad({ client, topic: "t", partitions: 2 });
  await load.untilAnswered(performance.now(), 5000);
  const fromMs = performance.now();
  state.isOpen = false;
  await sleep(300);
  open();
  await load.untilAnswered(performance.now(), 5000);
  const span = { fromMs, toMs: performance.now() };
  assert.ok(load.stall([1], span) >= 250, `${load.stall([1], span)} ms`);
  assert.ok(load.stall([0], span) < load.stall([1], span));
  assert.equal(load.stall([0, 1], span), load.stall([1], span));
  await load.stop();
});

test("whoever waits for answers that do not come is told which partitions are silent", async () => {
  const { client, open, state } = gated();
  const load = new SteadyLoad({ client, topic: "t", partitions: 2 });
  await load.untilAnswered(performance.now(), 5000);
  state.isOpen = false;
  const silent = /no acknowledgement for 0\.1 s in partitions 1/;
  await assert.rejects(load.untilAnswered(performance.now() + 10, 100), silent);
  open();
  await load.stop();
});

test("a record that fails fails the load", async () => {
  const { client, state } = gated();
  const load = new SteadyLoad({ client, topic: "t", partitions: 2 });
  state.failure = new Error("gone");
  await assert.rejects(load.untilAnswered(performance.now(), 5000), /gone/);
  await assert.rejects(load.stop(), /gone/);
});
