import assert from "node:assert/strict";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { fileOfDescriptor, nodeEnv } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import { nodeCompressor } from "@millrace/record/node";
import type { AppendBatch, LogManager, LogObserver, PartitionLog } from "../api.ts";
import type { BeginPass, SegmentFile } from "../compaction/pass.ts";
import { Abandoned } from "../compaction/read-batches.ts";
import { defaultLogConfig, defaultManagerConfig } from "../defaults.ts";
import { partitionDirectory } from "../files/paths.ts";
import { openLogManager } from "../open.ts";
import { Partition } from "../partition/partition.ts";
import { appendAll, topicA } from "../testing.ts";
import { allRecords, type FoundRecord, keyedBatch } from "../testing-keys.ts";
import { beginCleaning } from "./cleaning-thread.ts";

const mib = 1024 * 1024;
const config = {
  ...defaultLogConfig,
  compactionEnabled: true,
  retentionEnabled: false,
  segmentBytes: 8 * mib,
};
const settings = {
  mapBytesMax: mib,
  secret: new Uint8Array(16),
  fromOffset: 0,
  bytesPerSecondMax: 0,
};

interface Opened {
  readonly manager: LogManager;
  readonly log: PartitionLog;
  readonly directory: string;
}

const open = async (
  root: string,
  begin: BeginPass | undefined,
  observer: LogObserver = {},
  bytesPerSecondMax = 0,
): Promise<Opened> => {
  const manager = await openLogManager({
    env: nodeEnv({ dataDirectory: root, compressor: nodeCompressor, logger: silentLogger }),
    identity: { clusterId: "c", brokerId: 1 },
    config: {
      ...defaultManagerConfig,
      diskReserveBytes: 0,
      cleanerIntervalMs: 3_600_000,
      cleanerBytesPerSecondMax: bytesPerSecondMax,
    },
    configFor: () => config,
    ...{ observer, beginCleaning: begin },
  });
  const log = manager.get(topicA, 0) ?? (await manager.create(topicA, "t", 0, config));
  return { manager, log, directory: join(root, partitionDirectory(topicA, 0)) };
};

/** More than is cleaned on the event loop, in five closed segments. */
const fill = async (log: PartitionLog): Promise<void> => {
  const batches: AppendBatch[] = [];
  for (let batch = 0; batch < 800; batch += 1) {
    const records = Array.from({ length: 60 }, (_, i) => {
      const number = batch * 60 + i;
      const key = `key ${(number * 7919) % 9000}`;
      const value = number % 97 === 0 ? null : `${number} `.repeat(170);
      return { key, value, timestampMs: 1_700_000_000_000 + ((number * 31) % 5000) };
    });
    batches.push(await keyedBatch(records, undefined, batch % 16 === 0 ? "lz4" : "none"));
    if (batches.length === 40) await appendAll(log, batches.splice(0));
  }
  await log.flush();
  log.updateHighWatermark(log.logEndOffset);
  await log.flush();
};

const temporary = (t: { after(fn: () => void): void }): string => {
  const root = mkdtempSync(join(tmpdir(), "millrace-cleaning-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  return root;
};

/** Waits until the thread is at work. */
const started = (begin: BeginPass) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const noticed: BeginPass = (...args) => {
    const pass = begin(...args);
    const mapKeys = pass.mapKeys.bind(pass);
    pass.mapKeys = (segment) => {
      resolve();
      return mapKeys(segment);
    };
    return pass;
  };
  return { begin: noticed, promise };
};

test("a thread leaves what the event loop does, and the log goes on with it", async (t) => {
  const left: { files: [string, number][]; records: readonly FoundRecord[] }[] = [];
  let threads = 0;
  const counted: BeginPass = (...args) => {
    threads += 1;
    return beginCleaning(...args);
  };
  for (const begin of [undefined, counted]) {
    const root = temporary(t);
    const { directory, log, manager } = await open(root, begin);
    await fill(log);
    const before = log.sizeBytes;
    assert.equal(await log.runCompaction(), true);
    assert.ok(log.sizeBytes < before / 2, `${log.sizeBytes} of ${before}`);
    await manager.close(true);
    const names = readdirSync(directory).filter((name) => /(log|index)$/.test(name));
    const again = await open(root, begin);
    assert.ok(again.log instanceof Partition);
    assert.equal(again.log.state.kind, "online");
    const found = await again.log.offsetForTimestamp(1_700_000_004_000);
    assert.ok(found !== undefined);
    left.push({
      files: names.sort().map((name) => [name, statSync(join(directory, name)).size]),
      records: await allRecords(again.log),
    });
    await again.manager.close(true);
  }
  assert.equal(threads, 1);
  assert.deepEqual(left[1], left[0]);
});

test("a close and a deletion end it at once", { timeout: 60_000 }, async (t) => {
  for (const end of ["close", "delete"] as const) {
    const root = temporary(t);
    const { begin, promise } = started(beginCleaning);
    // At this pace it would take minutes.
    const { directory, log, manager } = await open(root, begin, {}, 100_000);
    await fill(log);
    const cleaning = log.runCompaction();
    await promise;
    const beganMs = performance.now();
    if (end === "delete") await manager.delete(topicA, 0);
    else await manager.close(true);
    assert.equal(await cleaning, false);
    assert.ok(performance.now() - beganMs < 5000);
    if (end === "close")
      assert.deepEqual(
        readdirSync(directory).filter((name) => name.endsWith("tmp")),
        [],
      );
    else await manager.close(true);
  }
});

test("damage that a thread meets takes the log offline", async (t) => {
  const { directory, log, manager } = await open(temporary(t), beginCleaning);
  await fill(log);
  const [first = ""] = readdirSync(directory)
    .filter((name) => name.endsWith(".log"))
    .sort();
  const bytes = readFileSync(join(directory, first));
  bytes[100_000] = (bytes[100_000] ?? 0) ^ 1;
  writeFileSync(join(directory, first), bytes);
  assert.equal(await log.runCompaction(), false);
  assert.ok(log instanceof Partition && log.state.kind === "offline");
  assert.match(log.state.reason, /is damaged at byte .*: body CRC is wrong/);
  await manager.close(true);
});

/** One small segment, and a pass over it. */
const withSegment = async (
  t: { after(fn: () => void): void },
  work: (segment: SegmentFile, root: string) => Promise<void>,
): Promise<void> => {
  const root = temporary(t);
  const { directory, log, manager } = await open(root, undefined);
  await appendAll(log, [
    await keyedBatch([
      { key: "a", value: "1", timestampMs: 1 },
      { key: "a", value: "2", timestampMs: 2 },
    ]),
  ]);
  await manager.close(true);
  const path = join(directory, `${"0".repeat(20)}.log`);
  const descriptor = openSync(path, "r");
  const sizeBytes = readFileSync(path).length;
  await work({ path, baseOffset: 0, sizeBytes, file: fileOfDescriptor(descriptor) }, root);
  closeSync(descriptor);
};

const rules = { tombstonesGo: false, producersAt: new Set<number>(), indexIntervalBytes: 4096 };

test("what fails in the thread fails in the same way outside", async (t) => {
  await withSegment(t, async (segment) => {
    const pass = beginCleaning(settings, () => false);
    assert.deepEqual(await pass.mapKeys(segment), { endOffset: 2, isFull: false });
    // A descriptor that is open to read alone.
    const output = fileOfDescriptor(segment.file.descriptor ?? -1);
    await assert.rejects(pass.clean(segment, rules, output), { code: "EBADF" });
    const longer = { ...segment, sizeBytes: segment.sizeBytes + 1 };
    const isDamage = (thrown: unknown) => hasCode(thrown, ErrorCode.PARTITION_OFFLINE);
    await assert.rejects(pass.mapKeys(longer), isDamage);
    assert.equal(pass.counts.readBytes, segment.sizeBytes * 3);
    await pass.end();
    await assert.rejects(pass.mapKeys(segment), /the thread that cleans a log has ended/);
  });
});

const gone = "a pass that is void is abandoned; a thread that dies fails what waits for it";
test(gone, { timeout: 60_000 }, async (t) => {
  await withSegment(t, async (segment) => {
    let isVoid = false;
    const slow = beginCleaning({ ...settings, bytesPerSecondMax: 1 }, () => isVoid);
    const mapping = slow.mapKeys(segment);
    isVoid = true;
    // It was at the end already, or not.
    await mapping.catch(() => {});
    await assert.rejects(slow.mapKeys(segment), Abandoned);
    await slow.end();
    const dead = beginCleaning({ ...settings, mapBytesMax: 1 }, () => false);
    await assert.rejects(dead.mapKeys(segment), /a map has room for some keys/);
    await dead.end();
  });
});
