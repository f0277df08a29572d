/** What the list of the journal's files says, and what it must not say. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Incarnation } from "@millrace/sim";
import { appendAll, batchOf } from "../testing.ts";
import { type Simulation, simulate } from "../testing-sim.ts";

const manager = { writeLingerMs: 5000, journalFileBytes: 64 * 1024 };
const newest = "journal/00000001.journal";
const batches = (count: number) =>
  Array.from({ length: count }, (_, i) => batchOf([{ value: `v${i}`.padEnd(300, ".") }]));

/** Appends until the newest file of the journal is there, or holds a round. */
const fillUntil = async ({ disk, sleep, start }: Simulation, what: "exists" | "used") => {
  const first = await start();
  const log = await first.log();
  await log.becomeLeader(1);
  const done = (): boolean => {
    const content = disk.content(newest);
    return what === "exists" ? content !== undefined : content?.includes("MJR1") === true;
  };
  while (!done()) {
    await appendAll(log, batches(1));
    await sleep(1);
  }
  return first;
};

test("a partition that was made in a lost journal file misses its records", async () => {
  await simulate({ manager }, async (simulation) => {
    const { disk, kernel, start } = simulation;
    const first = await fillUntil(simulation, "used");
    const older = await first.log();
    for (let i = 0; i < 5; i += 1) await appendAll(older, batches(1));
    const made = await first.log(1);
    await made.becomeLeader(1);
    await appendAll(made, batches(3));
    first.die("power");
    await disk.mount(new Incarnation(kernel)).unlink(newest);
    const second = await start();
    assert.equal((await second.log()).state.kind, "offline");
    assert.equal((await second.log(1)).state.kind, "offline");
  });
});

test("a list that is not durable yet names no file that is removed", async () => {
  await simulate({ manager }, async (simulation) => {
    const { disk, sleep, start } = simulation;
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    disk.fault = (operation, path) =>
      operation === "syncDirectory" && path === "." ? "EIO" : undefined;
    let acknowledged = 0;
    const append = async (): Promise<boolean> => {
      await appendAll(log, batches(1));
      acknowledged += 1;
      await sleep(1);
      return acknowledged < 1000;
    };
    // The list of the second file has its name when the fsync of its directory fails.
    while (await append().catch(() => false));
    disk.fault = () => undefined;
    first.die("process");
    const again = await (await start()).log();
    assert.equal(again.state.kind, "online");
    assert.ok(again.logEndOffset >= acknowledged);
  });
});

test("a start that fails in the middle of the journal leaves no file open", async () => {
  await simulate({ manager }, async (simulation) => {
    const { disk, start } = simulation;
    const first = await fillUntil(simulation, "exists");
    await first.manager.close(true);
    let open = 0;
    disk.fault = (operation, path) => {
      if (operation === "open" && path === newest) return "EIO";
      if (operation === "open" && disk.content(path) !== undefined) open += 1;
      if (operation === "close") open -= 1;
      return undefined;
    };
    await assert.rejects(start());
    assert.equal(open, 0);
  });
});

test("a file whose name is not durable yet is not listed as if it were", async () => {
  for (let seed = 1; seed <= 8; seed += 1) {
    await simulate({ seed, manager }, async ({ disk, kernel, start }) => {
      const first = await start();
      await appendAll(await first.log(), batches(3));
      await first.manager.close(true);
      // The process died as it made the next file, behind the marker.
      const files = disk.mount(new Incarnation(kernel));
      const file = await files.open(newest, "create");
      await file.write([Buffer.alloc(manager.journalFileBytes)], 0);
      await file.sync();
      first.die("process");
      const second = await start();
      assert.equal(second.manager.recovery.clean, true);
      await appendAll(await second.log(), batches(3));
      second.die("power");
      const { state, logEndOffset } = await (await start()).log();
      assert.deepEqual([state.kind, logEndOffset], ["online", 6], `seed ${seed}`);
    });
  }
});
