/**
 * Settings of a run, chosen by its seed: small enough that everything happens within a hundred
 * operations.
 */
import {
  defaultLogConfig,
  defaultManagerConfig,
  type FlushPolicy,
  type LogConfig,
  type LogManagerConfig,
} from "@millrace/log";
import type { SeededRandom } from "../random.ts";
import type { Switches } from "./kinds.ts";

const dayMs = 86_400_000;
const policies: readonly FlushPolicy[] = ["commit", "commit", "interval", "none"];

export const managerConfigOf = (random: SeededRandom): LogManagerConfig => ({
  ...defaultManagerConfig,
  journalFileBytes: random.pick([32, 64]) * 1024,
  journalBytesMax: 192 * 1024,
  tailCacheBytesMax: random.pick([0, 2000, 4000, 1_000_000]),
  indexCacheBytesMax: random.pick([0, 100_000]),
  openFilesMax: random.pick([2, 100]),
  diskReserveBytes: random.pick([0, 3000]),
  unwrittenBytesMax: random.pick([1000, 20_000]),
  syncStepBytes: random.pick([500, 1_000_000]),
  writeLingerMs: random.pick([0, 3, 100]),
  checkpointIntervalMs: random.pick([15, 60, 500, 100_000]),
  retentionCheckIntervalMs: random.pick([40, 300, 100_000]),
});

export const logConfigOf = (random: SeededRandom, on: Switches): LogConfig => ({
  ...defaultLogConfig,
  segmentBytes: random.pick([1024, 2500, 9000]),
  segmentMs: on.segmentAge ? random.pick([20, 200, 7 * dayMs]) : 7 * dayMs,
  indexIntervalBytes: random.pick([64, 300, 4096]),
  retentionMs: on.retention ? random.pick([-1, -1, 200, 2000, 7 * dayMs]) : -1,
  retentionBytes: on.retention ? random.pick([-1, -1, 0, 4000]) : -1,
  retentionEnabled: random.chance(0.9),
  fileDeleteDelayMs: random.pick([0, 50]),
  flushPolicy: random.pick(policies),
  flushIntervalMs: 20,
});

/** Settings of a run in which logs may be compacted; chosen apart, so that others stay the same. */
export const cleanerConfigOf = (
  random: SeededRandom,
  on: Switches,
): Pick<LogManagerConfig, "cleanerBytesPerSecondMax" | "cleanerIntervalMs"> => ({
  cleanerIntervalMs: on.compaction ? random.pick([15, 60, 100_000]) : 100_000,
  cleanerBytesPerSecondMax: random.pick([0, 0, 200_000]),
});

/** Of a compacted log. Retention would have to be modelled by what is left. */
export const compactedConfigOf = (config: LogConfig, random: SeededRandom): LogConfig => ({
  ...config,
  segmentBytes: random.pick([1024, 2500]),
  retentionEnabled: false,
  compactionEnabled: true,
  deleteRetentionMs: random.pick([0, 50, 1e12]),
  minCompactionLagMs: random.pick([0, 0, 0, 30]),
  maxCompactionLagMs: random.pick([Number.MAX_SAFE_INTEGER, 200]),
  minCleanableDirtyRatio: random.pick([0, 0.3]),
});

/** The same partition with some of its settings changed. */
export const changedConfig = (config: LogConfig, random: SeededRandom, on: Switches): LogConfig => {
  const other = logConfigOf(random, on);
  const changed = {
    ...config,
    ...(random.chance(0.5) ? { segmentBytes: other.segmentBytes } : {}),
    ...(random.chance(0.3) ? { segmentMs: other.segmentMs } : {}),
    ...(random.chance(0.3) ? { indexIntervalBytes: other.indexIntervalBytes } : {}),
    ...(random.chance(0.3)
      ? { retentionMs: other.retentionMs, retentionBytes: other.retentionBytes }
      : {}),
  };
  const flushPolicy =
    on.policyChange && random.chance(0.5) ? other.flushPolicy : config.flushPolicy;
  return { ...changed, flushPolicy };
};
