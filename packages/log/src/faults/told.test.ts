/** What goes wrong where nobody waits for the outcome is told in the log. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Env, type Logger, silentLogger } from "@millrace/env";
import { syncCompressor } from "@millrace/record/node";
import { Incarnation, Kernel, SimDisk } from "@millrace/sim";
import { DiskSpace } from "../files/disk-space.ts";
import { FileCache } from "../files/file-cache.ts";
import { paths } from "../files/paths.ts";
import { appendAll, batchOf, keepingLogger } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

/** Runs a test with a disk in virtual time. */
const withDisk = async (
  logger: Logger,
  run: (env: Env, disk: SimDisk, kernel: Kernel) => Promise<void>,
): Promise<void> => {
  const kernel = new Kernel(1);
  const disk = new SimDisk(kernel.random);
  const process = new Incarnation(kernel);
  const { random } = kernel;
  const env = { clock: process.clock(), random, disk: disk.mount(process), logger };
  await kernel.run(run({ ...env, compressor: syncCompressor }, disk, kernel));
};

test("a reserve file that cannot be removed is told, and removed later", async () => {
  const { logger, told } = keepingLogger();
  await withDisk(logger, async (env, disk) => {
    const space = new DiskSpace(env, 1024, {}, () => {});
    await space.start();
    const isThere = async (): Promise<boolean> =>
      (await env.disk.fileSize(paths.reserve)) !== undefined;
    assert.ok(await isThere());
    disk.fault = (operation) => (operation === "unlink" ? "EIO" : undefined);
    await space.onFull();
    assert.ok(told.some((message) => message.startsWith("the reserve file cannot be removed")));
    disk.fault = () => undefined;
    await space.onFull();
    assert.equal(await isThere(), false);
    space.close();
  });
});

test("a file that cannot be closed is told, and keeps no other open", async () => {
  const { logger, told } = keepingLogger();
  await withDisk(silentLogger, async ({ disk: mounted }, disk) => {
    const files = new FileCache(mounted, logger, 10);
    for (const path of ["a", "b"]) {
      await files.withMade({ path, dropped: false }, (file) => file.write([Buffer.from(path)], 0));
    }
    const closed: string[] = [];
    disk.fault = (operation, path) => {
      if (operation !== "close") return undefined;
      closed.push(path);
      return path === "a" ? "EIO" : undefined;
    };
    await files.closeAll();
    assert.deepEqual(closed, ["a", "b"]);
    assert.deepEqual(told, ["a segment file cannot be closed"]);
  });
});

test("a checkpoint that nobody asked for says why it has to wait", async () => {
  const { logger, told } = keepingLogger();
  await simulate({ seed: 1, logger }, async ({ disk, sleep, start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    disk.fault = (operation, path) =>
      operation === "write" && path.startsWith(paths.recoveryPoints) ? "ENOSPC" : undefined;
    const batches = Array.from({ length: 100 }, () => batchOf([{ value: "x".repeat(4000) }]));
    for (let from = 0; from < batches.length; from += 10) {
      await appendAll(log, batches.slice(from, from + 10));
    }
    await sleep(1000);
    assert.ok(told.includes("a checkpoint has to wait"), told.join());
  });
});
