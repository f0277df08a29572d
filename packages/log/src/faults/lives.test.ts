/** A partition that was deleted and made again, when its meta file does not tell its life. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PartitionLog } from "../api.ts";
import { partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, topicA } from "../testing.ts";
import { type SimulatedLog, type Simulation, simulate } from "../testing-sim.ts";

const directory = partitionDirectory(topicA, 0);
const meta = `${directory}/meta`;

/** Deletes partition 0. The recovery points or the journal know of it, as wanted. */
const remove = async ({ disk }: Simulation, life: SimulatedLog, knows: string): Promise<void> => {
  const other = await life.log(1);
  let checkpoint = Promise.resolve();
  disk.onStep = (_, what) => {
    if (!what.startsWith("rename partitions/")) return;
    disk.onStep = () => {};
    if (knows === "points") checkpoint = other.flush();
  };
  await life.manager.delete(topicA, 0);
  await checkpoint;
};

/** Partition 0 is deleted and made again, and holds nothing when the power goes. */
const remake = async (simulation: Simulation, knows: string): Promise<void> => {
  const first = await simulation.start();
  await appendAll(await first.log(), [batchOf([{ value: "x" }])]);
  await remove(simulation, first, knows);
  await first.log();
  first.die("power");
};

/** The state of partition 0 after a start, then a clean stop. */
const startAndStop = async (simulation: Simulation): Promise<string> => {
  const life = await simulation.start();
  const state = life.manager.get(topicA, 0)?.state.kind ?? "gone";
  await life.manager.close(true);
  life.die("process");
  return state;
};

for (const knows of ["points", "journal"]) {
  test(`a new life without records outlives a meta file that cannot be read, ${knows}`, async () => {
    await simulate({}, async (simulation) => {
      const { disk } = simulation;
      await remake(simulation, knows);
      disk.fault = (operation, path) => (operation === "open" && path === meta ? "EIO" : undefined);
      assert.equal(await startAndStop(simulation), "offline");
      disk.fault = () => undefined;
      assert.equal(await startAndStop(simulation), "online");
    });
  });

  test(`a new life without records outlives the rot of its meta file, ${knows}`, async () => {
    await simulate({}, async (simulation) => {
      const { disk } = simulation;
      await remake(simulation, knows);
      assert.ok(disk.flipBit(meta, 20, 1));
      for (let start = 0; start < 3; start += 1) {
        assert.equal(await startAndStop(simulation), "offline", `start ${start}`);
      }
    });
  });

  test(`a deleted directory is offline until its meta file tells its life, ${knows}`, async () => {
    await simulate({}, async (simulation) => {
      const { disk, start } = simulation;
      const first = await start();
      await appendAll(await first.log(), [batchOf([{ value: "x" }])]);
      disk.fault = (operation, path) =>
        operation === "rename" && path === directory ? "EIO" : undefined;
      await remove(simulation, first, "journal");
      if (knows === "points") await (await first.log(1)).flush();
      first.die("power");
      disk.fault = (operation, path) => (operation === "open" && path === meta ? "EIO" : undefined);
      for (let start = 0; start < 3; start += 1) {
        assert.equal(await startAndStop(simulation), "offline", `start ${start}`);
      }
      disk.fault = () => undefined;
      assert.equal(await startAndStop(simulation), "gone");
      assert.equal(await startAndStop(simulation), "gone");
    });
  });
}

test("a partition that is deleted while its life is not known does not come back", async () => {
  await simulate({}, async (simulation) => {
    const { disk, start } = simulation;
    const first = await start();
    await appendAll(await first.log(), [batchOf([{ value: "x" }])]);
    await first.manager.close(true);
    first.die("process");
    disk.fault = (operation, path) =>
      (operation === "open" && path === meta) || (operation === "rename" && path === directory)
        ? "EIO"
        : undefined;
    const second = await start();
    await second.manager.delete(topicA, 0);
    await (await second.log(1)).flush();
    second.die("power");
    disk.fault = () => undefined;
    assert.equal(await startAndStop(simulation), "gone");
  });
});

test("what the journal lost is remembered of a partition that cannot be read", async () => {
  await simulate({}, async (simulation) => {
    const { disk, start } = simulation;
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, [batchOf([{ value: "x" }])]);
    await appendAll(await first.log(1), [batchOf([{ value: "y" }])]);
    first.die("power");
    // Both rounds of the partition; that of the other one shows that they were there.
    assert.ok(disk.flipBit("journal/00000000.journal", 20, 1));
    assert.ok(disk.flipBit("journal/00000000.journal", 4096 + 20, 1));
    disk.fault = (operation, path) => (operation === "open" && path === meta ? "EIO" : undefined);
    assert.equal(await startAndStop(simulation), "offline");
    disk.fault = () => undefined;
    assert.equal(await startAndStop(simulation), "offline");
  });
});

/**
 * Makes partition 0 while a round of the journal is under way that a power cut then tears, uses it
 * in the next process, and gives what is left after one more power cut.
 */
const madeInOpenRound = async (
  { disk, sleep, start }: Simulation,
  use: (log: PartitionLog) => Promise<unknown>,
): Promise<PartitionLog> => {
  const first = await start();
  const other = await first.log(1);
  await other.becomeLeader(1);
  disk.fault = (operation, path) =>
    operation === "write" && path.startsWith("journal/") ? "EAGAIN" : undefined;
  other.append(batchOf([{ value: "lost" }]), 1, () => {});
  await sleep(100);
  await first.log(0);
  first.die("power");
  disk.fault = () => undefined;
  const second = await start();
  await use(await second.log(0));
  second.die("power");
  return (await start()).log(0);
};

test("a partition that was made while a round was under way keeps what follows a power cut", async () => {
  // The disk keeps the round in some of them.
  for (let seed = 1; seed <= 8; seed += 1) {
    await simulate({ seed }, async (simulation) => {
      const again = await madeInOpenRound(simulation, async (log) => {
        for (const value of ["y", "z"]) await appendAll(log, [batchOf([{ value }])]);
      });
      assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 2], `seed ${seed}`);
    });
    await simulate({ seed }, async (simulation) => {
      const again = await madeInOpenRound(simulation, (log) => log.becomeLeader(3));
      assert.deepEqual([again.state.kind, again.leaderEpoch], ["online", 3], `seed ${seed}`);
    });
  }
});

test("a round that rotted gives no number to a later life", async () => {
  await simulate({}, async (simulation) => {
    const { disk, start } = simulation;
    const first = await start();
    await appendAll(await first.log(), [batchOf([{ value: "x" }])]);
    await first.manager.delete(topicA, 0);
    await first.log();
    first.die("power");
    // The deletion's round, the last one: nobody can tell it from one that was torn.
    assert.ok(disk.flipBit("journal/00000000.journal", 4096 + 20, 1));
    const second = await start();
    const log = await second.log();
    for (const value of ["y", "z"]) await appendAll(log, [batchOf([{ value }])]);
    second.die("power");
    const again = await (await start()).log(0);
    assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 2]);
  });
});
