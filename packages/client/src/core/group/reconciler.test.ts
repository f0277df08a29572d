/** Assignments that come while one before is still being applied. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode } from "@millrace/errors";
import { groupSetUp, Loop } from "../../testing/group-set-up.ts";
import { until, writeBatch } from "../../testing/set-up.ts";

const limit = { timeout: 15_000 };

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
