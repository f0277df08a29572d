import assert from "node:assert/strict";
import { PassThrough, Writable } from "node:stream";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { createLogger, logQueueBytesMax, Metrics, serveHttp, streamOutput } from "./index.ts";
import { promlint } from "./testing/index.ts";

test("log lines are JSON, with codes, without secrets", async () => {
  const destination = new PassThrough();
  const output = streamOutput(destination);
  const logger = createLogger({ format: "json", level: "info", service: "test", output });
  const err = new MillraceError(ErrorCode.DISK_FULL, "full: free some");
  logger.child({ topic: "t" }).warn({ err, offset: 5n, auth: { password: "p" } }, "hello");
  logger.debug({}, "not shown");
  const line = JSON.parse(String(destination.read()));
  assert.equal(line.level, "warn");
  assert.equal(line.service, "test");
  assert.equal(line.topic, "t");
  assert.deepEqual(line.err, { code: "DISK_FULL", message: "full: free some" });
  assert.equal(line.offset, "5");
  assert.equal(line.auth.password, "[redacted]");
  assert.equal(destination.read(), null);
});

test("fields of log lines are snake_case, and measured times have no more digits than anyone reads", () => {
  const destination = new PassThrough();
  const output = streamOutput(destination);
  const logger = createLogger({ format: "json", level: "info", service: "test", output });
  logger.child({ brokerId: 7 }).info({ durationMs: 12.345678901, leader_epoch: 3 }, "hello");
  const { broker_id, duration_ms, leader_epoch, ...rest } = JSON.parse(String(destination.read()));
  assert.deepEqual([broker_id, duration_ms, leader_epoch], [7, 12.346, 3]);
  assert.deepEqual(Object.keys(rest).sort(), ["level", "msg", "service", "time"]);
});

test("a reader that does not read costs lines, and is told how many; one that is gone costs the rest", async () => {
  const taken: string[] = [];
  let resume: () => void = () => {};
  const target = new Writable({
    decodeStrings: false,
    write: (chunk: string, _encoding, done) => {
      taken.push(chunk);
      resume = done;
    },
  });
  const output = streamOutput(target);
  const line = `${"x".repeat(logQueueBytesMax / 4)}\n`;
  for (let i = 0; i < 10; i += 1) output.write(line);
  assert.equal(output.droppedLines, 7);
  assert.ok(target.writableLength <= logQueueBytesMax);
  await output.flush(20);
  for (let i = 0; i < 4; i += 1) {
    resume();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(taken.length, 4);
  const notice = JSON.parse(taken.at(-1) ?? "");
  assert.deepEqual([notice.level, notice.lines], ["warn", 7]);
  target.destroy(Object.assign(new Error("EPIPE"), { code: "EPIPE" }));
  await new Promise((resolve) => setImmediate(resolve));
  output.write(line);
  output.write(line);
  assert.equal(output.droppedLines, 9);
  await output.flush(60_000);
});

test("a name that Prometheus would not like is refused", () => {
  const metrics = new Metrics();
  const help = "What.";
  for (const name of ["wrong", "millrace_Upper", "millrace_a__b", "millrace_a_"]) {
    assert.throws(() => metrics.gauge({ name, help }), /metric name/, name);
  }
  for (const suffix of ["count", "sum", "bucket"]) {
    const name = `millrace_test_things_${suffix}`;
    assert.throws(() => metrics.gauge({ name, help }), /suffix of its own/);
    assert.throws(() => metrics.histogram({ name, help, buckets: [1] }), /suffix of its own/);
  }
  const total = "millrace_test_things_total";
  assert.throws(() => metrics.gauge({ name: total, help }), /ends in _total if it counts/);
  assert.throws(() => metrics.counter({ name: "millrace_test_things", help }), /ends in _total/);
  assert.throws(() => metrics.counter({ name: total, help: "" }), /has a help text/);
  const labels = ["quantile"];
  assert.throws(() => metrics.counter({ name: total, help, labels }), /not quantile/);
});

test("metrics that are read at a scrape are what is read then, and no more", async () => {
  const metrics = new Metrics();
  let samples = [
    { labels: { topic: "a" }, value: 5 },
    { labels: { topic: "b" }, value: 7 },
  ];
  const shared = { help: "What.", labels: ["topic"] };
  const total = { name: "millrace_test_things_total", type: "counter", ...shared } as const;
  metrics.collected(total, () => samples);
  metrics.collected({ name: "millrace_test_size", type: "gauge", ...shared }, () => samples);
  const read = async (): Promise<string[]> => {
    const { body } = await metrics.render("");
    return body.split("\n").filter((line) => line.startsWith("millrace_test_"));
  };
  assert.deepEqual(await read(), [
    'millrace_test_things_total{topic="a"} 5',
    'millrace_test_things_total{topic="b"} 7',
    'millrace_test_size{topic="a"} 5',
    'millrace_test_size{topic="b"} 7',
  ]);
  samples = [{ labels: { topic: "b" }, value: 8 }];
  assert.deepEqual(await read(), [
    'millrace_test_things_total{topic="b"} 8',
    'millrace_test_size{topic="b"} 8',
  ]);
});

test("a scraper that takes OpenMetrics changes nothing for the others", async () => {
  const metrics = new Metrics();
  metrics.counter({ name: "millrace_test_things_total", help: "Things." }).add(2);
  const text = "# TYPE millrace_test_things_total counter\nmillrace_test_things_total 2\n";
  const open = "# TYPE millrace_test_things counter\nmillrace_test_things_total 2\n";
  for (let i = 0; i < 2; i += 1) {
    const plain = await metrics.render("text/plain");
    assert.ok(plain.body.includes(text));
    assert.match(plain.contentType, /^text\/plain; version=0\.0\.4/);
    const other = await metrics.render("application/openmetrics-text; version=1.0.0");
    assert.ok(other.body.includes(open));
    assert.match(other.contentType, /^application\/openmetrics-text; version=1\.0\.0/);
    assert.match(other.body, /\S\n# EOF\n$/);
    assert.doesNotMatch(other.body, /\n\n/);
  }
});

test("metrics and endpoints", async () => {
  const metrics = new Metrics();
  const counter = metrics.counter({
    name: "millrace_test_things_total",
    help: "Things.",
    labels: ["kind"],
  });
  counter.add(2, { kind: "a" });
  let ready = false;
  const http = await serveHttp({
    host: "127.0.0.1",
    port: 0,
    metrics,
    ready: () => ({ ready, reasons: ready ? [] : ["starting"] }),
    configz: () => ({ a: 1 }),
    logger: silentLogger,
  });
  const get = (path: string, accept = "") =>
    fetch(`http://${http.endpoint}${path}`, { headers: { accept } });
  const text = await (await get("/metrics")).text();
  assert.match(text, /millrace_test_things_total\{kind="a"\} 2/);
  assert.match(text, /millrace_process_event_loop_delay_seconds/);
  assert.deepEqual(promlint(text), []);
  const open = await get("/metrics", "application/openmetrics-text");
  assert.match(await open.text(), /# EOF/);
  assert.equal((await get("/livez")).status, 200);
  const notReady = await get("/readyz");
  assert.equal(notReady.status, 503);
  assert.deepEqual(((await notReady.json()) as { reasons: string[] }).reasons, ["starting"]);
  ready = true;
  assert.equal((await get("/readyz")).status, 200);
  assert.deepEqual(await (await get("/configz")).json(), { a: 1 });
  assert.equal((await get("/nothing")).status, 404);
  assert.equal((await fetch(`http://${http.endpoint}/`, { method: "POST" })).status, 405);
  // What Node emits when a connection cannot be accepted, for want of a file descriptor.
  const failed = Object.assign(new Error("accept EMFILE"), { code: "EMFILE" });
  for (let i = 0; i < 3; i += 1) http.server.emit("error", failed);
  assert.equal((await get("/livez")).status, 200);
  await http.close();
});
