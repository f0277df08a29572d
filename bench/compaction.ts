/**
 * `node bench/compaction.ts [--mib N] [--keys N] [--record-bytes N] [--directory PATH]
 * [--bytes-per-second N] [--event-loop]`: how fast a log is compacted on this machine's disk, and
 * how long the event loop stands still meanwhile. 10 GiB: `--mib 10240 --keys 10000000`.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { silentLogger } from "@millrace/env";
import { nodeEnv } from "@millrace/env/node";
import {
  defaultLogConfig,
  defaultManagerConfig,
  type LogConfig,
  openLogManager,
  type PartitionLog,
} from "@millrace/log";
import { beginCleaning } from "@millrace/log/node";
import { BatchBuilder, crcOf, parseBody, type TopicId } from "@millrace/record";
import { nodeCompressor } from "@millrace/record/node";
import { keyOf } from "./load/keys.ts";

const { values } = parseArgs({
  options: {
    mib: { type: "string", default: "1024" },
    keys: { type: "string", default: "1000000" },
    "record-bytes": { type: "string", default: "1024" },
    directory: { type: "string", default: tmpdir() },
    "bytes-per-second": { type: "string", default: "0" },
    /** Not in a thread. */
    "event-loop": { type: "boolean", default: false },
  },
});

const mib = 1024 * 1024;
const totalBytes = Number(values.mib) * mib;
const keys = Number(values.keys);
const recordBytes = Number(values["record-bytes"]);
const recordsPerBatch = 64;

const config: LogConfig = {
  ...defaultLogConfig,
  compactionEnabled: true,
  retentionEnabled: false,
  segmentBytes: 128 * mib,
};

const fill = async (log: PartitionLog): Promise<number> => {
  const value = Buffer.alloc(recordBytes - 40, "compaction ");
  const builder = new BatchBuilder(recordsPerBatch * recordBytes * 2);
  let failed: Error | undefined;
  let records = 0;
  for (let bytes = 0; bytes < totalBytes; ) {
    builder.reset();
    for (let i = 0; i < recordsPerBatch; i += 1) {
      const key = Buffer.from(keyOf(records, keys));
      builder.append({ key, value, timestampMs: Date.now() });
      records += 1;
    }
    const body = builder.finishPlain();
    bytes += body.length;
    const batch = { body, bodyCrc: crcOf(body), info: parseBody(body) };
    await new Promise<void>((resolve) => {
      log.append(batch, 1, (error) => {
        failed ??= error;
      });
      // Some batches are in flight at a time.
      if (records % (32 * recordsPerBatch) === 0) void log.flush().then(resolve);
      else resolve();
    });
    if (failed !== undefined) throw failed;
  }
  await log.flush();
  log.updateHighWatermark(log.ackedEndOffset);
  await log.flush();
  return records;
};

const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
};

/**
 * The longest time that the event loop did not come round, and the most CPU time of its thread in
 * one turn: what else runs on the machine is in the first alone.
 */
const watchTurns = () => {
  let [longestMs, longestCpuMs] = [0, 0];
  let [lastMs, lastCpuMs] = [performance.now(), cpuMs()];
  let over = false;
  const look = (): void => {
    const [nowMs, nowCpuMs] = [performance.now(), cpuMs()];
    longestMs = Math.max(longestMs, nowMs - lastMs);
    longestCpuMs = Math.max(longestCpuMs, nowCpuMs - lastCpuMs);
    [lastMs, lastCpuMs] = [nowMs, nowCpuMs];
    if (!over) setImmediate(look);
  };
  setImmediate(look);
  return () => {
    over = true;
    return [longestMs, longestCpuMs] as const;
  };
};

const directory = await mkdtemp(join(values.directory, "millrace-compaction-"));
const cleanings: { readBytes: number; writtenBytes: number; ms: number }[] = [];
try {
  const env = nodeEnv({
    dataDirectory: directory,
    compressor: nodeCompressor,
    logger: silentLogger,
  });
  const manager = await openLogManager({
    env,
    identity: { clusterId: "bench", brokerId: 0 },
    config: {
      ...defaultManagerConfig,
      cleanerIntervalMs: 3_600_000,
      cleanerBytesPerSecondMax: Number(values["bytes-per-second"]),
    },
    configFor: () => config,
    beginCleaning: values["event-loop"] ? undefined : beginCleaning,
    observer: {
      onCleaned: (readBytes, writtenBytes, ms) => cleanings.push({ readBytes, writtenBytes, ms }),
    },
  });
  const topicId = "0123456789abcdef0123456789abcdef" as TopicId;
  const log = await manager.create(topicId, "compaction", 0, config);
  const records = await fill(log);
  const before = log.sizeBytes;
  const longest = watchTurns();
  const beganCpuMs = cpuMs();
  while (await log.runCompaction());
  const [longestMs, longestCpuMs] = longest();
  const usedMs = cpuMs() - beganCpuMs;
  for (const { readBytes, writtenBytes, ms } of cleanings) {
    const rate = readBytes / mib / (ms / 1000);
    console.log(
      `cleaned: read ${(readBytes / mib).toFixed(0)} MiB, wrote ${(writtenBytes / mib).toFixed(0)} MiB ` +
        `in ${(ms / 1000).toFixed(1)} s (${rate.toFixed(0)} MiB/s read)`,
    );
  }
  const totalMs = cleanings.reduce((sum, { ms }) => sum + ms, 0);
  console.log(
    `${records} records of ${recordBytes} bytes, ${keys} keys: ${(before / mib).toFixed(0)} MiB became ` +
      `${(log.sizeBytes / mib).toFixed(0)} MiB in ${(totalMs / 1000).toFixed(1)} s, ` +
      `${(before / mib / (totalMs / 1000)).toFixed(0)} MiB of log per second; ` +
      `longest turn ${longestMs.toFixed(1)} ms (${longestCpuMs.toFixed(1)} ms of CPU), ` +
      `${(usedMs / 1000).toFixed(1)} s of CPU with looking; map ${(manager.gauges().cleanerMapUsed * 100).toFixed(0)} % used`,
  );
  await manager.close(true);
} finally {
  await rm(directory, { recursive: true, force: true });
}
