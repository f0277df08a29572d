import assert from "node:assert/strict";
import { test } from "node:test";
import { promlint } from "@millrace/observability/testing";
import { controllerServerMetrics } from "./metrics.ts";

test("Prometheus has nothing against the page of a controller", async () => {
  const metrics = controllerServerMetrics();
  metrics.controller.onReign(true);
  metrics.metadata.resumed?.("lost");
  metrics.listener("client").observer.onRefused?.("streams");
  metrics.onBuild({ version: "1", commit: "c" });
  const { body } = await metrics.registry.render("");
  assert.match(body, /^millrace_controller_active 1$/m);
  assert.deepEqual(promlint(body), []);
});
