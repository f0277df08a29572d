import assert from "node:assert/strict";
import { test } from "node:test";
import { within } from "@millrace/env/testing";
import { Apart } from "./apart.ts";

const samples = (): Apart<typeof import("./sample.ts")> =>
  new Apart(new URL("sample.ts", import.meta.url));

test("functions are called in a thread of their own, and what they keep stays there", async () => {
  const there = samples();
  assert.equal(await there.call("sum", 2, 3), 5);
  assert.deepEqual(await there.call("counted"), new Map([["calls", 1]]));
  assert.deepEqual(await there.call("counted"), new Map([["calls", 2]]));
  const { counted } = await import("./sample.ts");
  assert.equal(counted().get("calls"), 1);
});

test("what is thrown is thrown here, and the thread goes on", async () => {
  const there = samples();
  await assert.rejects(there.call("fails", "why"), { message: "why" });
  assert.equal(await there.call("sum", 1, 1), 2);
});

test("a thread that ends fails what waits, and what is asked later", async () => {
  const there = samples();
  await assert.rejects(within(there.call("ends"), "an end"), /the thread has ended with 3/);
  await assert.rejects(within(there.call("sum", 1, 1), "a refusal"), /the thread has ended/);
});
