/** Appends that expect where the log ends, over a leader whose log a test moves on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { topicConfigOf } from "@millrace/config";
import { MillraceError } from "@millrace/errors";
import type { AppendBatch } from "@millrace/log";
import { Acks } from "@millrace/proto/common";
import { FakeLog } from "../testing/fake-log.ts";
import { partitionOf, topicOf } from "../testing/fake-view.ts";
import { mirrored, replicaContext } from "../testing/replicas.ts";
import type { Append } from "./leader.ts";
import { Replica } from "./replica.ts";

const config = topicConfigOf({ "min.insync.replicas": "2" });
const batch = { body: new Uint8Array(3), bodyCrc: 7, info: { lastOffsetDelta: 0 } } as AppendBatch;

const said = (thrown: unknown): string => {
  const { actualEndOffset, codeName, spec } = MillraceError.from(thrown);
  assert.equal(spec.sideEffects, false);
  return actualEndOffset === undefined ? codeName : `${codeName} ${actualEndOffset}`;
};

/** The leader of a log that ends at 10, all of which is committed, or what is below `committed`. */
const setUp = async (committed = 10) => {
  const log = new FakeLog(10, committed);
  log.ackedEndOffset = committed;
  const replica = new Replica(replicaContext(), topicOf("t", []), partitionOf(0, 1, 1), config);
  replica.opened(log.asLog());
  mirrored(replica, log);
  const take = async (leaderEpoch: number, leader = 0, isr = [0, 1]): Promise<void> => {
    replica.take(partitionOf(0, leader, leaderEpoch, isr), config);
    await replica.followView();
  };
  await take(2);
  const answers: string[] = [];
  const append = (expectedEndOffset: number | undefined): string => {
    const one: Append & { lastOffset: number } = {
      ...{ acks: Acks.ALL, lastOffset: -1, failure: undefined, expectedEndOffset },
      accepted: (_log, { lastOffset }) => {
        one.lastOffset = lastOffset;
      },
      refused: () => answers.push("refused"),
      settle: (error) => {
        answers.push(error === undefined ? `${one.lastOffset}: done` : said(error));
      },
    };
    try {
      replica.append(batch, undefined, one);
      return one.lastOffset < 0 ? "later" : `at ${one.lastOffset}`;
    } catch (thrown) {
      return said(thrown);
    }
  };
  return { answers, append, log, take };
};

test("an append is made only where the log ends, and the refusal says where that is", async () => {
  const { append, log } = await setUp();
  for (const elsewhere of [0, 8, 9, 11, Number.MAX_SAFE_INTEGER]) {
    assert.equal(append(elsewhere), "END_OFFSET_MISMATCH 10");
  }
  assert.deepEqual([log.appended, log.logEndOffset], [[], 10]);
  assert.equal(append(10), "at 10");
  log.commit();
  assert.equal(append(10), "END_OFFSET_MISMATCH 11");
  assert.equal(append(undefined), "at 11");
  assert.equal(append(12), "at 12");
});

test("what counts is the end of the log, and a refusal waits until that is committed", async () => {
  const { answers, append, log } = await setUp(8);
  assert.equal(append(8), "later", "which is the high watermark");
  assert.equal(append(10), "at 10");
  assert.equal(append(10), "later");
  assert.deepEqual(answers, ["refused", "refused"], "what is behind it must know at once");
  assert.deepEqual([log.logEndOffset, log.highWatermark], [11, 8]);
  log.ackedEndOffset = 10;
  log.notify();
  assert.deepEqual(answers.splice(0), ["refused", "refused", "END_OFFSET_MISMATCH 10"]);
  log.commit();
  assert.deepEqual(answers, ["10: done", "END_OFFSET_MISMATCH 11"]);
});

test("a refusal that waits when the leader fails says that nothing was appended", async () => {
  for (const fail of ["the leadership ends", "the disk stops"]) {
    const { answers, append, log, take } = await setUp(8);
    assert.equal(append(9), "later");
    if (fail === "the disk stops") log.become({ kind: "stopped", reason: "EIO" });
    else await take(3, 1);
    assert.deepEqual(answers, ["refused", "LEADER_NOT_AVAILABLE"], fail);
  }
});

test("a batch that the log has is recognised wherever the log ends now", async () => {
  const { answers, append, log } = await setUp();
  assert.equal(append(10), "at 10");
  assert.equal(append(undefined), "at 11");
  log.duplicateOf = 10;
  assert.equal(append(10), "at 10", "its first offset");
  assert.equal(log.logEndOffset, 12);
  log.commit();
  assert.deepEqual(answers, ["10: done", "11: done", "10: done"]);
});

test("only a leader looks, and under its own epoch", async () => {
  const { append, log, take } = await setUp();
  await take(3, 1);
  assert.equal(append(10), "NOT_LEADER");
  await take(4);
  assert.equal(append(9), "END_OFFSET_MISMATCH 10");
  assert.equal(append(10), "at 10");
  assert.deepEqual(log.appended, [{ epoch: 4, bytes: 3 }]);
  log.commit();
  await take(5, 0, [0]);
  assert.equal(append(0), "NOT_ENOUGH_REPLICAS", "which a retry may get over");
});
