import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { createLogger, Metrics, serveHttp } from "./index.ts";

test("log lines are JSON, with codes, without secrets", async () => {
  const destination = new PassThrough();
  const logger = createLogger({ format: "json", level: "info", service: "test", destination });
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

test("metrics and endpoints", async () => {
  const metrics = new Metrics();
  const counter = metrics.counter({
    name: "millrace_test_things_total",
    help: "Things.",
    labels: ["kind"],
  });
  counter.add(2, { kind: "a" });
  assert.throws(() => metrics.gauge({ name: "wrong", help: "" }), /metric name/);
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
  await http.close();
});
