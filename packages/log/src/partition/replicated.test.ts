import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { encodeStoredPrefix, readStored } from "@millrace/record";
import type { PartitionLog } from "../api.ts";
import { appendAll, batchOf, readAll } from "../testing.ts";
import { simulate } from "../testing-sim.ts";
import { headerCrcOf } from "./replicated.ts";

const sent = (value: string, baseSequence: number) =>
  batchOf([{ value: value.padEnd(200, ".") }], { producerId: 7, producerEpoch: 0, baseSequence });

/** What a log holds from an offset on, as a leader sends it. */
const storedFrom = async (log: PartitionLog, offset: number, maxBytes = 1e6): Promise<Buffer> =>
  Buffer.concat((await log.read(offset, maxBytes, "log_end")).chunks);

const takeOver = (log: PartitionLog, bytes: Uint8Array, leaderEpoch: number): Promise<void> =>
  new Promise((resolve, reject) => {
    log.appendReplicated(bytes, leaderEpoch, (error) =>
      error === undefined ? resolve() : reject(error),
    );
  });

/** The bytes of a leader of epochs 1 and 3, with a batch that was sent twice. */
const leaderBytes = async (): Promise<Buffer> => {
  let all = Buffer.alloc(0);
  await simulate({ log: { segmentBytes: 900 } }, async ({ start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    await appendAll(log, [sent("a", 0), sent("b", 1), sent("b", 1)], 1);
    await log.becomeLeader(3);
    await appendAll(log, [sent("c", 2), batchOf([{ value: "d" }, { value: "e" }])], 3);
    const parts: Buffer[] = [];
    for (let offset = 0; offset < log.logEndOffset; ) {
      const { nextOffset } = await log.read(offset, 1, "log_end");
      parts.push(await storedFrom(log, offset, 1));
      offset = nextOffset;
    }
    all = Buffer.concat(parts);
    assert.equal(log.logEndOffset, 5);
  });
  return all;
};

test("a follower has the same bytes, epochs and producers as its leader, also after a crash", async () => {
  const all = await leaderBytes();
  for (const flushPolicy of ["commit", "none"] as const) {
    await simulate({ log: { flushPolicy, segmentBytes: 900 } }, async ({ sleep, start }) => {
      const first = await start();
      await takeOver(await first.log(), all, 3);
      await sleep(1000);
      first.die(flushPolicy === "commit" ? "power" : "process");
      const log = await (await start()).log();
      assert.deepEqual([log.state.kind, log.logEndOffset, log.leaderEpoch], ["online", 5, 3]);
      assert.equal((await readAll(log, 0, 1e6, "log_end")).length, 5);
      assert.deepEqual(
        await storedFrom(log, 0),
        all.subarray(0, (await storedFrom(log, 0)).length),
      );
      assert.deepEqual(log.endOffsetForEpoch(1), { leaderEpoch: 1, endOffset: 2 });
      await log.becomeLeader(4);
      const retry = log.append(sent("b", 1), 4, () => {});
      assert.deepEqual([retry.duplicate, retry.baseOffset], [true, 1]);
      assert.throws(
        () => log.append(sent("z", 9), 4, () => {}),
        (thrown) => hasCode(thrown, ErrorCode.OUT_OF_ORDER_SEQUENCE),
      );
    });
  }
});

test("what a leader never sent is refused, and nothing of it is taken", async () => {
  const all = await leaderBytes();
  await simulate({}, async ({ start }) => {
    const log = await (await start()).log();
    const refused = (bytes: Uint8Array, why: RegExp, leaderEpoch = 3) =>
      assert.throws(
        () => log.appendReplicated(bytes, leaderEpoch, () => assert.fail("it was refused")),
        (thrown) => hasCode(thrown, ErrorCode.CORRUPT_MESSAGE) && why.test(thrown.message),
      );
    const flipped = (at: number): Buffer => {
      const bytes = Buffer.from(all);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      return bytes;
    };
    // Of the first batch: its offset, epoch, time, CRCs, lengths and records, one after another.
    for (let at = 0; at < 150; at += 1) refused(flipped(at), /should begin at offset 0 was not/);
    refused(flipped(0), /not a batch tag: subscribe again/);
    refused(flipped(all.length - 1), /offset 3 was not taken over: its body CRC is wrong/);
    refused(all.subarray(0, all.length - 1), /offset 3 was not taken over: its end is missing/);
    // Of a leader that is older than its batches.
    refused(all, /its leader epoch 3 is not between 1 and 2/, 2);
    assert.deepEqual([log.logEndOffset, log.leaderEpoch], [0, 0]);
    await takeOver(log, all, 3);
    // Once more: its epochs fall, and the last batch, of this epoch, does not begin at the log end.
    refused(all, /offset 5 was not taken over: it begins at 0/);
    refused(await storedFrom(log, log.logEndOffset - 1), /it begins at 3/);
    assert.equal(log.logEndOffset, 5);
  });
});

test("the header's CRC is found behind bodies of every length", () => {
  for (const bytes of [1, 127, 128, 16_384, 2 ** 21]) {
    const fields = { baseOffset: 7, leaderEpoch: 3, appendTimeMs: 5, bodyCrc: 9 };
    const [prefix, body] = [encodeStoredPrefix(fields, bytes), Buffer.alloc(bytes)];
    const stored = readStored(Buffer.concat([prefix, body]), 0);
    assert.equal(headerCrcOf({ prefix, body }), "fault" in stored ? -1 : stored.headerCrc);
  }
});

test("a log that knows a newer epoch takes nothing from an older leader", async () => {
  const all = await leaderBytes();
  await simulate({}, async ({ start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(4);
    assert.throws(
      () => log.appendReplicated(all, 3, () => {}),
      (thrown) => hasCode(thrown, ErrorCode.FENCED_LEADER_EPOCH),
    );
    // Of a newer leader, but older than what the log knows.
    assert.throws(
      () => log.appendReplicated(all, 5, () => {}),
      (thrown) => hasCode(thrown, ErrorCode.CORRUPT_MESSAGE),
    );
  });
});

test("batches that are taken over together are done together, and bounded together", async () => {
  const all = await leaderBytes();
  const manager = { pendingBytesMax: 600 };
  await simulate({ manager }, async ({ start }) => {
    const log = await (await start()).log();
    assert.throws(
      () => log.appendReplicated(all, 3, () => {}),
      (thrown) => hasCode(thrown, ErrorCode.ADMISSION_REJECTED),
    );
    assert.equal(log.logEndOffset, 0);
  });
  await simulate({}, async ({ start }) => {
    const log = await (await start()).log();
    let done = 0;
    const end = await new Promise<number>((resolve) => {
      const taken = log.appendReplicated(all, 3, () => {
        done += 1;
        resolve(taken);
      });
    });
    assert.deepEqual([end, log.ackedEndOffset, done], [5, 5, 1]);
    // Nothing at all is done in its turn.
    await takeOver(log, new Uint8Array(0), 3);
  });
});
