import assert from "node:assert/strict";
import { test } from "node:test";
import { Durability } from "./durability.ts";

test("what changes during the I/O is not covered by it", async () => {
  const durability = new Durability();
  durability.changed();
  const { version } = durability;
  assert.ok(!durability.covers(version));
  await durability.settle(async () => durability.changed());
  assert.ok(durability.covers(version));
  assert.ok(durability.pending, "the later change is not durable");
  await durability.settle(async () => {});
  assert.ok(!durability.pending);
});

test("I/O that fails leaves everything pending, and is not run when there is nothing", async () => {
  const durability = new Durability();
  await durability.settle(() => assert.fail("there was nothing to make durable"));
  durability.changed();
  await assert.rejects(durability.settle(() => Promise.reject(new Error("EIO"))));
  assert.ok(durability.pending);
});

test("I/O that began earlier and ends later takes nothing back", () => {
  const durability = new Durability();
  durability.changed();
  durability.changed();
  durability.durableUpTo(2);
  durability.durableUpTo(1);
  assert.ok(durability.covers(2));
  assert.ok(!durability.pending);
});
