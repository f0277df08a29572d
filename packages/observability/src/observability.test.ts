import assert from "node:assert/strict";
import { PassThrough, Writable } from "node:stream";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { createLogger, logQueueBytesMax, Metrics, serveHttp, streamOutput } from "./index.ts";

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

test("metrics and endpoints", async () => {
  const metrics = new Metrics();
  const counter = metrics.counter({
    name: "millrace_test_things_total",
    help: "Things.",
    labels: ["kind"],
  });
  counter.add(2, { kind: "a" });
  assert.throws(() => metrics.gauge({ name: "wrong", help: "" }), /metric name/);
  const twice = { name: "millrace_test_batches_count", help: "", buckets: [1] };
  assert.throws(() => metrics.histogram(twice), /suffix of its own/);
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
