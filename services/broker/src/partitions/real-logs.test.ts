/** Partitions over real logs on a simulated disk, through a loss of power. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { topicConfigOf } from "@millrace/config";
import { type Env, silentLogger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import { type AppendBatch, defaultManagerConfig, openLogManager } from "@millrace/log";
import { Acks } from "@millrace/proto/common";
import { BatchBuilder, validateBatch } from "@millrace/record";
import { syncCompressor } from "@millrace/record/node";
import { Incarnation, Kernel, SeededRandom, SimDisk } from "@millrace/sim";
import { FakeView, partitionOf, topicOf } from "../testing/fake-view.ts";
import { noReplication } from "../testing/replicas.ts";
import type { Append } from "./leader.ts";
import { logConfigOf } from "./log-config.ts";
import { ReplicaManager } from "./replica-manager.ts";

const config = {
  ...{ ...defaultManagerConfig, diskReserveBytes: 0 },
  ...{ journalFileBytes: 64 * 1024, journalBytesMax: 256 * 1024 },
};

const topicIn = (leaderEpoch: number) => topicOf("t", [partitionOf(0, 0, leaderEpoch, [0])]);

/** A process on the disk, whose metadata let it lead in `leaderEpoch`, or say otherwise. */
const start = async (
  kernel: Kernel,
  disk: SimDisk,
  leaderEpoch: number,
  topic = topicIn(leaderEpoch),
) => {
  const process = new Incarnation(kernel);
  const errors: string[] = [];
  const logger = { ...silentLogger, error: (_: object, message: string) => errors.push(message) };
  const env: Env = {
    ...{ clock: process.clock(), random: new SeededRandom(2), disk: disk.mount(process) },
    ...{ compressor: syncCompressor, logger },
  };
  const logs = await openLogManager({
    ...{ env, config, identity: { clusterId: "c", brokerId: 0 } },
    configFor: () => logConfigOf(topicConfigOf({})),
  });
  const view = new FakeView(1, [topic]);
  const deletionDone = async (): Promise<void> => {};
  const replicas = new ReplicaManager({
    ...{ env, logs, view, brokerId: 0, deletionDone, replication: noReplication },
    removalsDone: deletionDone,
  });
  await replicas.settle();
  const find = () => replicas.find({ topicId: new Uint8Array(0), topic: "t", partition: 0 });
  const leads = (): number | string => {
    try {
      return find().requireLeader(undefined).epoch;
    } catch (thrown) {
      return MillraceError.from(thrown).codeName;
    }
  };
  return { process, logs, view, replicas, errors, find, leads };
};

const batchOf = async (): Promise<AppendBatch> => {
  const builder = new BatchBuilder();
  builder.append({ value: Buffer.from("v"), timestampMs: 1 });
  const limits = {
    ...{ bodyBytesMax: 1e6, recordCountMax: 10, inflatedBytesMax: 1e6, nowMs: 1 },
    ...{ timestampAfterMaxMs: 1e9, timestampBeforeMaxMs: 1e9 },
  };
  return validateBatch(builder.finishPlain(), undefined, limits, syncCompressor);
};

test("one leader epoch has one history, whatever a loss of power took", async () => {
  const kernel = new Kernel(1);
  const disk = new SimDisk(kernel.random);
  const first = await kernel.run(start(kernel, disk, 5));
  assert.equal(first.leads(), 5);
  first.process.kill();
  disk.crash("power");
  const second = await kernel.run(start(kernel, disk, 5));
  assert.equal(second.logs.recovery.clean, false);
  assert.equal(second.leads(), "LEADER_NOT_AVAILABLE");
  assert.match(second.errors.join(), /does not lead/);
  second.view.change({ put: [topicIn(6)] });
  await kernel.run(second.replicas.settle());
  assert.equal(second.leads(), 6);
  await kernel.run(second.replicas.close().then(() => second.logs.close(true)));
  const third = await kernel.run(start(kernel, disk, 6));
  assert.equal(third.leads(), "LEADER_NOT_AVAILABLE", "another one may have led in it since");
  third.view.change({ put: [topicIn(7)] });
  await kernel.run(third.replicas.settle());
  assert.equal(third.leads(), 7);
  await kernel.run(third.logs.close(false));
});

test("an append is acknowledged by the log's own progress, new or repeated", async () => {
  const kernel = new Kernel(1);
  const { find, logs } = await kernel.run(start(kernel, new SimDisk(kernel.random), 5));
  const replica = find();
  const batch = await batchOf();
  // The log refuses what is not next in the sequence of a producer, and repeats what it has.
  const info = { ...batch.info, producerId: 7, producerEpoch: 0, baseSequence: 0 };
  const append = (acks: Acks): Promise<unknown> =>
    new Promise((resolve) => {
      let repeated = false;
      const one: Append = {
        ...{ acks, lastOffset: 0, failure: undefined },
        accepted: (_log, { duplicate }) => {
          repeated = duplicate;
        },
        refused: () => {},
        settle: (error) => resolve(error ?? [repeated, replica.log?.highWatermark]),
      };
      replica.append({ ...batch, info }, 5, one);
    });
  assert.deepEqual(await kernel.run(append(Acks.ALL)), [false, 1]);
  assert.deepEqual(await kernel.run(append(Acks.ALL)), [true, 1]);
  assert.deepEqual(await kernel.run(append(Acks.LEADER)), [true, 1]);
  await kernel.run(logs.close(false));
});

test("where an append expects the log's end elsewhere, the log takes only what it has", async () => {
  const kernel = new Kernel(1);
  const { find, logs } = await kernel.run(start(kernel, new SimDisk(kernel.random), 5));
  const replica = find();
  const batch = await batchOf();
  const append = (baseSequence: number, expectedEndOffset: number): Promise<unknown> =>
    new Promise((resolve) => {
      const info = { ...batch.info, producerId: baseSequence < 0 ? -1 : 7, producerEpoch: 0 };
      let place: unknown;
      const one: Append & { lastOffset: number } = {
        ...{ acks: Acks.ALL, lastOffset: 0, failure: undefined, expectedEndOffset },
        accepted: (_log, { baseOffset, duplicate, lastOffset }) => {
          one.lastOffset = lastOffset;
          place = [baseOffset, duplicate];
        },
        refused: () => {},
        settle: (error) => resolve(error ?? place),
      };
      try {
        replica.append({ ...batch, info: { ...info, baseSequence } }, 5, one);
      } catch (thrown) {
        const { actualEndOffset, codeName } = MillraceError.from(thrown);
        resolve([codeName, actualEndOffset]);
      }
    });
  const appends = async (): Promise<void> => {
    const gauges = logs.gauges();
    for (const sequence of [0, -1]) {
      assert.deepEqual(await append(sequence, 1), ["END_OFFSET_MISMATCH", 0n]);
    }
    assert.deepEqual([logs.gauges(), replica.log?.logEndOffset], [gauges, 0], "without effect");
    assert.deepEqual(await append(0, 0), [0, false]);
    assert.deepEqual(await append(-1, 0), ["END_OFFSET_MISMATCH", 1n]);
    assert.deepEqual(await append(-1, 1), [1, false]);
    assert.deepEqual(await append(0, 0), [0, true], "it came again, and the end has moved");
    assert.deepEqual(await append(1, 0), ["END_OFFSET_MISMATCH", 2n]);
    assert.deepEqual(await append(2, 0), ["OUT_OF_ORDER_SEQUENCE", undefined]);
    assert.deepEqual(await append(1, 2), [2, false], "a sequence that was refused is still next");
  };
  await kernel.run(appends());
  await kernel.run(logs.close(false));
});

test("a log that is gone, and not needed, begins anew, and does so through a crash", async () => {
  const kernel = new Kernel(1);
  const disk = new SimDisk(kernel.random);
  const first = await kernel.run(start(kernel, disk, 5));
  const batch = await batchOf();
  const done = Promise.withResolvers<unknown>();
  first.find().append(batch, 5, {
    ...{ acks: Acks.LEADER, lastOffset: 0, failure: undefined },
    ...{ accepted: () => {}, refused: () => {}, settle: done.resolve },
  });
  await kernel.run(done.promise);
  await kernel.run(first.replicas.close().then(() => first.logs.close(true)));
  const names = disk.mount(new Incarnation(kernel));
  const move = async (): Promise<void> => {
    for (const name of await names.list("partitions")) {
      await names.rename(`partitions/${name}`, `mislaid-${name}`);
    }
    for (const path of [".", "partitions"]) await names.syncDirectory(path);
  };
  await kernel.run(move());
  const others = topicOf("t", [partitionOf(0, 1, 6, [1])]);
  const second = await kernel.run(start(kernel, disk, 6, others));
  assert.match(second.errors.join(), /partition is offline.*damaged log is deleted/);
  const ends = (life: typeof first) => {
    const { log, state } = life.find();
    return [state.kind, log?.state.kind, log?.logStartOffset, log?.logEndOffset];
  };
  assert.deepEqual(ends(second), ["follower", "online", 0, 0]);
  second.process.kill();
  disk.crash("power");
  const third = await kernel.run(start(kernel, disk, 7, others));
  assert.deepEqual([ends(third), third.errors], [["follower", "online", 0, 0], []]);
  await kernel.run(third.logs.close(false));
});
