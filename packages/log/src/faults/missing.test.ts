/** Directories of partitions that disappear, and come back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { Incarnation } from "@millrace/sim";
import type { PartitionLog } from "../api.ts";
import { partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, topicA } from "../testing.ts";
import { type SimulatedLog, type Simulation, simulate } from "../testing-sim.ts";

const directory = partitionDirectory(topicA, 0);
const elsewhere = "mislaid";

const batches = (...values: string[]) => values.map((value) => batchOf([{ value }]));

const move = async ({ disk, kernel }: Simulation, from: string, to: string): Promise<void> => {
  const names = disk.mount(new Incarnation(kernel));
  await names.rename(from, to);
  for (const path of [".", "partitions"]) await names.syncDirectory(path);
};

/** Partition 0 with two batches in the journal alone, whose directory is gone. */
const losePartition = async (simulation: Simulation): Promise<void> => {
  const first = await simulation.start();
  await appendAll(await first.log(0), batches("x", "y"));
  first.die("process");
  await move(simulation, directory, elsewhere);
};

const stateOf = ({ manager }: SimulatedLog): string => {
  const state = manager.get(topicA, 0)?.state;
  if (state === undefined) return "gone";
  return state.kind === "online" ? "online" : `${state.kind}: ${state.reason}`;
};

/** The journal moves on, and the process ends. */
const moveOn = async (life: SimulatedLog, end: string): Promise<void> => {
  const other = await life.log(1);
  await appendAll(other, batches("z"));
  await other.flush();
  if (end === "clean stop") await life.manager.close(true);
  life.die(end === "power" ? "power" : "process");
};

/** Contents of the files of salvaged batches. */
const salvaged = ({ disk }: Simulation): string[] =>
  [...disk.image().files]
    .filter(([path]) => path.includes("salvaged-"))
    .map(([, content]) => content.toString("latin1"));

for (const end of ["power", "process", "clean stop"]) {
  test(`a missing partition that only the journal knew stays known, ${end}`, async () => {
    await simulate({}, async (simulation) => {
      await losePartition(simulation);
      for (let start = 0; start < 4; start += 1) {
        const life = await simulation.start();
        assert.match(stateOf(life), /^offline: its directory .* is missing.*salvaged/, `${start}`);
        const [kept = ""] = salvaged(simulation);
        assert.ok(kept.includes("x") && kept.includes("y"));
        await moveOn(life, end);
      }
      const last = await simulation.start();
      await last.manager.delete(topicA, 0);
      await moveOn(last, end);
      assert.equal(stateOf(await simulation.start()), "gone");
    });
  });
}

test("a missing partition all of whose records were deleted does not begin at 0 again", async () => {
  await simulate({}, async (simulation) => {
    const first = await simulation.start();
    const log = await first.log(0);
    await appendAll(log, batches("x", "y"));
    log.updateHighWatermark(2);
    await log.advanceLogStart(2);
    await first.manager.close(true);
    first.die("process");
    await move(simulation, directory, elsewhere);
    assert.match(stateOf(await simulation.start()), /^offline: its directory .* is missing/);
  });
});

test("a directory that is put back may lack what the journal had: it is offline", async () => {
  await simulate({}, async (simulation) => {
    await losePartition(simulation);
    await moveOn(await simulation.start(), "power");
    await move(simulation, elsewhere, directory);
    for (let start = 0; start < 3; start += 1) {
      const life = await simulation.start();
      assert.match(stateOf(life), /^offline: its directory .* is missing.*salvaged/, `${start}`);
      await moveOn(life, "power");
    }
    const names = simulation.disk.mount(new Incarnation(simulation.kernel));
    await names.unlink(`${directory}/offline`);
    assert.equal(stateOf(await simulation.start()), "online");
  });
});

for (const more of [true, false]) {
  const then = more ? "offline" : "online";
  test(`a directory that is put back is ${then} where the journal had ${more ? "" : "no "}more`, async () => {
    await simulate({}, async (simulation) => {
      const first = await simulation.start();
      const log = await first.log(0);
      await appendAll(log, batches("x"));
      await log.flush();
      if (more) await appendAll(log, batches("y"));
      first.die("power");
      await move(simulation, directory, elsewhere);
      for (let start = 0; start < 2; start += 1) {
        const life = await simulation.start();
        assert.match(stateOf(life), /^offline: its directory .* is missing/);
        assert.equal(salvaged(simulation).join("").includes("y"), more);
        await moveOn(life, "power");
      }
      await move(simulation, elsewhere, directory);
      const again = await simulation.start();
      assert.equal(again.manager.get(topicA, 0)?.state.kind, then);
    });
  });
}

test("a missing partition whose batches cannot be kept does not let the directory open", async () => {
  await simulate({}, async (simulation) => {
    const { disk, start } = simulation;
    await losePartition(simulation);
    disk.fault = (operation, path) =>
      operation === "write" && path.includes("salvaged-") ? "EIO" : undefined;
    await assert.rejects(start());
    simulation.die("power");
    disk.fault = () => undefined;
    assert.match(stateOf(await start()), /^offline: its directory .* is missing/);
    assert.ok(salvaged(simulation).join("").includes("y"));
  });
});

test("a partition that is made anew after one that was missing has its own life", async () => {
  await simulate({}, async (simulation) => {
    await losePartition(simulation);
    await moveOn(await simulation.start(), "power");
    const second = await simulation.start();
    await second.manager.delete(topicA, 0);
    await appendAll(await second.log(0), batches("new"));
    second.die("power");
    const third = await simulation.start();
    assert.equal(stateOf(third), "online");
    assert.equal((await third.log(0)).logEndOffset, 1);
  });
});

test("the deletion of a missing partition that the journal cannot keep is no success", async () => {
  await simulate({}, async (simulation) => {
    const { disk, start } = simulation;
    await losePartition(simulation);
    const life = await start();
    disk.fault = (operation) => (operation === "write" ? "EIO" : undefined);
    for (let time = 0; time < 2; time += 1) {
      const thrown = await life.manager.delete(topicA, 0).catch((error: unknown) => error);
      assert.ok(hasCode(thrown, ErrorCode.STORAGE_ERROR), `time ${time}`);
    }
  });
});

/** Two lives of partition 0, the directory of the first one still there. */
const liveTwice = async (life: SimulatedLog): Promise<PartitionLog> => {
  await appendAll(await life.log(0), batches("first"));
  await life.manager.delete(topicA, 0);
  await (await life.log(1)).flush();
  const second = await life.log(0);
  await appendAll(second, batches("second"));
  return second;
};

for (const knows of ["journal", "recovery points"]) {
  test(`a missing partition is missed beside what is left of an earlier life, ${knows}`, async () => {
    await simulate({ log: { fileDeleteDelayMs: 1e6 } }, async (simulation) => {
      const first = await simulation.start();
      const log = await liveTwice(first);
      if (knows === "recovery points") await log.flush();
      first.die("process");
      await move(simulation, directory, elsewhere);
      for (let start = 0; start < 2; start += 1) {
        const life = await simulation.start();
        assert.match(stateOf(life), /^offline: its directory .* is missing/, `${start}`);
        life.die("power");
      }
      if (knows === "journal") assert.ok(salvaged(simulation).join("").includes("second"));
    });
  });
}

for (const knows of ["journal", "recovery points"]) {
  test(`a deletion that the journal cannot keep outlives the removal of an earlier life, ${knows}`, async () => {
    await simulate({ log: { fileDeleteDelayMs: 100 } }, async (simulation) => {
      const { disk, sleep, start } = simulation;
      const first = await start();
      const log = await liveTwice(first);
      if (knows === "recovery points") await log.flush();
      disk.fault = (operation, path) =>
        operation === "write" && path.startsWith("journal") ? "EIO" : undefined;
      // A write that fails may have written all of its bytes: it must not be the deletion's.
      await assert.rejects(appendAll(await first.log(1), batches("lost")));
      await first.manager.delete(topicA, 0);
      await sleep(1000);
      first.die("power");
      disk.fault = () => undefined;
      assert.equal(stateOf(await start()), "gone");
    });
  });
}

test("a missing partition is missed beside an earlier life that no recovery point knew", async () => {
  await simulate({ log: { fileDeleteDelayMs: 1e6 } }, async (simulation) => {
    const first = await simulation.start();
    await appendAll(await first.log(0), batches("first"));
    await first.manager.delete(topicA, 0);
    await appendAll(await first.log(0), batches("second"));
    first.die("process");
    await move(simulation, directory, elsewhere);
    assert.match(stateOf(await simulation.start()), /^offline: its directory .* is missing/);
    assert.ok(salvaged(simulation).join("").includes("second"));
  });
});

for (const knows of ["journal", "recovery points"]) {
  test(`an emptied directory is missed beside what is left of an earlier life, ${knows}`, async () => {
    await simulate({ log: { fileDeleteDelayMs: 1e6 } }, async (simulation) => {
      const first = await simulation.start();
      const log = await liveTwice(first);
      if (knows === "recovery points") await log.flush();
      first.die("process");
      const names = simulation.disk.mount(new Incarnation(simulation.kernel));
      for (const name of await names.list(directory)) await names.unlink(`${directory}/${name}`);
      assert.match(stateOf(await simulation.start()), /^offline: its meta file is missing/);
      if (knows === "journal") assert.ok(salvaged(simulation).join("").includes("second"));
    });
  });
}
