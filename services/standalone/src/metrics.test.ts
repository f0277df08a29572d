import assert from "node:assert/strict";
import { test } from "node:test";
import { familiesOf, promlint } from "@millrace/observability/testing";
import { serverMetrics } from "./metrics.ts";

test("Prometheus has nothing against the page of a standalone server, and it has everything", async () => {
  const metrics = serverMetrics();
  const { body } = await metrics.registry.render("");
  assert.deepEqual(promlint(body), []);
  const services = new Set([...familiesOf(body).keys()].map((name) => name.split("_")[1]));
  for (const service of ["broker", "controller", "log", "metadata", "rpc", "build", "process"]) {
    assert.ok(services.has(service), service);
  }
});
