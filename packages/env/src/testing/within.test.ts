import assert from "node:assert/strict";
import { test } from "node:test";
import { within } from "./within.ts";

test("what a promise becomes in time", async () => {
  assert.equal(await within(Promise.resolve(1), "number"), 1);
  await assert.rejects(within(Promise.reject(new Error("broken")), "number"), /^Error: broken$/);
});

test("a promise that does not settle is named, with the time that it had", async () => {
  const never = new Promise(() => {});
  await assert.rejects(within(never, "answer", 5), { message: "no answer within 5 ms" });
});
