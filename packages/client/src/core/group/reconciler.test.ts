/** Assignments that come while one before is still being applied. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode } from "@millrace/errors";
import { groupSetUp, Loop } from "../../testing/group-set-up.ts";
import { until, writeBatch } from "../../testing/set-up.ts";

const limit = { timeout: 15_000 };

/**
 * A member that is still giving back partition 0: meanwhile partition 1 was given to it, and taken
 * away again. `revoked` lets it go on.
 */
const givingBack = async () => {
  const { client, coordinator } = groupSetUp(2);
  const revoked = Promise.withResolvers<void>();
  const told: string[] = [];
  new Loop(client, {
    onAssigned: (all) => told.push(all.map(({ partition }) => partition).join()),
    onRevoked: () => revoked.promise,
  }).free();
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await until(() => coordinator.heard().includes("report 1: 0"));
  coordinator.last.assign(2, [0, 1]);
  coordinator.last.assign(3, [1]);
  // It can be read long before the application has given the other one back.
  await sleep(250);
  coordinator.last.assign(4, []);
  await sleep(30);
  return { coordinator, revoked, told };
};

test("a partition that is to go again is not announced", limit, async () => {
  const { coordinator, revoked, told } = await givingBack();
  revoked.resolve();
  await until(() => coordinator.transcript.includes("report 4: nothing"));
  assert.deepEqual(told, ["0"]);
  assert.ok(coordinator.heard().every((text) => !/^report.* 1$/.test(text)));
});

test("a partition that was to go is announced where a later stream has it", limit, async () => {
  const { coordinator, revoked, told } = await givingBack();
  coordinator.last.end(ErrorCode.UNAVAILABLE);
  await until(() => coordinator.streams.length === 2);
  revoked.resolve();
  await sleep(30);
  coordinator.last.assign(1, [1], 4);
  await until(() => told.length === 2);
  assert.deepEqual(told, ["0", "1"]);
});

test("a partition of a deleted topic is given back at once", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  await writeBatch(client, ["a"], 0);
  const loop = new Loop(client);
  loop.free();
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [[0, 0]]);
  await until(() => coordinator.heard().includes("report 1: 0"));
  await until(() => loop.seen.length === 1);
  coordinator.answersCommits = false;
  coordinator.last.assign(2, []);
  await until(() => coordinator.heard().includes("commit 0@1"));
  const commitId = coordinator.last.requests.at(-1)?.commit?.commitId ?? 0n;
  const error = { code: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, message: "gone", retriable: true };
  const refused = [{ topic: "events", partitions: [{ partition: 0, error }] }];
  coordinator.last.push({ committed: { commitId, refused } });
  await until(() => coordinator.transcript.length > 0);
  assert.deepEqual(coordinator.heard(), ["report 2: nothing"]);
});
