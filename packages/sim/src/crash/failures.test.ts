/** A disk that fails or is full, under the log engine. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Env, silentLogger } from "@millrace/env";
import { ErrorCode, hasCode } from "@millrace/errors";
import {
  defaultLogConfig,
  defaultManagerConfig,
  openLogManager,
  type PartitionLog,
} from "@millrace/log";
import { BatchBuilder, crcOf, parseBody, type TopicId } from "@millrace/record";
import { syncCompressor } from "@millrace/record/node";
import { SimDisk } from "../disk.ts";
import { Incarnation, Kernel } from "../kernel.ts";
import { recordsIn } from "./batches.ts";

const topicId = "0123456789abcdef0123456789abcdef" as TopicId;

const setUp = (seed: number) => {
  const kernel = new Kernel(seed);
  const disk = new SimDisk(kernel.random);
  const open = async (reserveBytes = 0) => {
    const process = new Incarnation(kernel);
    const env: Env = {
      clock: process.clock(),
      random: kernel.random,
      disk: disk.mount(process),
      compressor: syncCompressor,
      logger: silentLogger,
    };
    const config = { ...defaultLogConfig, segmentBytes: 20_000, fileDeleteDelayMs: 10 };
    const manager = await openLogManager({
      env,
      identity: { clusterId: "sim", brokerId: 1 },
      config: {
        ...defaultManagerConfig,
        journalFileBytes: 64 * 1024,
        journalBytesMax: 128 * 1024,
        tailCacheBytesMax: 5000,
        diskReserveBytes: reserveBytes,
        checkpointIntervalMs: 500,
      },
      configFor: () => config,
    });
    const log = await manager.create(topicId, "t", 0, config);
    const die = (): void => {
      process.kill();
      disk.crash("power");
    };
    return { manager, log, process, die };
  };
  return { kernel, disk, open };
};

const append = (log: PartitionLog, value: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const builder = new BatchBuilder(256);
    builder.append({ value: Buffer.from(value), timestampMs: 1000 });
    const body = builder.finishPlain();
    const batch = { body, bodyCrc: crcOf(body), info: parseBody(body) };
    const appended = log.append(batch, 1, (error) => {
      if (error === undefined) resolve(appended.baseOffset);
      else reject(error);
    });
  });

const readAll = async (log: PartitionLog): Promise<string[]> => {
  log.updateHighWatermark(log.ackedEndOffset);
  const values: string[] = [];
  for (let offset = log.logStartOffset; offset < log.highWatermark; ) {
    const result = await log.read(offset, 5000, "high_watermark");
    for (const { value } of recordsIn(Buffer.concat(result.chunks), offset)) values.push(value);
    offset = result.nextOffset;
  }
  return values;
};

const sleep = (kernel: Kernel, ms: number): Promise<void> =>
  new Promise((resolve) => {
    kernel.schedule(ms, resolve);
  });

for (const place of ["journal", "log"] as const) {
  test(`EIO on an fsync of the ${place}: writes stop and say so, reads go on, nothing acknowledged is lost`, async () => {
    let unreadable = 0;
    for (let seed = 1; seed <= 120; seed += 1) {
      const { kernel, disk, open } = setUp(seed);
      const failing = place === "journal" ? /\.journal$/ : /\.log$/;
      let countdown = 3 + (seed % 10);
      await kernel.run(
        (async () => {
          const { log, die } = await open();
          await log.becomeLeader(1);
          disk.fault = (operation, path) => {
            if (operation !== "sync" || !failing.test(path)) return undefined;
            countdown -= 1;
            return countdown === 0 ? "EIO" : undefined;
          };
          const acked: string[] = [];
          let refused: unknown;
          for (let i = 0; refused === undefined; i += 1) {
            assert.ok(i < 5000, "the failure was never noticed");
            const value = `${i} ${"x".repeat(300)}`;
            try {
              await append(log, value);
              acked.push(value);
            } catch (thrown) {
              refused = thrown;
            }
            if (i % 20 === 0) await sleep(kernel, 30);
          }
          assert.ok(hasCode(refused, ErrorCode.STORAGE_ERROR), String(refused));
          assert.equal(log.state.kind, "stopped");
          await assert.rejects(append(log, "more"), (e) => hasCode(e, ErrorCode.STORAGE_ERROR));
          try {
            assert.deepEqual(await readAll(log), acked);
          } catch (thrown) {
            // Bytes that the failed fsync dropped: only the journal has them now.
            if (place === "journal" || !hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) throw thrown;
            unreadable += 1;
          }
          die();
          disk.fault = () => undefined;
          const again = await open();
          assert.equal(
            again.log.state.kind,
            "online",
            `seed ${seed}: ${JSON.stringify(again.log.state)} ${JSON.stringify(again.manager.recovery)} ${acked.length}`,
          );
          const found = await readAll(again.log);
          assert.deepEqual(found.slice(0, acked.length), acked);
          await append(again.log, "after");
          again.die();
        })(),
      );
    }
    assert.ok(unreadable <= 12, `${unreadable} of 120 seeds could not read on`);
  });
}

test("a disk that fills up: writes are refused before it is full, reads go on, room brings writes back", async () => {
  const { kernel, disk, open } = setUp(7);
  await kernel.run(
    (async () => {
      const { log, manager } = await open(100_000);
      await log.becomeLeader(1);
      disk.quotaBytes = disk.usedBytes + 300_000;
      await sleep(kernel, 1500);
      const acked: string[] = [];
      let refused: unknown;
      while (refused === undefined) {
        const value = `${acked.length} ${"x".repeat(500)}`;
        try {
          await append(log, value);
          acked.push(value);
        } catch (thrown) {
          refused = thrown;
        }
        await sleep(kernel, 10);
      }
      assert.ok(hasCode(refused, ErrorCode.DISK_FULL), String(refused));
      assert.ok(disk.usedBytes < disk.quotaBytes, "refused only once it was full");
      assert.equal(log.state.kind, "online");
      assert.deepEqual(await readAll(log), acked);
      disk.quotaBytes += 1_000_000;
      await sleep(kernel, 2500);
      await append(log, "after");
      assert.deepEqual(await readAll(log), [...acked, "after"]);
      await manager.close(true);
    })(),
  );
});

test("somebody else fills the disk under a write: it waits, and goes on once there is room", async () => {
  const { kernel, disk, open } = setUp(8);
  await kernel.run(
    (async () => {
      const { log, manager } = await open(50_000);
      await log.becomeLeader(1);
      await append(log, "before");
      disk.quotaBytes = disk.usedBytes;
      const waiting = append(log, "x".repeat(40_000));
      const later = append(log, "y".repeat(20_000));
      await sleep(kernel, 5000);
      disk.quotaBytes = Number.POSITIVE_INFINITY;
      assert.equal(await waiting, 1);
      assert.equal(await later, 2);
      await sleep(kernel, 2500);
      await append(log, "after");
      assert.equal((await readAll(log)).length, 4);
      await manager.close(true);
    })(),
  );
});
