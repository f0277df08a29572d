/** The check of a directory says what the next start says. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Disk } from "@millrace/env";
import { DataDirectorySchema } from "@millrace/proto/storage";
import { syncCompressor } from "@millrace/record/node";
import { Incarnation, type Kernel, SeededRandom, type SimDisk } from "@millrace/sim";
import type { PartitionLog } from "../api.ts";
import { magics, readChecksummed, writeChecksummed } from "../files/checksummed-file.ts";
import { offsetName, partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, topicA } from "../testing.ts";
import { noPoints, type SimulatedLog, simulate } from "../testing-sim.ts";
import { verifyDirectory } from "../tools/verify.ts";

const directory = partitionDirectory(topicA, 0);
const firstSegment = `${directory}/${offsetName(0)}.log`;

const batches = (count: number) =>
  Array.from({ length: count }, (_, i) => batchOf([{ value: `v${i}`.padEnd(300, ".") }]));

const mountOf = (disk: SimDisk, kernel: Kernel): Disk => disk.mount(new Incarnation(kernel));

/** What verify says of partitions 0 and 1; it may not change a byte. */
const toldBy = async (disk: SimDisk, kernel: Kernel): Promise<boolean[]> => {
  const before = disk.image();
  const { damages } = await verifyDirectory(mountOf(disk, kernel), syncCompressor);
  assert.deepEqual(disk.image(), before);
  return [0, 1].map((index) =>
    damages.some(({ path }) => path.startsWith(partitionDirectory(topicA, index))),
  );
};

const change = async (log: PartitionLog, dice: SeededRandom): Promise<void> => {
  const { logStartOffset: start, logEndOffset: end } = log;
  const within = start + dice.below(end - start + 1);
  const what = dice.below(10);
  if (what < 6) await appendAll(log, batches(1 + dice.below(4)), log.leaderEpoch);
  else if (what < 7) await log.flush();
  else if (what < 8) await log.truncateTo(within);
  else if (what < 9) await log.advanceLogStart(Math.min(within, log.highWatermark));
  else await log.becomeLeader(log.leaderEpoch + 1);
};

/** A history of two partitions that ends by itself, or in the middle of a change. */
const live = async ({ log }: SimulatedLog, dice: SeededRandom): Promise<void> => {
  const logs = [await log(0), await log(1)];
  for (const one of logs) await one.becomeLeader(1);
  for (let i = 0; i < 24; i += 1) await change(dice.pick(logs), dice);
  for (const one of logs) void change(one, dice).catch(() => {});
};

/** Rot and losses that a start meets. */
const harms: readonly ((disk: SimDisk, names: Disk, dice: SeededRandom) => Promise<void>)[] = [
  async () => {},
  async (disk, names) => {
    for (const path of disk.paths().filter((each) => each.startsWith(directory)))
      await names.unlink(path);
    await names.removeDirectory(directory);
  },
  async (disk, names) => {
    for (const path of disk.paths()) {
      if (path.startsWith(directory) && path.endsWith(".log")) await names.unlink(path);
    }
  },
  async (disk, _, dice) => {
    const journal = "journal/00000000.journal";
    const bytes = (disk.content(journal) ?? Buffer.alloc(0)).lastIndexOf("MJR1") + 100;
    disk.flipBit(journal, dice.below(bytes), 1);
  },
  async (disk, names, dice) => {
    const logs = disk.paths().filter((each) => each.startsWith(directory) && each.endsWith(".log"));
    const file = await names.open(logs.sort().at(-1) ?? firstSegment, "write");
    await file.truncate(dice.below((await file.size()) + 1));
  },
];

test("verify and the next start agree on every partition", async () => {
  const verdicts = [0, 0];
  for (let seed = 1; seed <= 60; seed += 1) {
    await simulate(
      { seed, log: { segmentBytes: 1200 } },
      async ({ disk, kernel, sleep, start }) => {
        const dice = new SeededRandom(seed);
        const first = await start();
        await live(first, dice);
        await sleep(dice.float() * 10);
        first.die(dice.pick(["process", "power"]));
        await harms[seed % harms.length]?.(disk, mountOf(disk, kernel), dice);
        const told = await toldBy(disk, kernel);
        const { manager } = await start();
        const states = [0, 1].map((index) => manager.get(topicA, index)?.state.kind === "offline");
        assert.deepEqual(told, states, `seed ${seed}`);
        for (const damaged of told)
          verdicts[Number(damaged)] = (verdicts[Number(damaged)] ?? 0) + 1;
      },
    );
  }
  assert.ok(
    verdicts.every((count) => count > 10),
    `verdicts ${verdicts}`,
  );
});

test("verify says where the next start goes offline, and why", async () => {
  await simulate({}, async ({ disk, kernel, start }) => {
    const { log: logOf, manager } = await start();
    await appendAll(await logOf(), batches(3));
    await manager.close(true);
    await mountOf(disk, kernel).unlink(firstSegment);
    const { damages } = await verifyDirectory(mountOf(disk, kernel), syncCompressor);
    const [told, ...others] = damages;
    const state = (await (await start()).log()).state;
    assert.ok(state.kind === "offline");
    assert.deepEqual(
      { told, others },
      {
        told: { path: directory, position: 0, reason: state.reason },
        others: [],
      },
    );
  });
});

test("a segment that is gone from the middle is told, which a start after a clean stop misses", async () => {
  await simulate({ log: { segmentBytes: 800 } }, async ({ disk, kernel, start }) => {
    const { log: logOf, manager } = await start();
    await appendAll(await logOf(), batches(8));
    await manager.close(true);
    const logs = disk.paths().filter((path) => path.startsWith(directory) && path.endsWith(".log"));
    const [, gone = "", next = ""] = logs.sort();
    await mountOf(disk, kernel).unlink(gone);
    const { damages } = await verifyDirectory(mountOf(disk, kernel), syncCompressor);
    assert.deepEqual(damages, [{ path: next, position: 0, reason: "begins at 4, expected 2" }]);
  });
});

test("either file of the recovery points that rotted is told", async () => {
  for (const path of ["recovery-points", "recovery-points.copy"]) {
    await simulate({}, async ({ disk, kernel, start }) => {
      const { log: logOf, manager } = await start();
      await appendAll(await logOf(), batches(1));
      await manager.close(true);
      assert.ok(disk.flipBit(path, 12, 1));
      const { damages } = await verifyDirectory(mountOf(disk, kernel), syncCompressor);
      assert.deepEqual(damages, [{ path, position: 0, reason: "the file is damaged" }]);
    });
  }
});

test("a deleted segment that came back with junk in it is not damage", async () => {
  const settings = { log: { segmentBytes: 1000, fileDeleteDelayMs: 1e6 } };
  await simulate(settings, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(2));
    await log.flush();
    await appendAll(log, batches(5));
    await sleep(100);
    disk.fault = (operation) => (operation === "rename" ? "EAGAIN" : undefined);
    await log.advanceLogStart(4);
    first.die("process");
    disk.fault = () => undefined;
    const file = await mountOf(disk, kernel).open(firstSegment, "write");
    await file.write([Buffer.alloc(await file.size())], 0);
    const { damages, tornBytes } = await verifyDirectory(mountOf(disk, kernel), syncCompressor);
    const again = await (await start()).log();
    assert.deepEqual([again.state.kind, again.logStartOffset], ["online", 4]);
    assert.deepEqual({ damages, tornBytes }, { damages: [], tornBytes: 0 });
  });
});

test("what a crash left behind the last whole batch is told as torn, and no more", async () => {
  await simulate({}, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    await appendAll(await first.log(), batches(3));
    await sleep(50);
    first.die("process");
    const file = await mountOf(disk, kernel).open(firstSegment, "write");
    await file.write([Buffer.alloc(123, 1)], await file.size());
    const {
      batches: whole,
      damages,
      tornBytes,
    } = await verifyDirectory(mountOf(disk, kernel), syncCompressor);
    assert.deepEqual({ whole, damages, tornBytes }, { whole: 3, damages: [], tornBytes: 123 });
    assert.equal((await start()).manager.recovery.bytesCut, 123);
  });
});

test("batches that only the journal has are counted", async () => {
  await simulate({ manager: { writeLingerMs: 5000 } }, async ({ disk, kernel, start }) => {
    const first = await start();
    await appendAll(await first.log(), batches(6));
    first.die("process");
    const report = await verifyDirectory(mountOf(disk, kernel), syncCompressor);
    assert.deepEqual([report.batches, report.records, report.damages], [6, 6, []]);
  });
});

/** Takes a file away right after its directory was listed, as a server at work does. */
const inUse = (names: Disk, listed: string, path: string): Disk => {
  let there = true;
  return {
    ...names,
    list: async (of) => {
      const found = await names.list(of);
      if (of === listed && there) {
        there = false;
        await names.unlink(path);
      }
      return found;
    },
  };
};

test("a file that vanishes while it is read says that the directory is in use", async () => {
  const seen: readonly (readonly [listed: string, path: string])[] = [
    [directory, firstSegment],
    ["journal", "journal/00000000.journal"],
  ];
  for (const [listed, path] of seen) {
    await simulate({}, async ({ disk, kernel, sleep, start }) => {
      const first = await start();
      await appendAll(await first.log(), batches(3));
      await sleep(50);
      first.die("process");
      const names = inUse(mountOf(disk, kernel), listed, path);
      const { damages } = await verifyDirectory(names, syncCompressor);
      assert.deepEqual(
        damages.map((each) => each.path),
        [path],
      );
      assert.match(damages[0]?.reason ?? "", /the directory is in use: stop the server$/);
    });
  }
});

test("a file that vanishes between two looks says that the directory is in use", async () => {
  await simulate({}, async ({ disk, kernel, start }) => {
    const { log: logOf, manager } = await start();
    const producer = { producerId: 1, producerEpoch: 0, baseSequence: 0 };
    await appendAll(await logOf(), [batchOf([{ value: "x" }], producer)]);
    await manager.close(true);
    const path = `${directory}/producers.${offsetName(1)}`;
    const names = inUse(mountOf(disk, kernel), directory, path);
    const { damages } = await verifyDirectory(names, syncCompressor);
    assert.deepEqual(
      damages.map((each) => each.path),
      [path],
    );
  });
});

test("a file that was given up may go while the directory is looked at", async () => {
  await simulate({ log: { segmentBytes: 800 } }, async ({ disk, kernel, start }) => {
    const { log: logOf, manager } = await start();
    const log = await logOf();
    await appendAll(log, batches(8));
    await log.flush();
    await log.advanceLogStart(5);
    await manager.close(true);
    const names = inUse(mountOf(disk, kernel), directory, `${firstSegment}.deleted`);
    const { clean, damages } = await verifyDirectory(names, syncCompressor);
    assert.deepEqual({ clean, damages }, { clean: true, damages: [] });
  });
});

test("a directory of many partitions takes few descriptors", async () => {
  await simulate({}, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    for (let index = 0; index < 200; index += 1) {
      await appendAll(await first.log(index), batches(1));
    }
    await sleep(50);
    first.die("process");
    const names = mountOf(disk, kernel);
    let open = 0;
    let most = 0;
    const counted: Disk = {
      ...names,
      open: async (path, mode) => {
        const file = await names.open(path, mode);
        open += 1;
        most = Math.max(most, open);
        const close = (): Promise<void> => {
          open -= 1;
          return file.close();
        };
        return { ...file, close };
      },
    };
    const { damages, partitions } = await verifyDirectory(counted, syncCompressor);
    assert.deepEqual({ damages, partitions, open }, { damages: [], partitions: 200, open: 0 });
    assert.ok(most < 150, `${most} files open`);
  });
});

test("a directory whose first start did not come to its recovery points is sound", async () => {
  await simulate({}, async ({ die, disk, kernel, sleep, start }) => {
    disk.fault = noPoints;
    void start().catch(() => {});
    await sleep(100);
    die("process");
    disk.fault = () => undefined;
    const { damages, partitions } = await verifyDirectory(mountOf(disk, kernel), syncCompressor);
    assert.deepEqual({ damages, partitions }, { damages: [], partitions: 0 });
  });
});

test("recovery points that are gone are told where there are partitions", async () => {
  await simulate({}, async ({ disk, kernel, start }) => {
    const first = await start();
    await appendAll(await first.log(), batches(1));
    first.die("process");
    const names = mountOf(disk, kernel);
    for (const path of ["recovery-points", "recovery-points.copy"]) await names.unlink(path);
    const { damages } = await verifyDirectory(names, syncCompressor);
    assert.deepEqual(
      damages.map(({ path }) => path),
      ["recovery-points"],
    );
  });
});

test("a directory of a newer version is told, and is not looked into", async () => {
  await simulate({}, async ({ disk, kernel, start }) => {
    const first = await start();
    await appendAll(await first.log(), batches(1));
    first.die("process");
    const names = mountOf(disk, kernel);
    const meta = await readChecksummed(names, "meta", magics.dataDirectory, DataDirectorySchema);
    assert.ok(meta.kind === "ok");
    const newer = { ...meta.message, formatVersion: 99 };
    await writeChecksummed(names, "meta", magics.dataDirectory, DataDirectorySchema, newer);
    const { damages } = await verifyDirectory(names, syncCompressor);
    assert.match(damages.map(({ reason }) => reason).join(), /^its format 99 is newer/);
    await assert.rejects(start(), /use a newer version/);
  });
});
