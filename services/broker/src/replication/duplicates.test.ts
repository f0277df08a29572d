/**
 * Batches of idempotent producers that are sent again: over real logs and a simulated network,
 * through fail-over and restart.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceError } from "@millrace/errors";
import { type AppendBatch, type Appended, batchesKept } from "@millrace/log";
import { Acks } from "@millrace/proto/common";
import type { ProducerStamp } from "@millrace/record";
import { Leader } from "../partitions/leader.ts";
import { batchOf, bytesOf, follow, inWorld, lead, Machine } from "../testing/replication.ts";

const stamp = (baseSequence: number): ProducerStamp => ({
  ...{ producerId: 7, producerEpoch: 0, baseSequence },
});

const sent = (baseSequence: number, values: string | string[] = "v"): Promise<AppendBatch> =>
  batchOf(values, 1, stamp(baseSequence));

/** Leads on a machine as a broker does. Answers are noted as `name: result`. */
const leadFor = async (machine: Machine, epoch: number, ...followers: Machine[]) => {
  const isr = followers.map(({ brokerId, brokerEpoch }) => ({
    ...{ brokerId, brokerEpoch: brokerEpoch + 10 },
  }));
  const { leader: served, log, logs } = await lead(machine, epoch, isr);
  const leader = new Leader(log, epoch, log.logEndOffset, served.inSync, (error) => error);
  const answers: string[] = [];
  const append = (name: string, batch: AppendBatch, acks = Acks.ALL): void => {
    let what = "";
    const pending = {
      ...{ acks, lastOffset: -1, failure: undefined },
      accepted: (_log: unknown, { baseOffset, lastOffset, duplicate }: Appended): void => {
        what = `${duplicate ? "duplicate" : "new"} at ${baseOffset}`;
        pending.lastOffset = lastOffset;
      },
      refused: () => {},
      settle: (error: Error | undefined): void => {
        answers.push(`${name}: ${error === undefined ? what : MillraceError.from(error).codeName}`);
      },
    };
    try {
      leader.append(batch, pending);
    } catch (thrown) {
      answers.push(`${name}: ${MillraceError.from(thrown).codeName}`);
    }
    served.moved();
  };
  const settle = async (ms: number): Promise<void> => {
    for (let i = 0; i < ms; i += 10) {
      await machine.world.sleep(10);
      leader.progress(true);
    }
  };
  return { leader, log, logs, append, answers, settle };
};

test("a retry is not answered before the records of the first append are committed", async () => {
  await inWorld(1, async (world) => {
    const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
    const { log, append, answers, settle } = await leadFor(a, 1, b);
    append("first", await sent(0, ["x", "y"]));
    append("retry", await sent(0, ["x", "y"]));
    append("next", await sent(2));
    append("retry of both", await sent(0, ["x", "y"]));
    append("leader alone", await sent(2), Acks.LEADER);
    await settle(500);
    assert.deepEqual(answers, ["leader alone: duplicate at 2"], "nobody follows");
    assert.equal(log.logEndOffset, 3);
    const follower = await follow(b, 1);
    await settle(500);
    assert.deepEqual(answers.slice(1), [
      ...["first: new at 0", "retry: duplicate at 0"],
      ...["next: new at 2", "retry of both: duplicate at 0"],
    ]);
    assert.equal(await bytesOf(follower.log), await bytesOf(log));
  });
});

test("a follower that takes over knows the batches, and answers once they are committed", async () => {
  await inWorld(2, async (world) => {
    const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
    // Nothing is committed: the third replica follows nobody.
    const first = await leadFor(a, 1, b, new Machine(world, 2));
    const follower = await follow(b, 1);
    for (let i = 0; i < batchesKept + 1; i += 1) first.append(`${i}`, await sent(i));
    await world.until(() => follower.log.ackedEndOffset === batchesKept + 1, "it has them");
    a.kill();
    await follower.stream.close();
    await follower.logs.close(true);
    const { append, answers, settle, log } = await leadFor(b, 2, a);
    append("forgotten", await sent(0));
    for (let i = 1; i <= batchesKept; i += 1) append(`${i}`, await sent(i));
    append("gap", await sent(batchesKept + 2));
    append("next", await sent(batchesKept + 1));
    await settle(300);
    assert.deepEqual(answers.splice(0), [
      ...["forgotten: OUT_OF_ORDER_SEQUENCE", "gap: OUT_OF_ORDER_SEQUENCE"],
    ]);
    await follow(a, 2, 1);
    await settle(500);
    const repeated = Array.from({ length: batchesKept }, (_, i) => i + 1);
    assert.deepEqual(answers, [
      ...repeated.map((i) => `${i}: duplicate at ${i}`),
      `next: new at ${batchesKept + 1}`,
    ]);
    assert.equal(log.logEndOffset, batchesKept + 2);
  });
});

test("a batch that only the old leader had is appended anew, and cut from the old leader", async () => {
  await inWorld(3, async (world) => {
    const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
    const first = await leadFor(a, 1, b);
    first.append("lost", await sent(0, "lost"));
    await first.settle(100);
    assert.deepEqual(first.answers, []);
    a.kill();
    const { append, answers, settle, log } = await leadFor(b, 2, a);
    append("again", await sent(0, "lost"));
    append("retry", await sent(0, "lost"));
    const old = await follow(a, 2, 1);
    await settle(500);
    assert.deepEqual(answers, ["again: new at 0", "retry: duplicate at 0"]);
    assert.equal(await bytesOf(old.log), await bytesOf(log));
  });
});

test("a restart forgets no batch, after a clean stop, a kill or a loss of power", async () => {
  for (const [seed, how] of ["clean", "process", "power"].entries()) {
    await inWorld(4 + seed, async (world) => {
      const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
      const first = await leadFor(a, 1, b);
      await follow(b, 1);
      for (let i = 0; i < 20; i += 1) first.append(`${i}`, await sent(i));
      await first.settle(300);
      assert.equal(first.answers.length, 20);
      if (how === "clean") await first.logs.close(true);
      a.process.kill();
      a.disk.crash(how === "power" ? "power" : "process");
      const { append, answers, settle, log } = await leadFor(a, 2, b);
      for (let i = 4; i < 20; i += 1) append(`${i}`, await sent(i));
      append("next", await sent(20));
      b.kill();
      await follow(b, 2);
      await settle(500);
      assert.equal(answers[0], "4: duplicate at 4", how);
      assert.deepEqual(answers.slice(15), ["19: duplicate at 19", "next: new at 20"], how);
      assert.equal(log.logEndOffset, 21);
    });
  }
});
