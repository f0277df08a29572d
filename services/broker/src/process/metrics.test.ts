import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { LogGauges, LogManager, PartitionLog } from "@millrace/log";
import { familiesOf, promlint } from "@millrace/observability/testing";
import { topicIdOf } from "@millrace/record";
import { brokerServerMetrics } from "./metrics.ts";

const idOf = (index: number) => {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setUint32(0, index);
  return topicIdOf(bytes);
};

const gauges: LogGauges = {
  ...{ journalBytesUsed: 1, journalBytesMax: 1, tailCacheBytes: 1, tailCacheBytesMax: 1 },
  ...{ pendingBytes: 1, pendingBytesMax: 1, unwrittenBytes: 1, unwrittenBytesMax: 1 },
  ...{ cleanerDirtyRatioMax: 0.25, cleanerMapUsed: 0.5, cleanerFailedLogs: 0 },
  ...{ producers: 1, producersMax: 1, openFiles: 1, openFilesMax: 1 },
  ...{ indexCacheBytes: 1, indexCacheBytesMax: 1, diskFreeBytes: 1, diskReserveBytes: 1 },
};

/** Logs of `count` topics with one partition each, of 10 bytes. */
const logsOf = (count: number): LogManager => {
  const logs = Array.from({ length: count }, (_, index) => ({
    ...{ topicId: idOf(index), topic: `topic-${index}`, partition: 0, sizeBytes: 10 },
    ...{ state: { kind: "online" }, segmentCount: 1, logEndOffset: 5, highWatermark: 3 },
  }));
  const manager: Pick<LogManager, "gauges" | "partitions"> = {
    gauges: () => gauges,
    partitions: () => logs as unknown as PartitionLog[],
  };
  return manager as LogManager;
};

const pageOf = async (metrics: ReturnType<typeof brokerServerMetrics>): Promise<string> =>
  (await metrics.registry.render("")).body;

test("Prometheus has nothing against the page of a broker", async () => {
  const metrics = brokerServerMetrics({ "metrics-topics-max": 1, "metrics-partitions-max": 1 });
  metrics.watchLogs(logsOf(2));
  for (let i = 0; i < 2; i += 1) {
    const meter = metrics.broker.meterOf(idOf(i), `topic-${i}`, 0);
    meter.onAppend(1, 1);
  }
  metrics.broker.onProduce(3, new MillraceError(ErrorCode.DISK_FULL, "full"));
  metrics.calls.onCallEnd?.({ path: "/a/b", code: "OK", bytesIn: 1, bytesOut: 1, durationMs: 1 });
  metrics.listener("client").observer.onRefused?.("streams");
  metrics.onBuild({ version: "1", commit: "c" });
  const page = await pageOf(metrics);
  assert.deepEqual(promlint(page), []);
  const described = metrics.registry.describe().map(({ name }) => name);
  const families = familiesOf(page);
  assert.deepEqual(
    described.filter((name) => !families.has(name)),
    [],
  );
  const node = process.versions.node.replaceAll(".", "\\.");
  const build = `^millrace_build_info\\{version="1",commit="c",node="${node}"\\} 1$`;
  assert.match(page, new RegExp(build, "m"));
});

test("what clients do with a topic is on the page, and what the log has of it", async () => {
  const metrics = brokerServerMetrics({ "metrics-topics-max": 1, "metrics-partitions-max": 1 });
  metrics.watchLogs(logsOf(2));
  const [first, second] = [0, 1].map((i) => metrics.broker.meterOf(idOf(i), `topic-${i}`, 0));
  first?.onAppend(2, 300);
  first?.onFetch(4, 500);
  first?.onError();
  second?.onAppend(6, 700);
  const page = await pageOf(metrics);
  for (const line of [
    'millrace_broker_topic_produce_records_total{topic="topic-0"} 2',
    'millrace_broker_topic_produce_bytes_total{topic="topic-0"} 300',
    'millrace_broker_topic_fetch_records_total{topic="topic-0"} 4',
    'millrace_broker_topic_fetch_bytes_total{topic="topic-0"} 500',
    'millrace_broker_topic_errors_total{topic="topic-0"} 1',
    'millrace_log_topic_size_bytes{topic="topic-0"} 10',
    'millrace_broker_topic_produce_bytes_total{topic="other"} 700',
    'millrace_broker_partition_produce_bytes_total{topic="topic-0",partition="0"} 300',
    'millrace_broker_partition_produce_bytes_total{topic="other",partition="other"} 700',
    'millrace_log_partition_size_bytes{topic="other",partition="other"} 10',
  ]) {
    assert.ok(page.includes(`\n${line}\n`), line);
  }
});

test("ten thousand topics make no long page, and no slow one", async (context) => {
  const metrics = brokerServerMetrics();
  const count = 10_000;
  metrics.watchLogs(logsOf(count));
  const meters = Array.from({ length: count }, (_, i) =>
    metrics.broker.meterOf(idOf(i), `topic-${i}`, 0),
  );
  for (const meter of meters) meter.onAppend(1, 100);
  await pageOf(metrics);
  const startedMs = performance.now();
  const page = await pageOf(metrics);
  const ms = performance.now() - startedMs;
  context.diagnostic(`${page.length} bytes in ${ms.toFixed(1)} ms`);
  assert.ok(page.length < 120_000, `${page.length} bytes`);
  assert.ok(ms < 500, `${ms} ms`);
  assert.match(page, /^millrace_broker_topic_produce_bytes_total\{topic="other"\} 990000$/m);
  assert.match(page, /^millrace_log_topic_size_bytes\{topic="other"\} 99000$/m);
  assert.doesNotMatch(page, /partition="/);
  // A topic that is deleted makes room.
  assert.doesNotMatch(page, /topic="topic-100"/);
  meters[0]?.close();
  const after = await pageOf(metrics);
  assert.doesNotMatch(after, /topic="topic-0"/);
  assert.match(after, /topic="topic-100"/);
});
