/**
 * Leader epochs of one partition whose name a checkpoint cannot use stop nobody. What may be the
 * disk's stops the directory: the journal still has what it may lack. So does a snapshot of
 * producers: only the journal may know them.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { RecoveryPointSchema } from "@millrace/proto/storage";
import { syncCompressor } from "@millrace/record/node";
import { Incarnation } from "@millrace/sim";
import type { PartitionLog } from "../api.ts";
import { partitionDirectory } from "../files/paths.ts";
import { epochsMessage, epochsOf } from "../partition/epochs-file.ts";
import { pointCutTo } from "../partition/types.ts";
import { appendAll, batchOf, keepingLogger, readAll, topicA } from "../testing.ts";
import { type Simulation, simulate } from "../testing-sim.ts";
import { verifyDirectory } from "../tools/verify.ts";

const settings = { log: { segmentBytes: 2048 } };
const directory = partitionDirectory(topicA, 1);

const batches = Array.from({ length: 20 }, (_, i) =>
  batchOf([{ value: `${i}`.padEnd(200, ".") }], {
    producerId: 7,
    producerEpoch: 0,
    baseSequence: i,
  }),
);

type Fails = (operation: string, path: string) => string | undefined;

/** From here on whatever `fails` says fails of the second partition. */
const breakNames = ({ disk }: Simulation, fails: Fails): void => {
  disk.fault = (operation, path) =>
    path.startsWith(directory) ? fails(operation, path) : undefined;
};

/** Nothing takes the names of the leader epochs' file. */
const noEpochs: Fails = (operation, path) =>
  operation === "open" && path.endsWith("/leader-epochs.tmp") ? "EACCES" : undefined;

const secondLog = async (simulation: Simulation): Promise<PartitionLog> =>
  (await simulation.start()).log(1);

/** Everything of twenty batches of which those below 10 were deleted, led three times. */
const hasEverything = async (log: PartitionLog): Promise<void> => {
  assert.deepEqual([log.state.kind, log.leaderEpoch, log.logStartOffset], ["online", 3, 10]);
  // An epoch without records is in no batch.
  for (const leaderEpoch of [1, 2]) {
    assert.deepEqual(log.endOffsetForEpoch(leaderEpoch), { leaderEpoch, endOffset: 20 });
  }
  assert.deepEqual((await readAll(log, 10, 1e6, "log_end")).at(0)?.offset, 10);
  assert.equal((await readAll(log, 10, 1e6, "log_end")).length, 10);
  const [retry] = await appendAll(log, batches.slice(19), 3);
  assert.deepEqual([retry?.duplicate, retry?.baseOffset], [true, 19]);
};

for (const code of ["EACCES", "EPERM", "EISDIR", "ENOTDIR", "ELOOP", "ENAMETOOLONG"]) {
  for (const file of ["leader-epochs"]) {
    for (const how of ["open", "unlink", "rename"] as const) {
      const fails: Fails = (operation, path) => {
        if (!path.includes(`/${file}`) || !path.endsWith(".tmp")) return undefined;
        // Something lies in the way, and cannot be removed.
        if (how === "unlink" && operation === "open") return "EEXIST";
        return operation === how ? code : undefined;
      };
      test(`${code} from ${how} of ${file} stops nobody, and nothing is forgotten`, async () => {
        await simulate(settings, async (simulation) => {
          const { log: logOf } = await simulation.start();
          const [other, log] = [await logOf(0), await logOf(1)];
          breakNames(simulation, fails);
          for (const each of [other, log]) {
            await each.becomeLeader(1);
            await appendAll(each, batches);
          }
          await log.becomeLeader(2);
          await log.becomeLeader(3);
          await log.advanceLogStart(10);
          // The journal is freed by the first; the second has nothing new.
          for (let i = 0; i < 2; i += 1) await other.flush();
          assert.deepEqual([other.state.kind, log.state.kind], ["online", "online"]);
          simulation.die("power");
          // Neither a start while it lasts, nor one after it was put right.
          await hasEverything(await secondLog(simulation));
          simulation.die("power");
          simulation.disk.fault = () => undefined;
          const mended = await secondLog(simulation);
          await mended.flush();
          await hasEverything(mended);
          simulation.die("power");
          await hasEverything(await secondLog(simulation));
        });
      });
    }
  }
}

test("a file of leader epochs that could not be written again is not believed", async () => {
  await simulate(settings, async (simulation) => {
    const log = await secondLog(simulation);
    await log.becomeLeader(1);
    await appendAll(log, batches);
    await log.becomeLeader(2);
    await appendAll(log, [batchOf([{ value: "cut off" }])], 2);
    await log.flush();
    breakNames(simulation, noEpochs);
    await log.truncateTo(10);
    await log.becomeLeader(4);
    await appendAll(log, [batchOf([{ value: "another history" }])], 4);
    await log.flush();
    for (let i = 0; i < 2; i += 1) {
      simulation.die("power");
      const again = await secondLog(simulation);
      assert.deepEqual(again.endOffsetForEpoch(2), { leaderEpoch: 1, endOffset: 10 });
      assert.deepEqual([again.leaderEpoch, again.epochOfOffset(10)], [4, 4]);
      // Put right: the file has them from the next checkpoint on.
      simulation.disk.fault = () => undefined;
      await again.flush();
    }
  });
});

test("leader epochs that a recovery point has are cut with it", () => {
  const entries = [
    { leaderEpoch: 1, startOffset: 0 },
    { leaderEpoch: 2, startOffset: 10 },
  ];
  const point = create(RecoveryPointSchema, { offset: 20n, leaderEpochs: epochsMessage(entries) });
  const { leaderEpochs } = pointCutTo(point, 0, { offset: 10, position: 99 }) ?? {};
  assert.deepEqual(epochsOf(leaderEpochs ?? epochsMessage([])), entries.slice(0, 1));
  assert.deepEqual(epochsOf(point.leaderEpochs ?? epochsMessage([])), entries);
});

test("leader epochs without a file outlast a clean stop", async () => {
  await simulate(settings, async (simulation) => {
    const first = await simulation.start();
    const log = await first.log(1);
    await log.becomeLeader(1);
    await appendAll(log, batches);
    await log.flush();
    breakNames(simulation, noEpochs);
    await log.becomeLeader(2);
    await first.manager.close(true);
    simulation.die("power");
    simulation.disk.fault = () => undefined;
    const second = await simulation.start();
    const again = await second.log(1);
    assert.deepEqual([again.leaderEpoch, again.epochOfOffset(19)], [2, 1]);
    // The next checkpoint writes the file, also if nothing else changes.
    await second.manager.close(true);
    assert.equal((await secondLog(simulation)).leaderEpoch, 2);
  });
});

test("what could not be written is written by the next checkpoint that can", async () => {
  await simulate(settings, async (simulation) => {
    const log = await secondLog(simulation);
    await log.becomeLeader(1);
    await appendAll(log, batches);
    breakNames(simulation, noEpochs);
    await log.flush();
    const files = simulation.disk.mount(new Incarnation(simulation.kernel));
    assert.ok(!(await files.list(directory)).includes("leader-epochs"));
    simulation.disk.fault = () => undefined;
    await log.flush();
    assert.ok((await files.list(directory)).includes("leader-epochs"));
  });
});

test("something in the way of a temporary file stops no start", async () => {
  await simulate(settings, async (simulation) => {
    const log = await secondLog(simulation);
    await log.becomeLeader(1);
    await appendAll(log, batches);
    simulation.die("process");
    const files = simulation.disk.mount(new Incarnation(simulation.kernel));
    await (await files.open(`${directory}/leader-epochs.tmp`, "create")).close();
    breakNames(simulation, (operation, path) => {
      if (!path.endsWith("/leader-epochs.tmp")) return undefined;
      if (operation === "open") return "EEXIST";
      return operation === "unlink" ? "EISDIR" : undefined;
    });
    const again = await secondLog(simulation);
    assert.deepEqual([again.state.kind, again.leaderEpoch], ["online", 1]);
  });
});

test("a file that came after the point is newer than what the point has", async () => {
  const log = { segmentBytes: 2048, segmentMs: 1000, flushPolicy: "interval" } as const;
  await simulate({ log }, async (simulation) => {
    const { log: logOf } = await simulation.start();
    const [leader, follower] = [await logOf(0), await logOf(1)];
    const unkeyed = (count: number) =>
      Array.from({ length: count }, (_, i) => batchOf([{ value: `${i}`.padEnd(200, ".") }]));
    await leader.becomeLeader(1);
    await appendAll(leader, unkeyed(10));
    await leader.becomeLeader(4);
    await appendAll(leader, unkeyed(18), 4);
    const copy = async (from: number, to: number, leaderEpoch: number): Promise<void> => {
      const chunks: Uint8Array[] = [];
      for (let offset = from; offset < to; ) {
        const read = await leader.read(offset, 1, "log_end");
        chunks.push(...read.chunks);
        offset = read.nextOffset;
      }
      await new Promise<void>((resolve, reject) => {
        follower.appendReplicated(Buffer.concat(chunks), leaderEpoch, (error) =>
          error === undefined ? resolve() : reject(error),
        );
      });
    };
    breakNames(simulation, noEpochs);
    await copy(0, 10, 1);
    await follower.flush();
    simulation.disk.fault = () => undefined;
    // An epoch that only batches know, and they are deleted.
    await copy(10, 28, 4);
    follower.updateHighWatermark(28);
    await simulation.sleep(3000);
    await follower.runRetention();
    await follower.advanceLogStart(28);
    // The checkpoint ends after the file, and before the points.
    let wrote = false;
    simulation.disk.fault = (_, path) => {
      if (!path.startsWith("recovery-points")) return undefined;
      wrote = true;
      return "EAGAIN";
    };
    follower.flush().catch(() => {});
    while (!wrote) await simulation.sleep(1);
    simulation.die("process");
    simulation.disk.fault = () => undefined;
    assert.equal((await secondLog(simulation)).leaderEpoch, 4);
  });
});

test("a clean stop without a file of leader epochs is no damage", async () => {
  await simulate(settings, async (simulation) => {
    const { log: logOf, manager } = await simulation.start();
    const log = await logOf(1);
    breakNames(simulation, noEpochs);
    await log.becomeLeader(1);
    await appendAll(log, batches);
    await manager.close(true);
    const disk = simulation.disk.mount(new Incarnation(simulation.kernel));
    const { damages } = await verifyDirectory(disk, syncCompressor);
    assert.deepEqual(damages, []);
  });
});

test("a name that cannot be used is told at each checkpoint", async () => {
  const { logger, told } = keepingLogger();
  await simulate({ ...settings, logger }, async (simulation) => {
    const log = await secondLog(simulation);
    breakNames(simulation, noEpochs);
    await log.becomeLeader(1);
    for (let i = 0; i < 2; i += 1) await log.flush();
    const text = /^the leader epochs of a partition cannot be written: see who owns its files$/;
    assert.equal(told.filter((line) => text.test(line)).length, 2);
  });
});

for (const [what, fails] of [
  ["EACCES from producers", (o: string, p: string) => o === "open" && /producers.*tmp/.test(p)],
  ["epochs that can neither go", (o: string, p: string) => o !== "read" && /epochs/.test(p)],
  ["EIO from a file's write", (o: string, p: string) => o === "write" && /epochs/.test(p)],
  ["EIO from a file's open", (o: string, p: string) => o === "open" && /producers/.test(p)],
  ["EIO from a directory's fsync", (o: string) => o === "syncDirectory"],
] as const) {
  test(`${what} stops the directory, and the next start has everything`, async () => {
    await simulate(settings, async (simulation) => {
      const { log: logOf } = await simulation.start();
      const logs = [await logOf(0), await logOf(1)] as const;
      for (const log of logs) await log.becomeLeader(1);
      const code = what.startsWith("EIO") ? "EIO" : "EACCES";
      breakNames(simulation, (operation, path) => (fails(operation, path) ? code : undefined));
      for (const log of logs) await appendAll(log, batches);
      await assert.rejects(logs[0].flush());
      assert.equal(logs[0].state.kind, "stopped");
      simulation.die("power");
      simulation.disk.fault = () => undefined;
      const again = await simulation.start();
      for (const i of [0, 1]) {
        const log = await again.log(i);
        assert.equal(log.state.kind, "online");
        assert.equal((await readAll(log, 0, 1e6, "log_end")).length, 20);
      }
    });
  });
}
