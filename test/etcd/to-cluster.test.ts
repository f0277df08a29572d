/** A standalone server's data directory becomes that of a broker of a cluster. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Client, connect } from "@millrace/client";
import { Etcd, skipped } from "./etcd.ts";
import { type Role, ServerProcess } from "./server-process.ts";

const topic = "events";
const isReady = (status: number): boolean => status === 200;
const main = fileURLToPath(
  new URL("../../services/standalone/src/to-cluster/main.ts", import.meta.url),
);

/** Exit code, and what was said. */
const run = (flags: readonly string[]): Promise<{ code: number; said: string }> =>
  new Promise((resolve) => {
    execFile(process.execPath, [main, ...flags], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), said: stdout + stderr }),
    );
  });

const readAll = async (client: Client): Promise<string[]> => {
  const consumer = client.consumer({ untilEnd: true });
  await consumer.assign([0, 1].map((partition) => ({ topic, partition, from: "earliest" })));
  const values: string[] = [];
  for await (const { value } of consumer.records())
    values.push(Buffer.from(value ?? []).toString());
  return values.sort();
};

const produce = async (client: Client, from: number): Promise<string[]> => {
  const values = Array.from({ length: 100 }, (_, i) => `v${String(from + i).padStart(4, "0")}`);
  const producer = client.producer();
  await Promise.all(values.map((value, i) => producer.send({ topic, partition: i % 2, value })));
  return values;
};

if (skipped !== false) test("from standalone to a cluster", { skip: skipped }, () => {});
else {
  let etcd: Etcd;
  before(async () => {
    etcd = await Etcd.start();
  });
  after(() => etcd.remove());

  const setUp = (context: TestContext) => {
    const directory = mkdtempSync(join(tmpdir(), "millrace-to-cluster-"));
    const started: ServerProcess[] = [];
    context.after(async () => {
      await Promise.all(started.map((one) => one.end("SIGKILL")));
      rmSync(directory, { recursive: true });
    });
    const store = ["--etcd-endpoints", etcd.endpoint, "--etcd-prefix", "/millrace/moved/"];
    const start = async (role: Role, name: string, flags: readonly string[] = []) => {
      const one = await ServerProcess.start(role, join(directory, name), flags);
      started.push(one);
      return one;
    };
    return { data: join(directory, "data"), store, start };
  };

  test("records, offsets and ids stay, other replicas are added, and no standalone server comes back", async (context) => {
    const { data, store, start } = setUp(context);
    const standalone = await start("standalone", "data");
    await standalone.untilReadyz(isReady);
    const move = ["--data-dir", data, ...store];
    const early = await run(move);
    assert.equal(early.code, 1, early.said);
    assert.match(early.said, /^error: DATA_DIRECTORY_LOCKED: .* stop it/);

    const old = await connect({ bootstrap: [standalone.endpoints.client] });
    await old.admin.createTopic({ name: topic, partitions: 2 });
    const values = await produce(old, 0);
    await old.close();
    await standalone.end("SIGKILL");

    const moved = await run(move);
    assert.match(moved.said, /^cluster c\S+: 1 topics, 2 partitions are in etcd\. Start the contr/);
    assert.equal(moved.code, 0);
    const again = await run(move);
    assert.match(again.said, /DATA_DIRECTORY_UNUSABLE: .* was moved to a cluster before: start a/);

    const late = await start("standalone", "data");
    await assert.rejects(late.untilReadyz(isReady), /DATA_DIRECTORY_UNUSABLE: .*cluster/);

    const controller = await start("controller", "controller", ["--controller-id", "0", ...store]);
    const brokers = [
      await start("broker", "data", ["--broker-id", "0", ...store]),
      await start("broker", "broker-1", ["--broker-id", "1", ...store]),
    ];
    await Promise.all([controller, ...brokers].map((one) => one.untilReadyz(isReady)));
    const client = await connect({ bootstrap: brokers.map(({ endpoints }) => endpoints.client) });
    context.after(() => client.close());
    assert.deepEqual(await readAll(client), values);
    values.push(...(await produce(client, 100)));

    const moves = [0, 1].map((partition) => ({ topic, partition, replicas: [1, 0] }));
    for (const { error } of await client.admin.alterPartitionReassignments({ moves })) {
      assert.equal(error, undefined);
    }
    const isWhole = async (): Promise<boolean> => {
      const [found] = await client.admin.describeTopics({ names: [topic] });
      return found?.partitions.every(({ isr }) => isr.length === 2) === true;
    };
    for (let i = 0; i < 400 && !(await isWhole()); i += 1) await sleep(50);
    assert.equal(await brokers[0]?.end(), 0);
    assert.deepEqual(await readAll(client), values);
  });
}
