import assert from "node:assert/strict";
import { test } from "node:test";
import { manualClock } from "@millrace/env/testing";
import { Metrics } from "@millrace/observability";
import { promlint } from "@millrace/observability/testing";
import { ApiError, type KubernetesApi, type ResourceType } from "../kubernetes.ts";
import { measured } from "../measured.ts";
import { noRuntimeMetrics } from "../metrics.ts";
import { runtimeMetrics } from "./metrics.ts";

const things: ResourceType = {
  ...{ group: "", version: "v1", kind: "Thing", plural: "things", namespaced: true },
};

test("every count is on the page, by names and labels that Prometheus likes", async () => {
  const registry = new Metrics();
  const metrics = runtimeMetrics(registry);
  metrics.onQueue("broker", 1, 2, 3);
  metrics.onRetry("broker");
  metrics.onOverflow("broker");
  metrics.onReconcile("broker", "failed", 1500);
  metrics.onOverdue("broker");
  metrics.onWatchRestart("Broker", "expired");
  metrics.onCache("Broker", 7, 2000);
  metrics.onHandlerError("Broker");
  metrics.onRequest("get", "Broker", "409", 20);
  metrics.onRequest("watch", "Broker", "2xx", 300_000);
  metrics.onLeader(true);
  metrics.onEventDropped();
  const { body } = await registry.render("");
  for (const line of [
    'queue_keys{controller="broker",state="ready"} 1',
    'queue_keys{controller="broker",state="delayed"} 2',
    'queue_keys{controller="broker",state="active"} 3',
    'queue_retries_total{controller="broker"} 1',
    'queue_refused_total{controller="broker"} 1',
    'reconcile_seconds_sum{controller="broker"} 1.5',
    'reconciles_total{controller="broker",result="failed"} 1',
    'reconciles_overdue_total{controller="broker"} 1',
    'watch_restarts_total{kind="Broker",reason="expired"} 1',
    'cache_objects{kind="Broker"} 7',
    'cache_stale_seconds{kind="Broker"} 2',
    'handler_errors_total{kind="Broker"} 1',
    'api_requests_total{verb="get",kind="Broker",status="409"} 1',
    'api_request_seconds_count{verb="get"} 1',
    "leader 1",
    "events_dropped_total 1",
  ]) {
    assert.ok(body.includes(`millrace_operator_${line}\n`), line);
  }
  assert.ok(!body.includes('api_request_seconds_count{verb="watch"}'));
  assert.deepEqual(promlint(body), []);
});

test("requests are counted by what became of them", async () => {
  const counted: string[] = [];
  const metrics = {
    ...noRuntimeMetrics,
    onRequest: (verb: string, kind: string, status: string) =>
      void counted.push(`${verb} ${kind} ${status}`),
  };
  const refusing: Partial<KubernetesApi> = {
    get: () => Promise.resolve(undefined),
    list: () => Promise.reject(new ApiError("gone", { status: 410 })),
    delete: () => Promise.reject(new ApiError("no answer", { status: 0 })),
    // biome-ignore lint/correctness/useYield: it breaks before its first event
    watch: async function* () {
      throw new ApiError("broken", { status: 500 });
    },
  };
  const api = measured(refusing as KubernetesApi, manualClock().clock, metrics);
  const key = { namespace: "n", name: "a" };
  await api.get(things, key);
  await assert.rejects(api.list(things, {}));
  await assert.rejects(api.delete(things, key, { uid: "u" }));
  const options = { resourceVersion: "1", timeoutSeconds: 1 };
  await assert.rejects(async () => {
    for await (const _event of api.watch(things, options, new AbortController().signal));
  });
  assert.deepEqual(counted, [
    "get Thing 2xx",
    "list Thing 410",
    "delete Thing none",
    "watch Thing 500",
  ]);
});
