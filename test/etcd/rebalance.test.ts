/** A rebalance of real processes, by the command line, whose controller is killed on the way. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { BrokerIntent, type Client, connect } from "@millrace/client";
import { runMillrace } from "../integration/command.ts";
import { Etcd, skipped } from "./etcd.ts";
import { type Role, ServerProcess } from "./server-process.ts";

const partitions = 24;
const isReady = (status: number): boolean => status === 200;

/** Sends to all partitions in turn until `stop`. What was acknowledged, by partition. */
class Load {
  readonly #sent: string[][] = Array.from({ length: partitions }, () => []);
  readonly #client: Client;
  #isOver = false;
  #done: Promise<void> | undefined;

  constructor(client: Client) {
    this.#client = client;
  }

  start(): void {
    this.#done = this.#run();
  }

  async stop(): Promise<readonly string[][]> {
    this.#isOver = true;
    await this.#done;
    return this.#sent;
  }

  async #run(): Promise<void> {
    const producer = this.#client.producer();
    for (let i = 0; !this.#isOver; i += 1) {
      const value = `v${i}`.padEnd(2000, ".");
      await Promise.all(
        this.#sent.map(async (sent, partition) => {
          await producer.send({ topic: "t", partition, value });
          sent.push(value);
        }),
      );
      await sleep(20);
    }
    await producer.close();
  }
}

const readAll = async (client: Client): Promise<string[][]> => {
  const consumer = client.consumer({ untilEnd: true });
  const all = Array.from({ length: partitions }, (_, partition) => ({
    ...{ topic: "t", partition, from: "earliest" as const },
  }));
  await consumer.assign(all);
  const values: string[][] = all.map(() => []);
  for await (const { partition, value } of consumer.records()) {
    values[partition]?.push(Buffer.from(value ?? []).toString());
  }
  return values;
};

if (skipped !== false) test("a rebalance of processes on etcd", { skip: skipped }, () => {});
else {
  let etcd: Etcd;
  before(async () => {
    etcd = await Etcd.start();
  });
  after(() => etcd.remove());

  const setUp = (context: TestContext) => {
    const directory = mkdtempSync(join(tmpdir(), "millrace-rebalance-"));
    const started: ServerProcess[] = [];
    context.after(async () => {
      await Promise.all(started.map((one) => one.end("SIGKILL")));
      rmSync(directory, { recursive: true });
    });
    return async (role: Role, id: number): Promise<ServerProcess> => {
      const store = ["--etcd-endpoints", etcd.endpoint, "--etcd-prefix", "/millrace/rebalance/"];
      const flags = [`--${role}-id`, String(id), ...store];
      const one = await ServerProcess.start(role, join(directory, `${role}-${id}`), flags);
      started.push(one);
      await one.untilReadyz(isReady);
      return one;
    };
  };

  test("the next controller finishes the plan of one that was killed, and nothing is lost", async (context) => {
    const start = setUp(context);
    const controllers = [await start("controller", 0), await start("controller", 1)];
    const brokers = [await start("broker", 1), await start("broker", 2)];
    const bootstrap = brokers.map(({ endpoints }) => endpoints.client);
    const client = await connect({ bootstrap });
    context.after(() => client.close());
    const configs = { "min.insync.replicas": "2" };
    await client.admin.createTopic({ name: "t", partitions, replicationFactor: 2, configs });
    const load = new Load(client);
    load.start();
    await start("broker", 3);
    await sleep(2000);

    const millrace = (...args: string[]) => runMillrace(bootstrap.join(), "", ...args);
    const dry = await millrace("rebalance", "plan", "--dry-run", "--output", "json");
    const shown = JSON.parse(dry.out);
    assert.deepEqual(
      shown.brokers.map((one: { after: { replicas: number } }) => one.after.replicas),
      [16, 16, 16],
    );
    assert.equal(shown.rebalance_id, null);
    assert.ok(shown.copy_bytes > 16 * 2000, `${shown.copy_bytes} bytes`);
    const refused = await millrace("rebalance", "start");
    assert.match(refused.err, /^error: INVALID_REQUEST: no plan waits to be started/);
    const planned = await millrace("rebalance", "plan", "--moves-per-broker", "1");
    assert.match(planned.out, /^BROKER +REPLICAS +AFTER +LEADERS +AFTER +SIZE +AFTER\n/);
    assert.match(planned.out, /^3 +0 +16 +0 +8 +0 bytes/m);
    assert.match(planned.err, /begin it with: millrace rebalance start 1\n$/);
    assert.equal((await millrace("rebalance", "start", "1")).code, 0);

    const isActive = async (one: ServerProcess): Promise<boolean> =>
      /millrace_controller_active 1\n/.test((await one.get("/metrics"))?.body ?? "");
    const active = (await isActive(controllers[0] ?? assert.fail())) ? 0 : 1;
    let below = 0;
    let doneBefore: number | undefined;
    for (let i = 0; i < 600; i += 1) {
      const { rebalance } = await client.admin.rebalances
        .describe()
        .catch(() => ({ rebalance: undefined }));
      if (rebalance !== undefined && rebalance.endedAtMs > 0n) break;
      if (doneBefore === undefined && (rebalance?.doneCount ?? 0) >= 4) {
        doneBefore = rebalance?.doneCount;
        await controllers[active]?.end("SIGKILL");
      }
      const [topic] = await client.admin.describeTopics({ names: ["t"] }).catch(() => []);
      below += topic?.partitions.filter(({ isr }) => isr.length < 2).length ?? 0;
      await sleep(50);
    }
    const ended = JSON.parse((await millrace("rebalance", "status", "--output", "json")).out);
    context.diagnostic(`${doneBefore} of ${ended.moves} moves were made when it was killed`);
    assert.ok(doneBefore !== undefined && doneBefore < ended.moves);
    assert.deepEqual(
      [ended.state, ended.done, ended.skipped, ended.copied_bytes],
      ["completed", ended.moves, 0, ended.copy_bytes],
    );
    assert.equal(below, 0, "a partition was below its minimum");
    const [topic] = await client.admin.describeTopics({ names: ["t"] });
    const count = (id: number) =>
      topic?.partitions.filter(({ replicas }) => replicas.includes(id)).length;
    assert.deepEqual([1, 2, 3].map(count), [16, 16, 16]);

    const sent = await load.stop();
    const read = await readAll(client);
    for (const [partition, values] of sent.entries()) {
      assert.deepEqual(read[partition], values, `partition ${partition}`);
    }
    const again = await millrace("rebalance", "plan");
    assert.match(again.err, /^nothing to move\n$/);
    // Six partitions that had to be made on one broker.
    const { admin } = client;
    for (const [brokerId, intent] of [
      [2, BrokerIntent.CORDONED],
      [3, BrokerIntent.CORDONED],
    ] as const) {
      await admin.setBrokerIntent({ brokerId, intent });
    }
    await admin.createTopic({ name: "u", partitions: 6, replicationFactor: 1 });
    for (const brokerId of [2, 3]) {
      await admin.setBrokerIntent({ brokerId, intent: BrokerIntent.ACTIVE });
    }
    assert.equal((await millrace("rebalance", "plan", "--exclude-topic", "t")).code, 0);
    const waited = await millrace("rebalance", "start", "--wait");
    assert.match(waited.err, /^rebalance 2 is completed: 4 of 4 moves made/m);
    assert.equal(waited.code, 0);
    const over = await millrace("rebalance", "abort");
    assert.deepEqual([over.code, /^error: NO_REASSIGNMENT_IN_PROGRESS/.test(over.err)], [1, true]);
  });
}
