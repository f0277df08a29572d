import assert from "node:assert/strict";
import { test } from "node:test";
import type { Disk } from "@millrace/env";
import { SimDisk } from "./disk.ts";
import { Incarnation, Kernel } from "./kernel.ts";

/** A disk and a process on it; `run` waits for what the process does. */
const setUp = (seed = 1) => {
  const kernel = new Kernel(seed);
  const disk = new SimDisk(kernel.random);
  const mounted = disk.mount(new Incarnation(kernel));
  const run = <T>(work: (on: Disk) => Promise<T>): Promise<T> => kernel.run(work(mounted));
  return { kernel, disk, run };
};

const bytes = (text: string): Uint8Array[] => [Buffer.from(text)];

/** A durable file with a durable name. */
const makeFile = async (on: Disk, path: string, text: string): Promise<void> => {
  const file = await on.open(path, "create");
  await file.write(bytes(text), 0);
  await file.sync();
  await on.syncDirectory(".");
};

test("an fsync makes durable what was written before its call, and no more", async () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const { disk, run } = setUp(seed);
    await run(async (on) => {
      await makeFile(on, "a", "before");
      const file = await on.open("a", "write");
      await file.write(bytes("BEFORE"), 0);
      const writing = file.write(bytes("during"), 6);
      await Promise.all([file.sync(), writing]);
    });
    disk.crash("power");
    assert.equal(disk.content("a")?.toString("latin1", 0, 6), "BEFORE");
  }
});

test("a write takes what its memory holds while it is under way", async () => {
  const { disk, run } = setUp();
  await run(async (on) => {
    await makeFile(on, "a", "before");
    const file = await on.open("a", "write");
    const memory = Buffer.from("mine");
    const writing = file.write([memory], 0);
    memory.fill("x");
    await writing;
  });
  assert.equal(disk.content("a")?.toString(), "xxxxre");
});

test("what is written during an fsync may be lost", async () => {
  const ends = new Set<number>();
  for (let seed = 1; seed <= 40; seed += 1) {
    const { disk, run } = setUp(seed);
    await run(async (on) => {
      await makeFile(on, "a", "before");
      const file = await on.open("a", "write");
      await Promise.all([file.sync(), file.write(bytes("during"), 6)]);
    });
    disk.crash("power");
    ends.add(disk.content("a")?.length ?? 0);
  }
  assert.ok(ends.has(6), "it was always durable");
});

test("an fsync that fails loses what it covered, though the page cache shows it and the next one succeeds", async () => {
  let shown = 0;
  let lost = 0;
  for (let seed = 1; seed <= 60; seed += 1) {
    const { disk, run } = setUp(seed);
    await run(async (on) => {
      await makeFile(on, "a", "old");
      const file = await on.open("a", "write");
      await file.write(bytes("new"), 0);
      disk.fault = (operation) => (operation === "sync" ? "EIO" : undefined);
      await assert.rejects(file.sync(), { code: "EIO" });
      disk.fault = () => undefined;
      await file.sync();
    });
    if (disk.content("a")?.toString() === "new") shown += 1;
    disk.crash("power");
    if (disk.content("a")?.toString() === "old") lost += 1;
  }
  assert.ok(shown > 30, `only ${shown} of 60 were shown`);
  assert.ok(lost > 30, `only ${lost} of 60 were lost`);
});

test("a write that is durable when it returns covers older ones of the same place", async () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const { disk, run } = setUp(seed);
    await run(async (on) => {
      await makeFile(on, "a", "........");
      const plain = await on.open("a", "write");
      await plain.write(bytes("11111111"), 0);
      const durable = await on.open("a", "writeDurably");
      await durable.write(bytes("22"), 3);
    });
    disk.crash("power");
    assert.equal(disk.content("a")?.toString("latin1", 3, 5), "22");
  }
});

test("names are durable only after their directory's fsync, those of directories too", async () => {
  const outcomes = new Set<string>();
  for (let seed = 1; seed <= 60; seed += 1) {
    const { disk, run } = setUp(seed);
    await run(async (on) => {
      await on.makeDirectory("d");
      await on.syncDirectory(".");
      await (await on.open("d/file", "create")).sync();
      await on.syncDirectory("d");
      await on.rename("d", "e");
    });
    disk.crash("power");
    outcomes.add(disk.paths().join());
  }
  assert.deepEqual([...outcomes].sort(), ["d/file", "e/file"]);
});

test("a directory fsync that fails leaves the names to the next one", async () => {
  const outcomes = new Set<number>();
  for (let seed = 1; seed <= 40; seed += 1) {
    const { disk, run } = setUp(seed);
    await run(async (on) => {
      await (await on.open("a", "create")).sync();
      disk.fault = (operation) => (operation === "syncDirectory" ? "EIO" : undefined);
      await assert.rejects(on.syncDirectory("."), { code: "EIO" });
      disk.fault = () => undefined;
      if (seed % 2 === 0) await on.syncDirectory(".");
    });
    disk.crash("power");
    const found = disk.paths().length;
    if (seed % 2 === 0) assert.equal(found, 1);
    else outcomes.add(found);
  }
  assert.deepEqual([...outcomes].sort(), [0, 1]);
});

test("a bit that rots under a good page cache is met once the page is read anew", async () => {
  const { disk, run } = setUp();
  await run((on) => makeFile(on, "a", "aaaa"));
  assert.ok(disk.flipBit("a", 1, 0, true));
  assert.equal(disk.content("a")?.toString(), "aaaa");
  disk.crash("power");
  assert.equal(disk.content("a")?.toString(), "a`aa");
});

test("a fork goes its own way", async () => {
  const { kernel, disk, run } = setUp();
  await run((on) => makeFile(on, "a", "both"));
  const fork = disk.fork(new Kernel(2, kernel).random);
  await run(async (on) => (await on.open("a", "write")).write(bytes("one"), 0));
  assert.equal(fork.content("a")?.toString(), "both");
  fork.crash("power");
  assert.equal(fork.content("a")?.toString(), "both");
  assert.equal(disk.content("a")?.toString(), "oneh");
});

test("a full disk takes what fits, and says so", async () => {
  const { disk, run } = setUp();
  await run(async (on) => {
    const file = await on.open("a", "create");
    disk.quotaBytes = 5;
    await assert.rejects(file.write(bytes("12345678"), 0), { code: "ENOSPC" });
    disk.quotaBytes = Number.POSITIVE_INFINITY;
    await file.write(bytes("12345678"), 0);
  });
  assert.equal(disk.content("a")?.toString(), "12345678");
});

test("the wall clock jumps for good or for one read, and time goes on", () => {
  const kernel = new Kernel(1);
  const clock = new Incarnation(kernel).clock();
  const beginMs = clock.wallMs();
  kernel.glitchWallClock(5000);
  assert.equal(clock.wallMs(), beginMs + 5000);
  assert.equal(clock.wallMs(), beginMs);
  kernel.wallOffsetMs = -7000;
  assert.equal(clock.wallMs(), beginMs - 7000);
  assert.equal(clock.monoMs(), 0);
});
