/** What the runtime counts, in the registry of its process. Labels are kinds and controllers. */
import { latencyBuckets, type Metrics } from "@millrace/observability";
import type { RuntimeMetrics } from "../metrics.ts";

/** Upper bounds of what takes as long as others let it, seconds. */
const reconcileBuckets = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120];

const queueMetrics = (metrics: Metrics) => {
  const keys = metrics.gauge({
    name: "millrace_operator_queue_keys",
    help: "Objects that are due, that wait for a time, and that are reconciled.",
    labels: ["controller", "state"],
  });
  const retries = metrics.counter({
    name: "millrace_operator_queue_retries_total",
    help: "Objects that were put off because their reconcile had failed.",
    labels: ["controller"],
  });
  const overflows = metrics.counter({
    name: "millrace_operator_queue_refused_total",
    help: "Objects that a full queue refused; it looks at all of them when it has room.",
    labels: ["controller"],
  });
  return {
    onQueue: (controller: string, ready: number, delayed: number, active: number): void => {
      keys.set(ready, { controller, state: "ready" });
      keys.set(delayed, { controller, state: "delayed" });
      keys.set(active, { controller, state: "active" });
    },
    onRetry: (controller: string) => retries.add(1, { controller }),
    onOverflow: (controller: string) => overflows.add(1, { controller }),
  };
};

const reconcileMetrics = (metrics: Metrics) => {
  const seconds = metrics.histogram({
    name: "millrace_operator_reconcile_seconds",
    help: "How long reconciles took.",
    labels: ["controller"],
    buckets: reconcileBuckets,
  });
  const reconciles = metrics.counter({
    name: "millrace_operator_reconciles_total",
    help: "Reconciles, by how they ended.",
    labels: ["controller", "result"],
  });
  const overdue = metrics.counter({
    name: "millrace_operator_reconciles_overdue_total",
    help: "Reconciles that went on beyond their deadline.",
    labels: ["controller"],
  });
  return {
    onReconcile: (controller: string, result: string, durationMs: number): void => {
      seconds.observe(durationMs / 1000, { controller });
      reconciles.add(1, { controller, result });
    },
    onOverdue: (controller: string) => overdue.add(1, { controller }),
  };
};

const informerMetrics = (metrics: Metrics) => {
  const restarts = metrics.counter({
    name: "millrace_operator_watch_restarts_total",
    help: "Watches that began anew, by reason.",
    labels: ["kind", "reason"],
  });
  const objects = metrics.gauge({
    name: "millrace_operator_cache_objects",
    help: "Objects in the cache of a kind.",
    labels: ["kind"],
  });
  const stale = metrics.gauge({
    name: "millrace_operator_cache_stale_seconds",
    help: "For how long the API server has said nothing about a kind.",
    labels: ["kind"],
  });
  const errors = metrics.counter({
    name: "millrace_operator_handler_errors_total",
    help: "Changes of objects that a part of the operator could not take in: a bug.",
    labels: ["kind"],
  });
  return {
    onWatchRestart: (kind: string, reason: string) => restarts.add(1, { kind, reason }),
    onCache: (kind: string, count: number, staleMs: number): void => {
      objects.set(count, { kind });
      stale.set(staleMs / 1000, { kind });
    },
    onHandlerError: (kind: string) => errors.add(1, { kind }),
  };
};

const requestMetrics = (metrics: Metrics) => {
  const seconds = metrics.histogram({
    name: "millrace_operator_api_request_seconds",
    help: "How long requests to the API server took, watches left out.",
    labels: ["verb"],
    buckets: latencyBuckets,
  });
  const requests = metrics.counter({
    name: "millrace_operator_api_requests_total",
    help: "Requests to the API server, by their status; none where there was no answer.",
    labels: ["verb", "kind", "status"],
  });
  return {
    onRequest: (verb: string, kind: string, status: string, durationMs: number): void => {
      requests.add(1, { verb, kind, status });
      if (verb !== "watch") seconds.observe(durationMs / 1000, { verb });
    },
  };
};

export const runtimeMetrics = (metrics: Metrics): RuntimeMetrics => {
  const leader = metrics.gauge({
    name: "millrace_operator_leader",
    help: "1 while this operator leads.",
  });
  const dropped = metrics.counter({
    name: "millrace_operator_events_dropped_total",
    help: "Events that were not written: too many at once, or refused by the API server.",
  });
  leader.set(0);
  return {
    ...queueMetrics(metrics),
    ...reconcileMetrics(metrics),
    ...informerMetrics(metrics),
    ...requestMetrics(metrics),
    onLeader: (isLeader) => leader.set(isLeader ? 1 : 0),
    onEventDropped: () => dropped.add(1),
  };
};
