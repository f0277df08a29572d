/** Damage that was once taken for something else; found by fuzzing whole directories. */
import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { create, fromBinary } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { nodeDisk, nodeEnv } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import { RecoveryPointsSchema } from "@millrace/proto/storage";
import { nodeCompressor } from "@millrace/record/node";
import type { LogManager, PartitionLog } from "./api.ts";
import { defaultLogConfig, defaultManagerConfig } from "./defaults.ts";
import { frameChecksummed, magics } from "./files/checksummed-file.ts";
import { offlinePath } from "./files/offline-file.ts";
import { partitionDirectory } from "./files/paths.ts";
import { openLogManager } from "./open.ts";
import { appendAll, batchOf, readAll, topicA } from "./testing.ts";
import { verifyDirectory } from "./tools/verify.ts";

const config = { ...defaultLogConfig, segmentBytes: 2000, retentionMs: -1 };
const directory = partitionDirectory(topicA, 0);

class Directory {
  readonly root = mkdtempSync(join(tmpdir(), "millrace-damage-"));

  readonly #managers: LogManager[] = [];

  async open(): Promise<LogManager> {
    const manager = await openLogManager({
      env: nodeEnv({ dataDirectory: this.root, compressor: nodeCompressor, logger: silentLogger }),
      identity: { clusterId: "c", brokerId: 1 },
      config: {
        ...defaultManagerConfig,
        journalFileBytes: 64 * 1024,
        journalBytesMax: 256 * 1024,
        tailCacheBytesMax: 0,
        diskReserveBytes: 0,
      },
      configFor: () => config,
    });
    this.#managers.push(manager);
    return manager;
  }

  async remove(): Promise<void> {
    for (const manager of this.#managers) await manager.close(false);
    rmSync(this.root, { recursive: true, force: true });
  }

  /** Starts anew after a file was repaired, as an operator would. */
  async repaired(name: string, content: Buffer): Promise<PartitionLog> {
    await this.#managers.pop()?.close(false);
    writeFileSync(this.path(name), content);
    rmSync(this.path(offlinePath(directory)));
    return logOf(await this.open());
  }

  path(name: string): string {
    return join(this.root, name);
  }

  flip(name: string, position: number): void {
    const bytes = readFileSync(this.path(name));
    bytes[position] = (bytes[position] ?? 0) ^ 1;
    writeFileSync(this.path(name), bytes);
  }
}

const withDirectory = async (run: (at: Directory) => Promise<void>): Promise<void> => {
  const at = new Directory();
  try {
    await run(at);
  } finally {
    await at.remove();
  }
};

const logOf = (manager: LogManager): PartitionLog => {
  const log = manager.get(topicA, 0);
  assert.ok(log !== undefined);
  return log;
};

/** `count` batches of 100 bytes each. */
const fill = async (log: PartitionLog, count: number): Promise<void> => {
  const batches = Array.from({ length: count }, (_, i) =>
    batchOf([{ value: `value ${i}`.padEnd(100, "."), timestampMs: 1000 + i }]),
  );
  await appendAll(log, batches, Math.max(1, log.leaderEpoch));
};

const isOffline = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.PARTITION_OFFLINE);

test("a partition that recovery gave up stays so until somebody has put it right", async () => {
  await withDirectory(async (at) => {
    const first = await at.open();
    const log = await first.create(topicA, "t", 0, config);
    await fill(log, 1);
    await log.flush();
    for (let i = 0; i < 4; i += 1) await fill(log, 1);
    // A read brings what is still to be written into the segment.
    await log.read(4, 1000, "log_end");
    await first.close(false);
    // The second round behind the recovery point, in the only file of the journal.
    const journal = readFileSync(at.path("journal/00000000.journal"));
    const rounds: number[] = [];
    for (let p = 0; p < journal.length; p += 4096) {
      if (journal.toString("latin1", p, p + 4) === "MJR1") rounds.push(p);
    }
    at.flip("journal/00000000.journal", (rounds.at(-3) ?? 0) + 30);
    for (let i = 0; i < 3; i += 1) {
      const manager = await at.open();
      assert.equal(logOf(manager).state.kind, "offline", `start ${i}`);
      // The journal goes on with others, and what was damaged in it is forgotten.
      const other = await manager.create(topicA, "t", 1, config);
      await fill(other, 1);
      await other.flush();
      await manager.close(i === 1);
    }
    const { damages } = await verifyDirectory(nodeDisk(at.root), nodeCompressor);
    assert.match(damages.map(({ reason }) => reason).join(), /journal is damaged .* remove /);
    rmSync(at.path(offlinePath(directory)));
    const last = await at.open();
    assert.equal(logOf(last).logEndOffset, 5);
    await last.close(true);
  });
});

test("a batch whose length in offsets is damaged is damage, not the end of what can be read", async () => {
  await withDirectory(async (at) => {
    const manager = await at.open();
    let log = await manager.create(topicA, "t", 0, config);
    const values = ["a", "b", "c"].map((value) => ({ value, timestampMs: 1000 }));
    await appendAll(log, [batchOf(values)]);
    await log.flush();
    const path = `${directory}/${"0".repeat(20)}.log`;
    const bytes = readFileSync(at.path(path));
    const body = bytes.length;
    // Every single bit: the read must fail, or there must be something to read.
    for (let position = 40; position < body; position += 1) {
      for (const bit of [1, 4, 64]) {
        const damaged = Buffer.from(bytes);
        damaged[position] = (damaged[position] ?? 0) ^ bit;
        writeFileSync(at.path(path), damaged);
        const found = await log.read(0, 1000, "log_end").catch((thrown: unknown) => {
          assert.ok(isOffline(thrown));
          return undefined;
        });
        assert.ok(found === undefined || found.bytes > 0, `byte ${position}`);
        if (log.state.kind === "online") continue;
        log = await at.repaired(path, bytes);
      }
    }
  });
});

test("damage in the segment that the log starts in is told as such when a time is looked up", async () => {
  await withDirectory(async (at) => {
    const first = await at.open();
    const log = await first.create(topicA, "t", 0, config);
    await fill(log, 30);
    await log.advanceLogStart(5);
    await first.close(true);
    at.flip(`${directory}/${"0".repeat(20)}.log`, 1200);
    rmSync(at.path(`${directory}/${"0".repeat(20)}.timeindex`));
    const again = await at.open();
    await assert.rejects(logOf(again).offsetForTimestamp(1007), isOffline);
    assert.equal(logOf(again).state.kind, "offline");
    await again.close(false);
  });
});

test("a segment under the name of another takes its partition offline, not the directory", async () => {
  await withDirectory(async (at) => {
    const first = await at.open();
    const log = await first.create(topicA, "t", 0, config);
    await fill(log, 30);
    await log.becomeLeader(2);
    await fill(log, 40);
    await first.close(true);
    const name = (offset: number): string =>
      at.path(`${directory}/${String(offset).padStart(20, "0")}.log`);
    copyFileSync(name(0), name(45));
    rmSync(at.path(`${directory}/leader-epochs`));
    const again = await at.open();
    assert.equal(logOf(again).state.kind, "offline");
    await again.close(false);
  });
});

test("a segment of another log, whole in itself, is damage and not the end of what can be read", async () => {
  await withDirectory(async (at) => {
    const first = await at.open();
    const log = await first.create(topicA, "t", 0, config);
    for (const value of ["x", "y"])
      await appendAll(log, [batchOf([{ value: value.repeat(300) }])], 0);
    const other = await first.create(topicA, "t", 1, config);
    const records = Array.from({ length: 10 }, (_, i) => ({ value: `value ${i}` }));
    await appendAll(other, [batchOf(records), batchOf([{ value: "z".repeat(600) }])], 0);
    await other.flush();
    await first.close(true);
    const name = (directory: string): string => at.path(`${directory}/${"0".repeat(20)}.log`);
    copyFileSync(name(partitionDirectory(topicA, 1)), name(directory));
    const again = await at.open();
    await assert.rejects(logOf(again).read(0, 1e6, "log_end"), isOffline);
    await again.close(false);
  });
});

test("recovery points that are older than the clean marker, or of no log, are not believed as they are", async () => {
  await withDirectory(async (at) => {
    const points = ["recovery-points", "recovery-points.copy"].map((name) => at.path(name));
    const first = await at.open();
    const log = await first.create(topicA, "t", 0, config);
    await fill(log, 5);
    await log.flush();
    const old = readFileSync(points[0] ?? "");
    await fill(log, 5);
    await first.close(true);
    for (const path of points) writeFileSync(path, old);
    const second = await at.open();
    assert.equal(second.recovery.clean, false);
    assert.equal((await readAll(logOf(second), 0)).length <= 10, true);
    assert.equal(logOf(second).logEndOffset, 10);
    await second.close(true);
    const ofTopic = { topicId: Buffer.from(topicA, "hex"), incarnation: 1n };
    for (const point of [
      { topicId: Buffer.alloc(3) },
      { ...ofTopic, offset: 1n, segmentBaseOffset: 6n },
    ]) {
      const { coveredRound } = fromBinary(
        RecoveryPointsSchema,
        readFileSync(points[0] ?? "").subarray(8),
      );
      const message = create(RecoveryPointsSchema, { points: [point], coveredRound });
      const framed = frameChecksummed(magics.recoveryPoints, RecoveryPointsSchema, message);
      for (const path of points) writeFileSync(path, framed);
      await verifyDirectory(nodeDisk(at.root), nodeCompressor);
      const third = await at.open();
      assert.deepEqual([third.recovery.clean, logOf(third).logEndOffset], [false, 10]);
      await third.close(true);
    }
  });
});
