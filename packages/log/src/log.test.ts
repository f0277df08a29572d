import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeEnv } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import { nodeCompressor } from "@millrace/record/node";
import type { LogConfig, LogManager, LogManagerConfig } from "./api.ts";
import { defaultLogConfig, defaultManagerConfig } from "./defaults.ts";
import { openLogManager } from "./open.ts";
import { appendAll, batchOf, readAll, topicA } from "./testing.ts";

const small: LogManagerConfig = {
  ...defaultManagerConfig,
  journalFileBytes: 256 * 1024,
  journalBytesMax: 1024 * 1024,
  diskReserveBytes: 0,
};

const open = (
  root: string,
  log: Partial<LogConfig> = {},
  manager: Partial<LogManagerConfig> = {},
): Promise<LogManager> =>
  openLogManager({
    env: nodeEnv({ dataDirectory: root, compressor: nodeCompressor, logger: silentLogger }),
    identity: { clusterId: "c", brokerId: 1 },
    config: { ...small, ...manager },
    configFor: () => ({ ...defaultLogConfig, ...log }),
  });

const withDirectory = async (run: (root: string) => Promise<void>) => {
  const root = mkdtempSync(join(tmpdir(), "millrace-log-"));
  try {
    await run(root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
};

const values = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => `value ${from + i}`);

const expected = (to: number, from = 0) =>
  values(from, to).map((value, i) => ({ offset: from + i, value }));

for (const clean of [true, false]) {
  test(`records survive a ${clean ? "clean" : "sudden"} stop, rolled and cached or not`, async () => {
    await withDirectory(async (root) => {
      const config = { segmentBytes: 2000, indexIntervalBytes: 200 };
      for (let round = 0; round < 4; round += 1) {
        const manager = await open(root, config, { tailCacheBytesMax: round === 0 ? 0 : 5000 });
        assert.equal(manager.recovery.clean, clean && round > 0);
        if (clean) assert.equal(manager.recovery.segmentBytesScanned, 0);
        const log = await manager.create(topicA, "t", 0, { ...defaultLogConfig, ...config });
        assert.equal(log.logEndOffset, round * 100);
        await log.becomeLeader(round + 1);
        log.updateHighWatermark(log.ackedEndOffset);
        assert.deepEqual(await readAll(log, 0), expected(round * 100));
        for (let i = 0; i < 10; i += 1) {
          const at = round * 100 + i * 10;
          const batches = values(at, at + 10).map((value, k) =>
            batchOf([{ value, timestampMs: 1000 + at + k }]),
          );
          await appendAll(log, batches, round + 1);
        }
        assert.deepEqual(await readAll(log, 0), expected((round + 1) * 100));
        assert.deepEqual(await readAll(log, 55), expected((round + 1) * 100, 55));
        const found = await log.offsetForTimestamp(1000 + round * 100 + 37);
        assert.deepEqual(found, {
          offset: round * 100 + 37,
          timestampMs: 1000 + round * 100 + 37,
          leaderEpoch: round + 1,
        });
        assert.equal((await log.maxTimestamp())?.offset, round * 100 + 99);
        assert.ok(log.segmentCount > 1);
        assert.equal(log.epochOfOffset(round * 100), round + 1);
        await manager.close(clean);
      }
    });
  });
}

test("retries of an idempotent producer are answered with the first offsets, also after restarts", async () => {
  await withDirectory(async (root) => {
    const stamp = (baseSequence: number) => ({ producerId: 7, producerEpoch: 0, baseSequence });
    for (const clean of [true, false, true]) {
      const manager = await open(root);
      const log = await manager.create(topicA, "t", 0, defaultLogConfig);
      if (log.logEndOffset === 0) {
        await appendAll(log, [batchOf([{ value: "a" }, { value: "b" }], stamp(0))]);
        await appendAll(log, [batchOf([{ value: "c" }], stamp(2))]);
      }
      const again = await appendAll(log, [batchOf([{ value: "a" }, { value: "b" }], stamp(0))]);
      assert.deepEqual([again[0]?.duplicate, again[0]?.baseOffset], [true, 0]);
      await assert.rejects(appendAll(log, [batchOf([{ value: "x" }], stamp(9))]), (e) =>
        hasCode(e, ErrorCode.OUT_OF_ORDER_SEQUENCE),
      );
      assert.equal(log.logEndOffset, 3);
      await manager.close(clean);
    }
  });
});

test("truncation, log start and deletion survive a sudden stop", async () => {
  await withDirectory(async (root) => {
    const config = { segmentBytes: 500, indexIntervalBytes: 100 };
    let manager = await open(root, config);
    let log = await manager.create(topicA, "t", 0, { ...defaultLogConfig, ...config });
    const gone = await manager.create(topicA, "t", 1, defaultLogConfig);
    await appendAll(gone, [batchOf([{ value: "x" }])]);
    await appendAll(
      log,
      values(0, 50).map((value) => batchOf([{ value }])),
    );
    await log.truncateTo(33);
    await appendAll(
      log,
      values(33, 40).map((value) => batchOf([{ value }])),
      2,
    );
    await log.advanceLogStart(20);
    await assert.rejects(log.advanceLogStart(1000), (e) =>
      hasCode(e, ErrorCode.OFFSET_OUT_OF_RANGE),
    );
    await manager.delete(topicA, 1);
    for (let i = 0; i < 3; i += 1) {
      assert.equal(log.logStartOffset, 20);
      assert.deepEqual(await readAll(log, 20), expected(40, 20));
      await assert.rejects(readAll(log, 19), (e) => hasCode(e, ErrorCode.OFFSET_OUT_OF_RANGE));
      assert.equal(manager.get(topicA, 1), undefined);
      await manager.close(false);
      manager = await open(root, config);
      log = await manager.create(topicA, "t", 0, { ...defaultLogConfig, ...config });
      log.updateHighWatermark(log.ackedEndOffset);
    }
    await manager.close(true);
    assert.equal(readdirSync(join(root, "partitions")).length, 1);
  });
});

test("retention by size and time removes whole old segments", async () => {
  await withDirectory(async (root) => {
    const config = {
      segmentBytes: 400,
      retentionBytes: 1000,
      retentionMs: -1,
      fileDeleteDelayMs: 1,
    };
    const manager = await open(root, config);
    const log = await manager.create(topicA, "t", 0, { ...defaultLogConfig, ...config });
    await appendAll(
      log,
      values(0, 100).map((value) => batchOf([{ value }])),
    );
    assert.ok((await log.runRetention()) > 5);
    assert.ok(log.sizeBytes >= 1000 && log.sizeBytes < 1500, String(log.sizeBytes));
    const start = log.logStartOffset;
    assert.deepEqual(await readAll(log, start), expected(100, start));
    log.updateConfig({ ...log.config, retentionMs: 1000, retentionBytes: -1 });
    await log.runRetention();
    assert.equal(log.logStartOffset, 100);
    assert.equal(log.sizeBytes, 0);
    await appendAll(log, [batchOf([{ value: "value 100" }])]);
    assert.deepEqual(await readAll(log, 100), expected(101, 100));
    await manager.close(true);
  });
});

test("a full journal is waited for, and files are used again", async () => {
  await withDirectory(async (root) => {
    const manager = await open(root);
    const log = await manager.create(topicA, "t", 0, defaultLogConfig);
    const value = "x".repeat(20_000);
    for (let i = 0; i < 20; i += 1) {
      await appendAll(
        log,
        Array.from({ length: 10 }, () => batchOf([{ value }])),
      );
    }
    assert.ok(manager.gauges().journalBytesUsed <= small.journalBytesMax);
    assert.ok(readdirSync(join(root, "journal")).length <= 4);
    await manager.close(false);
    const again = await open(root);
    assert.equal(again.get(topicA, 0)?.logEndOffset, 200);
    await again.close(true);
  });
});

test("a directory of another cluster, another broker, or damaged, is refused", async () => {
  await withDirectory(async (root) => {
    await (await open(root)).close(true);
    const env = nodeEnv({ dataDirectory: root, compressor: nodeCompressor, logger: silentLogger });
    for (const identity of [
      { clusterId: "other", brokerId: 1 },
      { clusterId: "c", brokerId: 2 },
    ]) {
      const options = { env, identity, config: small, configFor: () => defaultLogConfig };
      await assert.rejects(openLogManager(options), (e) =>
        hasCode(e, ErrorCode.DATA_DIRECTORY_UNUSABLE),
      );
    }
  });
});
