/** What every server counts, by the names of `docs/reference/metrics.md`. */
import type { MirrorObserver } from "@millrace/metadata";
import { Metrics } from "@millrace/observability";
import type { AdmissionGauges, AdmissionObserver, CallObserver } from "@millrace/rpc/grpc";
import type { Build } from "./build.ts";

/** Metrics of one listener's admission: refusals are counted, usage is read at every scrape. */
export interface ListenerMetrics {
  readonly observer: AdmissionObserver;
  readonly watch: (gauges: () => AdmissionGauges) => void;
}

/** Of any process. */
export interface ProcessMetrics {
  readonly registry: Metrics;
  /** What runs here, once that is known. */
  onBuild(build: Build): void;
  /** A connection to the HTTP port was refused. */
  onHttpRefused(): void;
}

export interface ServerMetrics extends ProcessMetrics {
  readonly calls: CallObserver;
  readonly metadata: MirrorObserver;
  /** Metrics of the listener with this name. */
  listener(name: string): ListenerMetrics;
}

const callMetrics = (metrics: Metrics): CallObserver => {
  const calls = metrics.counter({
    name: "millrace_rpc_calls_total",
    help: "Calls that have ended, by method and error code.",
    labels: ["method", "code"],
  });
  const open = metrics.gauge({ name: "millrace_rpc_open_calls", help: "Calls under way." });
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

const mirrorMetrics = (metrics: Metrics): MirrorObserver => {
  const counter = (what: string, help: string, labels: readonly string[] = []) =>
    metrics.counter({ name: `millrace_metadata_${what}_total`, help, labels });
  const listings = counter("listings", "Listings of all metadata.");
  const resumed = counter("watches_resumed", "Watches that ended, by reason.", ["reason"]);
  const missed = counter("missed_changes", "Changes that a watch has lost: must stay 0.");
  const resets = counter("resets", "Stores that were restored: everything was read anew.");
  const refused = counter(
    "refused_reads",
    "Reads that found another cluster's metadata, or none: nothing of it was taken up.",
  );
  return {
    listed: () => listings.add(1),
    resumed: (reason) => resumed.add(1, { reason }),
    missed: (changes) => missed.add(changes),
    reset: () => resets.add(1),
    refused: () => refused.add(1),
  };
};

const listenerMetrics = (metrics: Metrics): ((listener: string) => ListenerMetrics) => {
  const gauge = (what: string, help: string) =>
    metrics.gauge({ name: `millrace_rpc_${what}`, help, labels: ["listener"] });
  const connections = gauge("connections", "Open connections.");
  const connectionsMax = gauge("connections_limit", "Bound of open connections.");
  const streams = gauge("streams", "Open calls of all connections.");
  const streamsMax = gauge("streams_limit", "Bound of open calls.");
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
    "under_pressure",
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

/** The metrics of any process, registered. */
export const processMetrics = (droppedLogLines: () => number = () => 0): ProcessMetrics => {
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
  const build = metrics.gauge({
    name: "millrace_build_info",
    help: "1: the labels say what runs here.",
    labels: ["version", "commit", "node"],
  });
  return {
    registry: metrics,
    onBuild: ({ version, commit }) =>
      build.set(1, { version, commit, node: process.versions.node }),
    onHttpRefused: () => http.add(1),
  };
};

/** The metrics of any server, registered. */
export const serverMetrics = (droppedLogLines?: () => number): ServerMetrics => {
  const base = processMetrics(droppedLogLines);
  const { registry } = base;
  return {
    ...base,
    calls: callMetrics(registry),
    metadata: mirrorMetrics(registry),
    listener: listenerMetrics(registry),
  };
};
