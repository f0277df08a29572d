import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { manualClock } from "@millrace/env/testing";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { topicIdOf } from "@millrace/record";
import { FollowFailures } from "./follow-failures.ts";

const topicId = topicIdOf(Buffer.alloc(16, 1));

const setUp = () => {
  const { clock, advance, pending } = manualClock();
  const lines: string[] = [];
  const logger = {
    ...silentLogger,
    warn: (fields: Readonly<Record<string, unknown>>, text: string): void => {
      const { err, examples, leader, partition, partitions } = fields;
      const named = (Array.isArray(examples) ? examples : []).map((one) => one.partition);
      assert.equal(leader, 3);
      assert.ok(err instanceof MillraceError);
      const first = partition ?? `${partitions} (${named})`;
      lines.push(`${first}, ${err.message}: ${text}`);
    },
  };
  const failures = new FollowFailures({ clock, logger }, 3);
  const fail = (partition: number): void =>
    failures.add(
      { topicId, partition },
      new MillraceError(ErrorCode.LEADER_NOT_AVAILABLE, `e${partition}`),
    );
  return { advance, pending, lines, failures, fail };
};

const alone = "a partition cannot be followed: trying again";
const more = "more partitions cannot be followed: trying again";

test("the first partition is said at once, all others of a second in one line", async () => {
  const { advance, pending, lines, fail } = setUp();
  fail(0);
  assert.deepEqual(lines, [`0, e0: ${alone}`]);
  for (let i = 1; i <= 1000; i += 1) fail(i);
  await advance(500);
  fail(1001);
  assert.equal(lines.length, 1);
  await advance(500);
  assert.deepEqual(lines.splice(0).slice(1), [`1001 (1,2,3,4,5), e1: ${more}`]);
  // A leader that goes on refusing gets a line a second.
  fail(7);
  await advance(999);
  assert.deepEqual(lines, []);
  await advance(1);
  assert.deepEqual(lines.splice(0), [`1 (7), e7: ${more}`]);
  // After a quiet second the next one is a first one again.
  await advance(1000);
  assert.deepEqual(pending(), []);
  fail(8);
  assert.deepEqual(lines, [`8, e8: ${alone}`]);
});

test("after its end nothing is said", async () => {
  const { advance, pending, lines, failures, fail } = setUp();
  fail(0);
  fail(1);
  failures.close();
  assert.deepEqual(pending(), []);
  await advance(5000);
  assert.equal(lines.length, 1);
});
