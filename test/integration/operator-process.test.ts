/** The operator as a process, between an API server and a real cluster. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Client, connect } from "@millrace/client";
import { type Cluster, resourceTypes, type Topic } from "../../operator/src/api/index.ts";
import { claimType, podType, serviceType } from "../../operator/src/reconcile/broker/kinds.ts";
import { eventType } from "../../operator/src/runtime/events.ts";
import type { ResourceType } from "../../operator/src/runtime/kubernetes.ts";
import { leaseType } from "../../operator/src/runtime/leader.ts";
import { FakeApiHttp } from "../../operator/src/runtime/testing/fake-api/http.ts";
import { FakeServer } from "../../operator/src/runtime/testing/fake-api/server.ts";
import { ServerProcess, withDirectory } from "./server.ts";

const main = fileURLToPath(new URL("../../operator/src/main.ts", import.meta.url));
const token = "a-token-that-nobody-may-read";
const lease = { namespace: "default", name: "millrace-operator" };
const keyOf = (name: string) => ({ namespace: "events", name });
const deadlineMs = 30_000;

const until = async (what: string, isSo: () => boolean | Promise<boolean>): Promise<void> => {
  const endMs = performance.now() + deadlineMs;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${deadlineMs} ms`);
    await sleep(50);
  }
};

/** Killed at the end, whatever came of the test. */
const running = new Set<Operator>();
afterEach(async () => {
  for (const operator of running) await operator.end("SIGKILL");
});

class Operator {
  readonly #child: ChildProcess;
  /** Everything that it printed. */
  output = "";

  constructor(kubeconfig: string) {
    running.add(this);
    const args = ["--kubeconfig", kubeconfig, "--http-listen", "127.0.0.1:0"];
    this.#child = spawn(process.execPath, [main, ...args, "--log-level", "debug"]);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    }
  }

  async ask(path: string): Promise<{ status: number; body: string }> {
    const ready = /operator is ready after [0-9.]+ s: http (\S+)/;
    await until(`ready: ${this.output}`, () => ready.test(this.output));
    const answer = await fetch(`http://${ready.exec(this.output)?.[1]}${path}`);
    return { status: answer.status, body: await answer.text() };
  }

  async isLeading(): Promise<boolean> {
    return /^millrace_operator_leader 1$/m.test((await this.ask("/metrics")).body);
  }

  async end(signal?: NodeJS.Signals): Promise<number | null> {
    running.delete(this);
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return exitCode;
    const ended = once(this.#child, "exit");
    if (signal !== undefined) this.#child.kill(signal);
    return (await ended)[0];
  }
}

const startApi = async (directory: string) => {
  const fake = new FakeServer(Date.now, (run) => void setTimeout(run, 1));
  const { Broker, BrokerPool, Cluster, Topic } = resourceTypes;
  const own = [Cluster, BrokerPool, Broker, Topic, podType, claimType, serviceType];
  const types: readonly ResourceType[] = [...own, leaseType, eventType];
  const http = new FakeApiHttp(fake, types);
  const kubeconfig = join(directory, "kubeconfig");
  const config = {
    ...{ apiVersion: "v1", kind: "Config", "current-context": "x" },
    clusters: [
      { name: "c", cluster: { server: await http.listen(), "insecure-skip-tls-verify": true } },
    ],
    users: [{ name: "u", user: { token } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
  return { fake, http, kubeconfig };
};

const apiVersion = "millrace.dev/v1alpha1";

/** A Cluster that says where it is, and a Topic of it. */
const fill = (fake: FakeServer, bootstrap: string): void => {
  const listeners = [{ name: "clients", bootstrap }];
  const about = { apiVersion, kind: "Cluster", metadata: keyOf("big") };
  fake.create(resourceTypes.Cluster, { ...about, spec: {} } as unknown as Cluster);
  const status = { ...about, status: { listeners } } as unknown as Cluster;
  fake.applyStatus(resourceTypes.Cluster, status, { fieldManager: "test", force: true });
  const policies = { deletionPolicy: "Delete", adopt: "IfMatches" } as const;
  const config = { "retention.ms": 1000 };
  const spec = { clusterRef: { name: "big" }, partitions: 2, config, ...policies };
  fake.create(resourceTypes.Topic, { apiVersion, kind: "Topic", metadata: keyOf("orders"), spec });
};

const topicOf = (fake: FakeServer): Topic | undefined =>
  fake.get(resourceTypes.Topic, keyOf("orders"));

const isReady = (fake: FakeServer): boolean => {
  const { metadata, status } = topicOf(fake) ?? {};
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  return ready?.status === "True" && ready.observedGeneration === metadata?.generation;
};

const retentionOf = async (client: Client): Promise<string | undefined> => {
  const [found] = await client.admin.describeTopics({ names: ["orders"] });
  return found?.configs.find(({ key }) => key === "retention.ms")?.value;
};

const checkProbes = async (operator: Operator): Promise<void> => {
  assert.equal((await operator.ask("/livez")).status, 200);
  assert.equal((await operator.ask("/readyz")).status, 200);
  const { body } = await operator.ask("/metrics");
  assert.match(body, /^millrace_operator_cache_objects\{kind="Topic"\} 1$/m);
  assert.match(body, /^millrace_operator_reconciles_total\{controller="topic",result="\w+"\} /m);
  const configz = JSON.parse((await operator.ask("/configz")).body);
  assert.equal(configz["lease_name"].value, "millrace-operator");
};

const timeout = 90_000;

test("one of two operators acts, hands over, and ends when another has its lease", {
  timeout,
}, async () => {
  await withDirectory(async (directory) => {
    const server = new ServerProcess(join(directory, "data"));
    const { client: bootstrap } = await server.ready();
    await using client = await connect({ bootstrap: [bootstrap] });
    const { fake, http, kubeconfig } = await startApi(directory);
    fill(fake, bootstrap);
    const first = new Operator(kubeconfig);
    await until("a Topic is Ready", () => isReady(fake));
    assert.equal(await retentionOf(client), "1000");
    await checkProbes(first);
    const second = new Operator(kubeconfig);
    assert.equal(await second.isLeading(), false);
    await until("its caches are full", async () => (await second.ask("/readyz")).status === 200);
    // What it asks of a cluster is fenced by nothing but this.
    const standby = (await second.ask("/metrics")).body;
    assert.doesNotMatch(standby, /^millrace_operator_reconciles_total\{/m);
    assert.equal(await first.end("SIGTERM"), 0);

    const endedMs = performance.now();
    await until("the other one leads", () => second.isLeading());
    // The lease would run out after 15 s.
    assert.ok(performance.now() - endedMs < 12_000);
    const known = topicOf(fake) ?? assert.fail("the Topic is gone");
    const spec = { ...known.spec, config: { "retention.ms": 2000 } };
    fake.replace(resourceTypes.Topic, { ...known, spec });
    await until("it is altered", async () => (await retentionOf(client)) === "2000");
    await until("it says so", () => isReady(fake));

    const held = fake.get(leaseType, lease) ?? assert.fail("there is no lease");
    fake.replace(leaseType, { ...held, spec: { ...held.spec, holderIdentity: "somebody" } });
    assert.equal(await second.end(), 1);
    assert.match(second.output, /the leader lease is lost; this process has to end/);
    const writes = fake.writes.length;
    await sleep(500);
    assert.equal(fake.writes.length, writes);

    for (const { output } of [first, second]) assert.ok(!output.includes(token));
    assert.ok(http.seen.some(({ authorization }) => authorization === `Bearer ${token}`));
    await http.close();
    await server.kill("SIGTERM");
  });
});

test("without an API server it says what to set, and one that is not there is waited for", {
  timeout,
}, async () => {
  await withDirectory(async (directory) => {
    const { fake, http, kubeconfig } = await startApi(directory);
    const nowhere = new Operator("/nowhere");
    assert.equal(await nowhere.end(), 2);
    assert.match(nowhere.output, /^error: INVALID_CONFIG: no API server is known: .*--kubeconfig/m);
    await http.close();
    const waiting = new Operator(kubeconfig);
    await until("it has tried", () => /watching failed; listing anew/.test(waiting.output));
    assert.equal(await waiting.end("SIGTERM"), 0);
    assert.equal(fake.writes.length, 0);
  });
});
