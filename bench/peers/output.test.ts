import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCleaner, parseEndToEnd, parseNats, parseProducer } from "./output.ts";

test("Kafka's producer: the last summary counts, not that with the warm-up", () => {
  const line = (rate: string, p50: number) =>
    `600000 records sent, ${rate} records/sec (42.42 MB/sec), 301.22 ms avg latency, ` +
    `702.00 ms max latency, ${p50} ms 50th, 510 ms 95th, 621 ms 99th, 690 ms 99.9th.`;
  assert.deepEqual(parseProducer(`${line("30000.1", 9)}\n${line("43437.5", 288)}\n`), {
    ...{ recordsPerSecond: 43437.5, ackp50Ms: 288, ackp99Ms: 621, ackp999Ms: 690 },
  });
});

test("Kafka's end-to-end tool", () => {
  const output = "Avg latency: 3.4012 ms\n\nPercentiles: 50th = 3, 99th = 15, 99.9th = 40\n";
  assert.deepEqual(parseEndToEnd(output), { meanMs: 3.4012, p50Ms: 3, p99Ms: 15, p999Ms: 40 });
});

test("nats bench: clients are summed, and units differ by line", () => {
  const output = `
[1] JS pub stats: 1,702 msgs/sec ~ 1.7 MiB/sec ~ 587.26us (313 msgs)
JS pub sync aggregated stats: 3,402 msgs/sec ~ 3.3 MiB/sec
 P50: 892.00us
 P99: 4.10ms
 P99.9: 1.02s
`;
  const expected = { recordsPerSecond: 3402, p50Ms: 0.892, p99Ms: 4.1, p999Ms: 1020 };
  const found = parseNats(output);
  for (const [name, value] of Object.entries(expected)) {
    assert.ok(Math.abs((found[name] ?? 0) - value) < 1e-9, `${name}: ${found[name]}`);
  }
});

test("percentiles that a tool does not tell are no number; no rate at all is an error", () => {
  const output = "JS pub async stats: 38,122 msgs/sec ~ 37 MiB/sec ~ 26us";
  assert.equal(parseNats(output)["p99Ms"], Number.NaN);
  assert.throws(() => parseNats("connection refused"), /nats bench said connection refused/);
  assert.throws(() => parseProducer("timed out"), /kafka producer said timed out/);
  assert.throws(() => parseEndToEnd("timed out"), /kafka end-to-end said timed out/);
});

test("Kafka's cleaner: what it said of the partition, once it did", () => {
  const log = `Log cleaner thread 0 cleaned log other-0 (dirty section = [0, 5])
\t1.0 MB of log processed in 9.0 seconds (0.1 MB/sec).
\tLog cleaner thread 0 cleaned log keyed-0 (dirty section = [0, 12582912])
\t10,240.5 MB of log processed in 62.3 seconds (164.3 MB/sec).
\tIndexed 10,240.5 MB in 30.0 seconds (341.3 Mb/sec, 48.2% of total time)
`;
  assert.deepEqual(parseCleaner(log, "keyed-0"), { cleanedMiB: 10240.5, cleanSeconds: 62.3 });
  assert.equal(parseCleaner(log, "keyed"), undefined);
  assert.equal(parseCleaner("", "keyed-0"), undefined);
});
