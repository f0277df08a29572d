/** What a broker counts, by the names of `docs/reference/metrics.md`. */
import type { Values } from "@millrace/config";
import type { LogGauges, LogManager, LogObserver } from "@millrace/log";
import { latencyBuckets, type Metrics } from "@millrace/observability";
import { type ServerMetrics, serverMetrics } from "@millrace/server/node";
import type { KeyIndexGauges } from "../latest/key-indexes.ts";
import type { BrokerMetrics } from "../metrics.ts";
import type { TopicMeters } from "../topic-meters.ts";
import { metricsDefaults, type metricsSettings } from "./config.ts";
import { topicMetrics } from "./topic-metrics.ts";

const keyIndexMetrics = (metrics: Metrics) => {
  const gauge = (what: string, help: string, labels?: string[]) =>
    metrics.gauge({ name: `millrace_broker_key_index${what}`, help, ...(labels && { labels }) });
  const keys = gauge("_keys", "Keys in the indexes of compacted partitions.");
  const bytes = gauge("_bytes", "Memory of the indexes of keys, about.");
  const bytesMax = gauge("_limit_bytes", "Bound of the memory of the indexes of keys.");
  const lag = gauge("_lag_messages", "Records that indexes of keys have yet to read.");
  const partitions = gauge("_partitions", "Indexes of keys by state.", ["state"]);
  const loaded = metrics.histogram({
    name: "millrace_broker_key_index_load_seconds",
    help: "From the begin of a leadership until the keys of its partition were read.",
    buckets: [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300],
  });
  const givenUp = metrics.counter({
    name: "millrace_broker_key_indexes_given_up_total",
    help: "Indexes of keys for which there was no memory.",
  });
  const reads = metrics.counter({
    name: "millrace_broker_latest_reads_total",
    help: "Records that GetLatest answered with, by whether they were in memory.",
    labels: ["hit"],
  });
  return {
    onLatestRead: (hit: boolean) => reads.add(1, { hit: String(hit) }),
    onKeyIndexLoaded: (seconds: number) => loaded.observe(seconds),
    onKeyIndexGivenUp: () => givenUp.add(1),
    watchKeyIndexes: (read: () => KeyIndexGauges) =>
      metrics.onCollect(() => {
        const now = read();
        keys.set(now.keys);
        bytes.set(now.bytes);
        bytesMax.set(now.bytesMax);
        lag.set(now.lag);
        for (const [state, count] of Object.entries(now.states)) partitions.set(count, { state });
      }),
  };
};

const brokerMetrics = (metrics: Metrics, meters: TopicMeters): BrokerMetrics => {
  const records = metrics.counter({
    name: "millrace_broker_produce_records_total",
    help: "Records appended.",
  });
  const bytesIn = metrics.counter({
    name: "millrace_broker_produce_bytes_total",
    help: "Batch bytes appended.",
  });
  const requests = metrics.counter({
    name: "millrace_broker_produce_requests_total",
    help: "Produce requests answered.",
  });
  const latency = metrics.histogram({
    name: "millrace_broker_produce_latency_seconds",
    help: "From a produce request's arrival to its acknowledgement.",
    buckets: latencyBuckets,
  });
  const recordsOut = metrics.counter({
    name: "millrace_broker_fetch_records_total",
    help: "Records fetched, by their offsets.",
  });
  const fetches = metrics.counter({
    name: "millrace_broker_fetch_responses_total",
    help: "Fetch messages with batches sent.",
  });
  const bytesOut = metrics.counter({
    name: "millrace_broker_fetch_bytes_total",
    help: "Batch bytes fetched.",
  });
  const errors = metrics.counter({
    name: "millrace_broker_errors_total",
    help: "Failed requests and cursors by error code.",
    labels: ["code"],
  });
  return {
    ...keyIndexMetrics(metrics),
    onProduce: (durationMs, error) => {
      requests.add(1);
      if (error === undefined) latency.observe(durationMs / 1000);
      else errors.add(1, { code: error.codeName });
    },
    onAppend: (count, bytes) => {
      records.add(count);
      bytesIn.add(bytes);
    },
    onFetch: (count, bytes) => {
      fetches.add(1);
      recordsOut.add(count);
      bytesOut.add(bytes);
    },
    onError: (error) => errors.add(1, { code: error.codeName }),
    meterOf: (topicId, topic, partition) => meters.open(topicId, topic, partition),
  };
};

const cleanerMetrics = (metrics: Metrics): NonNullable<LogObserver["onCleaned"]> => {
  const cleanings = metrics.counter({
    name: "millrace_log_cleaner_runs_total",
    help: "Logs cleaned by compaction.",
  });
  const cleanerBytes = metrics.counter({
    name: "millrace_log_cleaner_bytes_total",
    help: "Bytes that compaction read and wrote.",
    labels: ["direction"],
  });
  const cleanerTime = metrics.gauge({
    name: "millrace_log_cleaner_last_run_seconds",
    help: "Time that the last cleaning of a log took.",
  });
  return (readBytes, writtenBytes, durationMs) => {
    cleanings.add(1);
    cleanerBytes.add(readBytes, { direction: "read" });
    cleanerBytes.add(writtenBytes, { direction: "written" });
    cleanerTime.set(durationMs / 1000);
  };
};

const logMetrics = (metrics: Metrics): LogObserver => {
  const fsync = metrics.histogram({
    name: "millrace_log_fsync_latency_seconds",
    help: "Write and fsync of one round of the commit journal.",
    buckets: latencyBuckets,
  });
  const batches = metrics.histogram({
    name: "millrace_log_commit_batches",
    help: "Batches made durable by one fsync.",
    buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000],
  });
  const fsyncs = metrics.counter({
    name: "millrace_log_fsyncs_total",
    help: "Fsyncs of the commit journal.",
  });
  const failures = metrics.counter({
    name: "millrace_log_disk_failures_total",
    help: "Failures of the disk; writes have stopped.",
  });
  const rolls = metrics.counter({
    name: "millrace_log_segment_rolls_total",
    help: "Segments begun.",
  });
  const deleted = metrics.counter({
    name: "millrace_log_deleted_bytes_total",
    help: "Bytes of segments removed by retention.",
  });
  const tail = metrics.counter({
    name: "millrace_log_tail_reads_total",
    help: "Reads by whether the tail cache had the data.",
    labels: ["hit"],
  });
  const skipped = metrics.counter({
    name: "millrace_log_tail_skipped_total",
    help: "Batches that stayed out of the tail cache: its oldest were still to be written.",
  });
  const forgotten = metrics.counter({
    name: "millrace_log_producers_forgotten_total",
    help: "Producers forgotten because there were too many over all partitions.",
  });
  const full = metrics.gauge({
    name: "millrace_log_disk_full",
    help: "1 while writes are refused for lack of space.",
  });
  return {
    onCleaned: cleanerMetrics(metrics),
    onCommit: (count, _bytes, syncMs) => {
      if (syncMs <= 0) return;
      fsyncs.add(1);
      fsync.observe(syncMs / 1000);
      batches.observe(count);
    },
    onFsyncError: () => failures.add(1),
    onRoll: () => rolls.add(1),
    onSegmentDeleted: (bytes) => deleted.add(bytes),
    onTailCache: (hit) => tail.add(1, { hit: String(hit) }),
    onTailSkipped: () => skipped.add(1),
    onProducersForgotten: (count) => forgotten.add(count),
    onDiskFull: (isFull) => full.set(isFull ? 1 : 0),
  };
};

const cleanerGauges = (
  gauge: (what: string, help: string) => { set(value: number): void },
): ((now: LogGauges) => void) => {
  const dirty = gauge("cleaner_dirty_ratio_max", "Largest part of a log that is to be compacted.");
  const mapUsed = gauge(
    "cleaner_map_used_ratio",
    "Part of --log-cleaner-dedupe-buffer-size that the last cleaning took.",
  );
  const failedLogs = gauge("cleaner_failed_logs", "Logs that cannot be compacted: see the log.");
  return (now) => {
    dirty.set(now.cleanerDirtyRatioMax);
    mapUsed.set(now.cleanerMapUsed);
    failedLogs.set(now.cleanerFailedLogs);
  };
};

/** Gauges of bounded queues: what is in use, and the bound. */
const logGauges = (metrics: Metrics): ((logs: LogManager) => void) => {
  const gauge = (what: string, help: string) =>
    metrics.gauge({ name: `millrace_log_${what}`, help });
  const used = gauge("journal_used_bytes", "Journal space that cannot be reused yet.");
  const usedMax = gauge("journal_limit_bytes", "Bound of the journal.");
  const tail = gauge("tail_cache_bytes", "Newest batches in memory.");
  const tailMax = gauge("tail_cache_limit_bytes", "Bound of the tail cache.");
  const pending = gauge("pending_bytes", "Bytes accepted and not yet on the disk.");
  const pendingMax = gauge("pending_limit_bytes", "Bound of what is pending.");
  const unwritten = gauge("unwritten_bytes", "Bytes in the journal and not yet in their segments.");
  const unwrittenMax = gauge("unwritten_limit_bytes", "Bound of what is unwritten.");
  const producers = gauge("producers", "Idempotent producers remembered, over all partitions.");
  const producersMax = gauge("producers_limit", "Bound of the producers remembered.");
  const files = gauge("open_files", "Open segment files.");
  const filesMax = gauge("open_files_limit", "Bound of open segment files.");
  const index = gauge("index_cache_bytes", "Index entries in memory.");
  const indexMax = gauge("index_cache_limit_bytes", "Bound of the index entries in memory.");
  const free = gauge("disk_free_bytes", "Free space of the disk, as of the last look.");
  const reserve = gauge("disk_reserve_bytes", "Free space below which writes are refused.");
  const cleaner = cleanerGauges(gauge);
  const size = gauge("size_bytes", "Bytes of all segments.");
  const segments = gauge("segments", "Segments.");
  const partitions = metrics.gauge({
    name: "millrace_log_partitions",
    help: "Partitions by state.",
    labels: ["state"],
  });
  const lag = gauge("high_watermark_lag_messages", "Records appended and not yet readable.");
  const collect = (logs: LogManager): void => {
    const now = logs.gauges();
    used.set(now.journalBytesUsed);
    usedMax.set(now.journalBytesMax);
    tail.set(now.tailCacheBytes);
    tailMax.set(now.tailCacheBytesMax);
    pending.set(now.pendingBytes);
    pendingMax.set(now.pendingBytesMax);
    unwritten.set(now.unwrittenBytes);
    unwrittenMax.set(now.unwrittenBytesMax);
    producers.set(now.producers);
    producersMax.set(now.producersMax);
    files.set(now.openFiles);
    filesMax.set(now.openFilesMax);
    index.set(now.indexCacheBytes);
    indexMax.set(now.indexCacheBytesMax);
    cleaner(now);
    if (now.diskFreeBytes !== undefined) free.set(now.diskFreeBytes);
    reserve.set(now.diskReserveBytes);
    const states = { online: 0, offline: 0, stopped: 0 };
    let bytes = 0;
    let count = 0;
    let behind = 0;
    for (const log of logs.partitions()) {
      states[log.state.kind] += 1;
      bytes += log.sizeBytes;
      count += log.segmentCount;
      behind += log.logEndOffset - log.highWatermark;
    }
    size.set(bytes);
    segments.set(count);
    lag.set(behind);
    for (const [state, value] of Object.entries(states)) partitions.set(value, { state });
  };
  return (logs) => metrics.onCollect(() => collect(logs));
};

export interface BrokerServerMetrics extends ServerMetrics {
  readonly broker: BrokerMetrics;
  readonly log: LogObserver;
  /** Reads the sizes of the log at every scrape from now on. */
  watchLogs(logs: LogManager): void;
}

/** All metrics of a broker's process, registered. */
export const brokerServerMetrics = (
  config: Values<typeof metricsSettings> = metricsDefaults,
  droppedLogLines?: () => number,
): BrokerServerMetrics => {
  const shared = serverMetrics(droppedLogLines);
  const { registry } = shared;
  const topics = topicMetrics(registry, {
    topicsMax: config["metrics-topics-max"],
    partitionsMax: config["metrics-partitions-max"],
  });
  const watchSizes = logGauges(registry);
  return {
    ...shared,
    broker: brokerMetrics(registry, topics.meters),
    log: logMetrics(registry),
    watchLogs: (logs) => {
      watchSizes(logs);
      topics.watchLogs(logs);
    },
  };
};
