/** A partition's directory that comes from another data directory: a replica's, or a backup. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Incarnation } from "@millrace/sim";
import { partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, readAll, topicA } from "../testing.ts";
import { type Simulation, simulate } from "../testing-sim.ts";

const directory = partitionDirectory(topicA, 0);
const values = (text: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${text}-${i}`.padEnd(300, "."));

/** The files of a partition as another broker of the cluster has them. */
const replica = async (): Promise<ReadonlyMap<string, Buffer>> => {
  const files = new Map<string, Buffer>();
  await simulate({ seed: 2 }, async ({ disk, start }) => {
    const { log: logOf, manager } = await start();
    const log = await logOf();
    await log.becomeLeader(2);
    const batches = values("replica", 12).map((value) => batchOf([{ value }]));
    await appendAll(log, batches, 2);
    await manager.close(true);
    for (const path of disk.paths()) {
      const content = disk.content(path);
      if (path.startsWith(directory) && content !== undefined)
        files.set(path, Buffer.from(content));
    }
  });
  return files;
};

/** As the message of a damaged partition says: restores it from a replica. */
const restore = async (
  { disk, kernel }: Simulation,
  files: ReadonlyMap<string, Buffer>,
): Promise<void> => {
  const names = disk.mount(new Incarnation(kernel));
  for (const path of disk.paths()) if (path.startsWith(directory)) await names.unlink(path);
  for (const [path, content] of files) {
    const file = await names.open(path, "create");
    await file.write([content], 0);
    await file.sync();
    await file.close();
  }
};

test("a journal says nothing of a directory that came from a replica", async () => {
  const files = await replica();
  await simulate({}, async (simulation) => {
    const { die, start } = simulation;
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(
      log,
      values("old", 10).map((value) => batchOf([{ value }])),
    );
    first.die("process");
    await restore(simulation, files);
    const again = await (await start()).log();
    const read = await readAll(again, 0, 1000, "log_end");
    assert.deepEqual(
      read.map(({ value }) => value),
      values("replica", 12),
    );
    // From here on it is this directory's, and so is what its journal has of it.
    await again.becomeLeader(3);
    await appendAll(
      again,
      values("new", 3).map((value) => batchOf([{ value }])),
      3,
    );
    die("power");
    const next = await (await start()).log();
    assert.equal(next.state.kind, "online");
    assert.deepEqual(
      (await readAll(next, 0, 1000, "log_end")).map(({ value }) => value),
      [...values("replica", 12), ...values("new", 3)],
    );
  });
});

test("a lost journal file says nothing of a directory that came from a replica", async () => {
  const files = await replica();
  await simulate({}, async (simulation) => {
    const { disk, kernel, start } = simulation;
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    const old = values("old", 10).map((value) => batchOf([{ value }]));
    await appendAll(log, old);
    first.die("process");
    await restore(simulation, files);
    await disk.mount(new Incarnation(kernel)).unlink("journal/00000000.journal");
    const again = await (await start()).log();
    assert.equal(again.state.kind, "online");
    assert.equal(again.logEndOffset, 12);
  });
});
