/** A cluster of real processes: a controller and two brokers over one etcd. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Client, connect } from "@millrace/client";
import { nodeDisk } from "@millrace/env/node";
import { verifyDirectory } from "@millrace/log";
import { promlint } from "@millrace/observability/testing";
import { nodeCompressor } from "@millrace/record/node";
import { openStore } from "./controllers.ts";
import { Etcd, skipped } from "./etcd.ts";
import { type Role, ServerProcess } from "./server-process.ts";

const controllerMain = fileURLToPath(
  new URL("../../services/controller/src/process/main.ts", import.meta.url),
);

/** Runs a command of the controller. */
const renewGeneration = (endpoint: string, prefix: string) => {
  const flags = ["--controller-id", "0", "--etcd-endpoints", endpoint, "--etcd-prefix", prefix];
  const run = [controllerMain, "renew-generation", ...flags];
  return spawnSync(process.execPath, run, { encoding: "utf8" });
};

const isReady = (status: number): boolean => status === 200;
const isWaiting = (status: number, body: string): boolean =>
  status === 503 && body.includes("waiting for the record of the cluster");

if (skipped !== false) test("a cluster of processes on etcd", { skip: skipped }, () => {});
else {
  let etcd: Etcd;
  before(async () => {
    etcd = await Etcd.start();
  });
  after(() => etcd.remove());

  const setUp = (context: TestContext, prefix: string, server = etcd) => {
    const directory = mkdtempSync(join(tmpdir(), "millrace-processes-"));
    const started: ServerProcess[] = [];
    context.after(async () => {
      await Promise.all(started.map((one) => one.end("SIGKILL")));
      rmSync(directory, { recursive: true });
    });
    const start = async (role: Role, id: number): Promise<ServerProcess> => {
      const store = ["--etcd-endpoints", server.endpoint, "--etcd-prefix", prefix];
      const flags = [`--${role}-id`, String(id), ...store];
      const one = await ServerProcess.start(role, join(directory, `${role}-${id}`), flags);
      started.push(one);
      return one;
    };
    return { start };
  };

  const readAll = async (client: Client): Promise<string[]> => {
    const consumer = client.consumer({ untilEnd: true });
    await consumer.assign([0, 1].map((partition) => ({ topic: "t", partition, from: "earliest" })));
    const values: string[] = [];
    for await (const { value } of consumer.records()) {
      values.push(Buffer.from(value ?? []).toString());
    }
    return values.sort();
  };

  test("a topic on two brokers is written, read, survives a restart, and all stop cleanly", async (context) => {
    const { start } = setUp(context, "/millrace/processes/");
    const brokers = [await start("broker", 1), await start("broker", 2)];
    await Promise.all(brokers.map((broker) => broker.untilReadyz(isWaiting)));
    const controller = await start("controller", 0);
    await Promise.all([controller, ...brokers].map((one) => one.untilReadyz(isReady)));
    const [first, second] = brokers;
    assert.ok(first !== undefined && second !== undefined);
    assert.match(first.stderr, /^Millrace broker 1 is ready after [\d.]+ s: clients 127\.0\.0\.1:/);
    assert.match(controller.stderr, /^Millrace controller 0 is ready after/);

    const client = await connect({ bootstrap: brokers.map(({ endpoints }) => endpoints.client) });
    context.after(() => client.close());
    await client.admin.createTopic({ name: "t", partitions: 2, replicationFactor: 2 });
    const values = Array.from({ length: 200 }, (_, i) => `v${String(i).padStart(3, "0")}`);
    const producer = client.producer();
    await Promise.all(
      values.map((value, i) => producer.send({ topic: "t", partition: i % 2, value })),
    );
    assert.deepEqual(await readAll(client), values);

    const metrics = await Promise.all(brokers.map((broker) => broker.get("/metrics")));
    for (const answer of metrics) {
      assert.deepEqual(promlint(answer?.body ?? ""), []);
      assert.match(answer?.body ?? "", /millrace_broker_produce_records_total 100\n/);
      assert.match(answer?.body ?? "", /millrace_log_partitions\{state="online"\} 2\n/);
    }
    const active = await controller.get("/metrics");
    assert.deepEqual(promlint(active?.body ?? ""), []);
    assert.match(active?.body ?? "", /millrace_controller_active 1\n/);
    const configz = JSON.parse((await second.get("/configz"))?.body ?? "");
    assert.deepEqual(configz["broker_id"], { value: 2, source: "flag" });

    assert.equal(await first.end(), 0, first.stderr);
    const again = await start("broker", 1);
    await again.untilReadyz(isReady);
    assert.deepEqual(await readAll(client), values);
    for (const one of [again, second, controller]) assert.equal(await one.end(), 0, one.stderr);
    for (const { directory } of brokers) {
      const { clean, damages, records } = await verifyDirectory(
        nodeDisk(directory),
        nodeCompressor,
      );
      assert.deepEqual({ clean, damages, records }, { clean: true, damages: [], records: 200 });
    }
  });

  /** A controller and two brokers with a topic, and a producer of values that are all different. */
  const cluster = async (context: TestContext, prefix: string, own: Etcd) => {
    const { start } = setUp(context, prefix, own);
    const controller = await start("controller", 0);
    const brokers = [await start("broker", 1), await start("broker", 2)];
    await Promise.all([controller, ...brokers].map((one) => one.untilReadyz(isReady)));
    const client = await connect({ bootstrap: brokers.map(({ endpoints }) => endpoints.client) });
    context.after(() => client.close());
    await client.admin.createTopic({ name: "t", partitions: 2, replicationFactor: 2 });
    const producer = client.producer();
    const values: string[] = [];
    const send = async (): Promise<void> => {
      const value = `v${String(values.length).padStart(3, "0")}`;
      values.push(value);
      await producer.send({ topic: "t", partition: values.length % 2, value });
    };
    return { start, controller, brokers, client, values, send };
  };

  test("an etcd that is wiped under processes is one that is down", async (context) => {
    // One of its own: the other tests keep theirs.
    const own = await Etcd.start();
    context.after(() => own.remove());
    const prefix = "/millrace/wiped/";
    const { start, controller, brokers, client, values, send } = await cluster(
      context,
      prefix,
      own,
    );
    const epochs = async () => {
      const [topic] = await client.admin.describeTopics({ names: ["t"] });
      return topic?.partitions.map(({ leader, leaderEpoch }) => [leader, leaderEpoch]);
    };
    for (let i = 0; i < 10; i += 1) await send();
    const before = await epochs();

    await own.empty();
    assert.equal(await controller.end(), 0, controller.stderr);
    const again = await start("controller", 0);
    const { clusterId } = await client.admin.cluster();
    await again.untilReadyz((status, body) => status === 503 && body.includes(clusterId));
    for (let i = 0; i < 40; i += 1) {
      await send();
      await sleep(200);
    }
    assert.deepEqual(await readAll(client), values);
    assert.equal(own.ctl("get", "", "--from-key", "--keys-only").trim(), "");
    const renewed = renewGeneration(own.endpoint, prefix);
    assert.match(renewed.stderr, /^error: UNAVAILABLE: the metadata store holds no record/);
    assert.deepEqual([renewed.status, renewed.stdout], [1, ""]);

    await own.refill();
    await Promise.all([again, ...brokers].map((one) => one.untilReadyz(isReady)));
    await send();
    assert.deepEqual(await epochs(), before, "no leader has changed");
    for (const broker of brokers) {
      const { body = "" } = (await broker.get("/metrics")) ?? {};
      assert.match(body, /millrace_metadata_refused_reads_total [1-9]/);
      assert.match(body, /millrace_metadata_resets_total 0\n/);
    }
    const done = renewGeneration(own.endpoint, prefix);
    assert.equal(done.status, 0, done.stderr);
    assert.match(done.stdout, new RegExp(`^cluster ${clusterId} has generation [0-9a-f]{32} now`));
    await send();
    assert.deepEqual(await readAll(client), values);
  });

  test("a backup of etcd is restored under brokers that run, as the guide has it", async (context) => {
    const own = await Etcd.start();
    context.after(() => own.remove());
    const prefix = "/millrace/restored/";
    const { start, controller, brokers, client, values, send } = await cluster(
      context,
      prefix,
      own,
    );
    for (let i = 0; i < 10; i += 1) await send();
    const backup = own.snapshot("backup");
    for (let i = 0; i < 10; i += 1) await send();
    assert.equal(await controller.end(), 0, controller.stderr);
    await own.restore(backup, "--bump-revision", "1000000000", "--mark-compacted");
    const renewed = renewGeneration(own.endpoint, prefix);
    assert.equal(renewed.status, 0, renewed.stderr);
    const again = await start("controller", 0);
    await again.untilReadyz(isReady);
    for (let i = 0; i < 10; i += 1) await send();
    assert.deepEqual(await readAll(client), values);
    for (const broker of brokers) {
      const { body = "" } = (await broker.get("/metrics")) ?? {};
      assert.match(body, /millrace_metadata_resets_total [12]\n/);
      assert.match(body, /millrace_metadata_refused_reads_total 0\n/);
      assert.match(body, /millrace_metadata_missed_changes_total 0\n/);
    }
  });

  test("a broker that waits for its cluster stops when it is told to, and has written nothing", async (context) => {
    const prefix = "/millrace/nobody/";
    const broker = await setUp(context, prefix).start("broker", 1);
    await broker.untilReadyz(isWaiting);
    assert.equal(await broker.end(), 0);
    assert.equal(broker.stderr, "");
    const store = openStore(prefix, etcd.endpoint);
    context.after(() => store.close());
    assert.deepEqual((await store.range({ prefix: "" })).kvs, []);
  });
}
