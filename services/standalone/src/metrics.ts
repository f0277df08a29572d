/** Everything that the server counts, by the names of `docs/reference/metrics.md`. */
import type { BrokerMetrics } from "@millrace/broker";
import type { ControllerMetrics } from "@millrace/controller";
import type { LogManager, LogObserver } from "@millrace/log";
import { latencyBuckets, Metrics } from "@millrace/observability";
import type { AdmissionGauges, AdmissionObserver, CallObserver } from "@millrace/rpc/grpc";

/** Metrics of one listener's admission: refusals are counted, usage is read at every scrape. */
export interface ListenerMetrics {
  readonly observer: AdmissionObserver;
  readonly watch: (gauges: () => AdmissionGauges) => void;
}

export interface ServerMetrics {
  readonly registry: Metrics;
  readonly broker: BrokerMetrics;
  readonly controller: ControllerMetrics;
  readonly log: LogObserver;
  readonly calls: CallObserver;
  /** A connection to the HTTP port was refused. */
  onHttpRefused(): void;
  /** Metrics of the listener with this name. */
  listener(name: string): ListenerMetrics;
  /** Reads the sizes of the log at every scrape from now on. */
  watchLogs(logs: LogManager): void;
}

const brokerMetrics = (metrics: Metrics): BrokerMetrics => {
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
    onProduce: (durationMs, error) => {
      requests.add(1);
      if (error === undefined) latency.observe(durationMs / 1000);
      else errors.add(1, { code: error.codeName });
    },
    onAppend: (count, bytes) => {
      records.add(count);
      bytesIn.add(bytes);
    },
    onFetch: (bytes) => {
      fetches.add(1);
      bytesOut.add(bytes);
    },
    onError: (error) => errors.add(1, { code: error.codeName }),
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
  const full = metrics.gauge({
    name: "millrace_log_disk_full_count",
    help: "1 while writes are refused for lack of space.",
  });
  return {
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
    onDiskFull: (isFull) => full.set(isFull ? 1 : 0),
  };
};

const callMetrics = (metrics: Metrics): CallObserver => {
  const calls = metrics.counter({
    name: "millrace_rpc_calls_total",
    help: "Calls that have ended, by method and error code.",
    labels: ["method", "code"],
  });
  const open = metrics.gauge({ name: "millrace_rpc_open_calls_count", help: "Calls under way." });
  let count = 0;
  return {
    onCallStart: () => {
      count += 1;
      open.set(count);
    },
    onCallEnd: ({ path, code }) => {
      count -= 1;
      open.set(count);
      calls.add(1, { method: path, code });
    },
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
  const files = gauge("open_files_count", "Open segment files.");
  const filesMax = gauge("open_files_limit_count", "Bound of open segment files.");
  const index = gauge("index_cache_bytes", "Index entries in memory.");
  const indexMax = gauge("index_cache_limit_bytes", "Bound of the index entries in memory.");
  const free = gauge("disk_free_bytes", "Free space of the disk, as of the last look.");
  const reserve = gauge("disk_reserve_bytes", "Free space below which writes are refused.");
  const size = gauge("size_bytes", "Bytes of all segments.");
  const segments = gauge("segments_count", "Segments.");
  const partitions = metrics.gauge({
    name: "millrace_log_partitions_count",
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
    files.set(now.openFiles);
    filesMax.set(now.openFilesMax);
    index.set(now.indexCacheBytes);
    indexMax.set(now.indexCacheBytesMax);
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

const listenerMetrics = (metrics: Metrics): ((listener: string) => ListenerMetrics) => {
  const gauge = (what: string, help: string) =>
    metrics.gauge({ name: `millrace_rpc_${what}`, help, labels: ["listener"] });
  const connections = gauge("connections_count", "Open connections.");
  const connectionsMax = gauge("connections_limit_count", "Bound of open connections.");
  const streams = gauge("streams_count", "Open calls of all connections.");
  const streamsMax = gauge("streams_limit_count", "Bound of open calls.");
  const buffered = gauge("buffered_bytes", "Bytes received and not read, or written and not sent.");
  const bufferedMax = gauge("buffered_limit_bytes", "Bound of the buffered bytes.");
  const delayMax = gauge(
    "event_loop_delay_limit_seconds",
    "Delay of the event loop beyond which nothing new is let in.",
  );
  const delay = gauge(
    "event_loop_delay_seconds",
    "Mean delay of the event loop over the last second, as the admission sees it.",
  );
  const pressed = gauge(
    "pressure_count",
    "1 while stream windows are small because half of the byte budget is used.",
  );
  const refused = metrics.counter({
    name: "millrace_rpc_refused_total",
    help: "Connections and calls refused or ended, by the limit that they broke.",
    labels: ["listener", "limit"],
  });
  return (listener) => ({
    observer: { onRefused: (limit) => refused.add(1, { listener, limit }) },
    watch: (gauges) => {
      metrics.onCollect(() => {
        const now = gauges();
        connections.set(now.connections, { listener });
        streams.set(now.streams, { listener });
        buffered.set(now.bufferedBytes, { listener });
        connectionsMax.set(now.limits.connectionsMax, { listener });
        streamsMax.set(now.limits.streamsMax, { listener });
        bufferedMax.set(now.limits.bufferedBytesMax, { listener });
        delayMax.set(now.limits.eventLoopDelayMaxMs / 1000, { listener });
        delay.set(now.eventLoopDelayMs / 1000, { listener });
        pressed.set(now.underPressure ? 1 : 0, { listener });
      });
    },
  });
};

const controllerMetrics = (metrics: Metrics): ControllerMetrics => {
  const active = metrics.gauge({
    name: "millrace_controller_active_count",
    help: "1 while this is the active controller.",
  });
  const counter = (name: string, help: string) =>
    metrics.counter({ name: `millrace_controller_${name}_total`, help });
  const reigns = counter("reigns", "Elections of this controller.");
  const changes = counter("changes", "Metadata records changed or removed by the control loop.");
  const elections = counter(
    "leader_elections",
    "Partitions that got another leader, another leader epoch, or lost their leader.",
  );
  const conflicts = counter(
    "conflicts",
    "Changes that were decided anew because their record had changed meanwhile.",
  );
  const failures = counter("failures", "Rounds of the control loop that failed and were repeated.");
  return {
    onReign: (isActive) => {
      active.set(isActive ? 1 : 0);
      if (isActive) reigns.add(1);
    },
    onChanges: (changed, elected) => {
      changes.add(changed);
      elections.add(elected);
    },
    onConflict: () => conflicts.add(1),
    onFailure: () => failures.add(1),
  };
};

/** All metrics of a server, registered. */
export const serverMetrics = (droppedLogLines: () => number = () => 0): ServerMetrics => {
  const metrics = new Metrics();
  const dropped = metrics.counter({
    name: "millrace_process_log_lines_dropped_total",
    help: "Log lines that were dropped because they were not read in time.",
  });
  let droppedBefore = 0;
  metrics.onCollect(() => {
    const now = droppedLogLines();
    dropped.add(now - droppedBefore);
    droppedBefore = now;
  });
  const http = metrics.counter({
    name: "millrace_http_refused_total",
    help: "Connections to the HTTP port that were closed because too many were open.",
  });
  return {
    registry: metrics,
    broker: brokerMetrics(metrics),
    controller: controllerMetrics(metrics),
    log: logMetrics(metrics),
    calls: callMetrics(metrics),
    listener: listenerMetrics(metrics),
    onHttpRefused: () => http.add(1),
    watchLogs: logGauges(metrics),
  };
};
