import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { Lanes } from "./lanes.ts";

test("work of one key runs alone, in order, also after a failure, and leaves nothing behind", {
  timeout: 10_000,
}, async () => {
  const lanes = new Lanes(3);
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const work = (name: string, wait?: Promise<void>) => async () => {
    order.push(`${name} begins`);
    await wait;
    order.push(`${name} ends`);
    if (name === "a") throw new Error("a failed");
    return name;
  };
  const a = lanes.run(1, work("a", gate.promise));
  const b = lanes.run(1, work("b"));
  const c = lanes.run(1, work("c"));
  const d = lanes.run(1, work("d")).then(
    () => false,
    (thrown: unknown) => hasCode(thrown, ErrorCode.ADMISSION_REJECTED),
  );
  assert.equal(await lanes.run(2, work("other")), "other");
  assert.equal(lanes.size, 1);
  gate.resolve();
  await assert.rejects(a, /a failed/);
  assert.deepEqual(await Promise.all([b, c, d]), ["b", "c", true]);
  assert.equal(lanes.size, 0);
  assert.deepEqual(order.slice(0, 3), ["a begins", "other begins", "other ends"]);
  assert.deepEqual(order.slice(-5), ["a ends", "b begins", "b ends", "c begins", "c ends"]);
});
