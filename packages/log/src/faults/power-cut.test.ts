/** What a power cut takes back is not what recovery or a recovery point relies on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { appendAll, batchOf, readAll, recordsOf, topicA } from "../testing.ts";
import { type Simulation, simulate } from "../testing-sim.ts";

const batches = (count: number, bytes = 300, mark = "v") =>
  Array.from({ length: count }, (_, i) => batchOf([{ value: `${mark}${i}`.padEnd(bytes, ".") }]));

test("segments that a truncation removed do not come back behind a recovery point", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    await simulate({ seed, log: { segmentBytes: 1100 } }, async ({ start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(12));
      await log.flush();
      await log.truncateTo(1);
      // The log ends where a removed segment began, and makes no segment of its own.
      await appendAll(log, batches(2, 300, "n"));
      assert.deepEqual([log.logEndOffset, log.segmentCount], [3, 1]);
      await log.flush();
      first.die("power");
      const again = await (await start()).log();
      assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 3], `seed ${seed}`);
    });
  }
});

test("index entries that a truncation removed do not come back behind a recovery point", async () => {
  const told: string[] = [];
  const logger = { ...silentLogger, warn: (_: unknown, text: string) => told.push(text) };
  for (let seed = 1; seed <= 60; seed += 1) {
    await simulate({ seed, log: { indexIntervalBytes: 1000 }, logger }, async ({ start }) => {
      let life = await start();
      let log = await life.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(30, 500));
      // A clean stop makes the index durable.
      await life.manager.close(true);
      life.die("power");
      life = await start();
      log = await life.log();
      await log.truncateTo(2);
      // A power cut may take any of these writes back, and keep those behind it.
      for (let part = 0; part < 3; part += 1) {
        await appendAll(log, batches(10, 300, "n"));
        await log.flush();
      }
      life.die("power");
      log = await (await start()).log();
      assert.deepEqual([log.state.kind, log.logEndOffset], ["online", 32], `seed ${seed}`);
      // Each by the index: not one where the one before has ended.
      for (let offset = 31; offset >= 0; offset -= 1) {
        const [record] = recordsOf(await log.read(offset, 1, "log_end"), offset);
        assert.equal(record?.offset, offset, `seed ${seed}`);
      }
      // A read that entries of another history lead astray has the index built anew, and says so.
      assert.deepEqual(told, [], `seed ${seed}`);
    });
  }
});

/** The process ends in the middle of `work`, before a step of the disk. */
const dieBefore = async (
  { die, disk }: Simulation,
  step: RegExp,
  work: () => Promise<unknown>,
): Promise<void> => {
  const dead = Promise.withResolvers<void>();
  disk.onStep = (_, what) => {
    if (!step.test(what)) return;
    disk.onStep = () => {};
    die("process");
    dead.resolve();
  };
  void work();
  await dead.promise;
};

/** Makes a change to the names in `partitions` durable. */
const namesSynced = /^syncDirectory partitions$/;

/**
 * Dies while a truncation's journal round is in the page cache alone, then loses power at a step of
 * the recovery. True when the recovery was over before.
 */
const cutPowerAt = async (step: number, simulation: Simulation): Promise<boolean> => {
  const { die, disk, start } = simulation;
  const log = await (await start()).log();
  await log.becomeLeader(1);
  await appendAll(log, batches(20));
  await log.flush();
  await dieBefore(simulation, /^sync journal\//, () => log.truncateTo(4));
  const cut = Promise.withResolvers<boolean>();
  const before = disk.steps;
  disk.onStep = (at) => {
    if (at !== before + step) return;
    die("power");
    cut.resolve(false);
  };
  const over = await Promise.race([start().then(() => true), cut.promise]);
  disk.onStep = () => {};
  const again = await (await start()).log();
  const where = `power cut at step ${step} of the recovery`;
  assert.equal(again.state.kind, "online", where);
  assert.ok([4, 20].includes(again.logEndOffset), where);
  assert.equal((await readAll(again, 0, 1000, "log_end")).length, again.logEndOffset, where);
  return over;
};

test("recovery relies on no journal round that a power cut can take back", async () => {
  let over = false;
  for (let step = 1; !over; step += 1) {
    await simulate({ seed: step }, async (simulation) => {
      over = await cutPowerAt(step, simulation);
    });
  }
});

test("a partition's directory that a dead process made outlives a power cut", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    await simulate({ seed }, async (simulation) => {
      const first = await simulation.start();
      await dieBefore(simulation, namesSynced, () => first.log());
      const second = await simulation.start();
      const made = second.manager.get(topicA, 0);
      assert.ok(made !== undefined, "the directory is there");
      await appendAll(made, batches(3));
      second.die("power");
      const { state, logEndOffset } = await (await simulation.start()).log();
      assert.deepEqual([state.kind, logEndOffset], ["online", 3], `seed ${seed}`);
    });
  }
});

test("a partition's directory that a dead process renamed does not come back", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    await simulate({ seed }, async (simulation) => {
      const { sleep, start } = simulation;
      const first = await start();
      const log = await first.log();
      await appendAll(log, batches(3));
      await log.flush();
      await dieBefore(simulation, namesSynced, () => first.manager.delete(topicA, 0));
      const second = await start();
      assert.equal(second.manager.get(topicA, 0), undefined, "the deletion was journalled");
      await sleep(1000);
      second.die("power");
      assert.equal((await start()).manager.get(topicA, 0), undefined, `seed ${seed}`);
    });
  }
});

test("what a truncation took does not come back behind a recovery point, whenever it came", async () => {
  let cuts = 0;
  for (let at = 1; at <= 30; at += 1) {
    for (let points = 1; points <= 3; points += 1) {
      const settings = { seed: at, log: { flushPolicy: "none" as const, segmentBytes: 500 } };
      await simulate(settings, async ({ die, disk, sleep, start }) => {
        const log = await (await start()).log();
        await log.becomeLeader(1);
        await appendAll(log, batches(20));
        let steps = 0;
        let written = 0;
        let cut = false;
        disk.onStep = (_, what) => {
          steps += 1;
          // While a checkpoint fsyncs one segment after the other.
          if (steps === at) {
            const truncated = (): void => {
              cut = true;
            };
            log.truncateTo(12).then(truncated, () => {});
            log.flush().catch(() => {});
          }
          if (steps < at || !what.startsWith("rename recovery-points.copy")) return;
          written += 1;
          if (written === points) dies();
        };
        const dies = (): void => {
          disk.onStep = () => {};
          die("power");
        };
        log.flush().catch(() => {});
        await sleep(300);
        if (written < points) dies();
        const again = await (await start()).log();
        if (!cut) return;
        cuts += 1;
        assert.equal(again.logEndOffset, 12, `step ${at}, point ${points}`);
      });
    }
  }
  assert.ok(cuts > 20);
});

test("a round whose end is torn does not count at all, for no partition", async () => {
  await simulate({ manager: { writeLingerMs: 1e6 } }, async ({ disk, start }) => {
    const life = await start();
    const logs = [await life.log(0), await life.log(1)];
    for (const log of logs) {
      await log.becomeLeader(1);
      await appendAll(log, [batchOf([{ value: "before" }])]);
    }
    await Promise.all(logs.map((log, i) => appendAll(log, [batchOf([{ value: `last ${i}` }])])));
    life.die("process");
    const isHeld = (path: string): boolean => disk.content(path)?.includes("last 1") === true;
    const journal = disk.paths().find((path) => path.startsWith("journal/") && isHeld(path));
    assert.ok(journal !== undefined);
    disk.flipBit(journal, disk.content(journal)?.indexOf("last 1") ?? 0, 0);
    const next = await start();
    for (const index of [0, 1]) {
      const log = await next.log(index);
      assert.deepEqual([log.state.kind, log.logEndOffset], ["online", 1], `partition ${index}`);
    }
  });
});

test("what a truncation removed is gone for good before the log start passes it", async () => {
  await simulate({ log: { segmentBytes: 2048 } }, async ({ disk, start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    const batches = Array.from({ length: 20 }, (_, i) =>
      batchOf([{ value: `${i}`.padEnd(200, ".") }], {
        ...{ producerId: 7, producerEpoch: 0, baseSequence: i },
      }),
    );
    await appendAll(log, batches.slice(0, 10));
    await log.flush();
    await log.truncateTo(6);
    await appendAll(log, batches.slice(6));
    const done: string[] = [];
    disk.fault = (operation, path) => {
      done.push(`${operation} ${path.replace(/\/.*/, "")}`);
      return undefined;
    };
    await log.advanceLogStart(15);
    const synced = done.indexOf("syncDirectory partitions");
    const journalled = done.indexOf("write journal");
    assert.ok(synced >= 0 && synced < journalled, done.join("\n"));
  });
});
