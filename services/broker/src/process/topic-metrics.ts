/** The series of topics and partitions, by the names of `docs/reference/metrics.md`. */
import type { LogManager } from "@millrace/log";
import type { Metrics, Sample } from "@millrace/observability";
import { type Series, TopicMeters, type TopicMetersOptions, type Totals } from "../topic-meters.ts";

interface Shown {
  readonly type: "counter" | "gauge";
  readonly service: "broker" | "log";
  readonly what: string;
  readonly help: string;
  readonly value: (totals: Totals) => number;
}

const shown: readonly Shown[] = [
  {
    ...{ type: "counter", service: "broker", what: "produce_bytes_total" },
    help: "Batch bytes that clients have appended",
    value: (totals) => totals.producedBytes,
  },
  {
    ...{ type: "counter", service: "broker", what: "produce_records_total" },
    help: "Records that clients have appended",
    value: (totals) => totals.producedRecords,
  },
  {
    ...{ type: "counter", service: "broker", what: "fetch_bytes_total" },
    help: "Batch bytes sent to clients",
    value: (totals) => totals.fetchedBytes,
  },
  {
    ...{ type: "counter", service: "broker", what: "fetch_records_total" },
    help: "Records sent to clients, by their offsets",
    value: (totals) => totals.fetchedRecords,
  },
  {
    ...{ type: "counter", service: "broker", what: "errors_total" },
    help: "Produce requests, fetches and cursors of clients that failed",
    value: (totals) => totals.errors,
  },
  {
    ...{ type: "gauge", service: "log", what: "size_bytes" },
    help: "Bytes of all segments on this broker",
    value: (totals) => totals.sizeBytes,
  },
];

function* samples(series: Iterable<Series>, value: Shown["value"]): Generator<Sample> {
  for (const { topic, partition, totals } of series) {
    const labels = partition === undefined ? { topic } : { topic, partition };
    yield { labels, value: value(totals) };
  }
}

/** Meters whose totals are read at every scrape, and how they learn of the logs. */
export const topicMetrics = (
  metrics: Metrics,
  options: TopicMetersOptions,
): { readonly meters: TopicMeters; readonly watchLogs: (logs: LogManager) => void } => {
  const meters = new TopicMeters(options);
  let logs: LogManager | undefined;
  // Before the sizes are read.
  metrics.onCollect(() => {
    if (logs !== undefined) meters.measure(logs);
  });
  for (const { type, service, what, help, value } of shown) {
    metrics.collected(
      {
        ...{ type, name: `millrace_${service}_topic_${what}`, labels: ["topic"] },
        help: `${help}, by topic.`,
      },
      () => samples(meters.topics(), value),
    );
    metrics.collected(
      {
        ...{ type, name: `millrace_${service}_partition_${what}`, labels: ["topic", "partition"] },
        help: `${help}, by partition; see --metrics-partitions-max.`,
      },
      () => samples(meters.partitions(), value),
    );
  }
  return {
    meters,
    watchLogs: (opened) => {
      logs = opened;
    },
  };
};
