/** Two processes that would be one broker, on a real etcd. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ErrorCode } from "@millrace/errors";
import { decodeRecord, keys, type MetadataStore } from "@millrace/metadata";
import { clock, openStore, until } from "./controllers.ts";
import { Etcd, skipped } from "./etcd.ts";
import { FaultyLink } from "./faulty-link.ts";

const program = fileURLToPath(new URL("broker-process.ts", import.meta.url));
const brokerId = 7;
const key = keys.broker(brokerId);

interface Times {
  /** Of its lease. One that must not end lasts for longer than a slow machine needs. */
  readonly ttlSeconds: number;
  /** For the lease of an earlier process. */
  readonly waitMs: number;
}
const patient: Times = { ttlSeconds: 20, waitMs: 60_000 };
const impatient: Times = { ttlSeconds: 20, waitMs: 2000 };
const brief: Times = { ttlSeconds: 2, waitMs: 2000 };

/** A process that registers, and what it has said. */
class Broker {
  readonly epochs: number[] = [];
  readonly refusals: { readonly refused: string; readonly code: number }[] = [];
  readonly log: string[] = [];
  readonly child: ChildProcess;

  constructor(endpoint: string, root: string, name: string, { ttlSeconds, waitMs }: Times) {
    const args = [program, endpoint, root, ...[brokerId, name, ttlSeconds, waitMs].map(String)];
    this.child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const { stdout } = this.child;
    assert.ok(stdout !== null);
    createInterface({ input: stdout }).on("line", (text) => {
      const line = JSON.parse(text);
      if (line.epoch !== undefined) this.epochs.push(line.epoch);
      else if (line.refused !== undefined) this.refusals.push(line);
      else this.log.push(`${line.log}: ${line.why}`);
    });
  }

  /** Epoch of the registration that is the newest. */
  get epoch(): number {
    return this.epochs.at(-1) ?? 0;
  }

  async registered(): Promise<number> {
    await until(() => this.epochs.length > 0 || this.hasEnded, "it registers or ends");
    assert.deepEqual(this.refusals, []);
    return this.epoch;
  }

  async refused(): Promise<{ readonly refused: string; readonly code: number }> {
    await until(() => this.hasEnded, "it gives up");
    assert.deepEqual(this.epochs, []);
    assert.equal(this.refusals.length, 1, "it is told once");
    return this.refusals[0] ?? assert.fail();
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    if (this.hasEnded) return;
    this.child.kill(signal);
    this.child.kill("SIGCONT");
    await once(this.child, "exit");
  }
}

if (skipped !== false) test("registrations on etcd", { skip: skipped }, () => {});
else {
  let etcd: Etcd;
  let spaces = 0;
  before(async () => {
    etcd = await Etcd.start();
  });
  after(() => etcd.remove());

  const setUp = (context: TestContext) => {
    spaces += 1;
    const root = `/millrace/registration-${spaces}/`;
    const store = openStore(root, etcd.endpoint);
    const brokers: Broker[] = [];
    context.after(async () => {
      await Promise.all(brokers.map((broker) => broker.end("SIGKILL")));
      await store.close();
    });
    const start = (name: string, times: Times, endpoint = etcd.endpoint): Broker => {
      const broker = new Broker(endpoint, root, name, times);
      brokers.push(broker);
      return broker;
    };
    return { store, start };
  };

  /** Who is registered. */
  const holder = async (store: MetadataStore) => {
    const [kv] = (await store.range({ key })).kvs;
    return kv && { epoch: kv.createRevision, name: decodeRecord.broker(kv).internalEndpoint };
  };

  test("a second process with a broker's id is refused while the first one lives", async (context) => {
    const { store, start } = setUp(context);
    const first = start("first:1", patient);
    const epoch = await first.registered();
    const second = start("second:2", impatient);
    const { code, refused } = await second.refused();
    assert.equal(code, ErrorCode.INVALID_CONFIG);
    assert.equal(
      refused,
      "another process is broker 7 at first:1: stop it, or give this one another id",
    );
    assert.deepEqual(await holder(store), { epoch, name: "first:1" });
    assert.deepEqual([first.log, second.log], [[], []], "there is nothing else to say");
  });

  test("of two processes that start at once one is registered, and the other is told", async (context) => {
    const { store, start } = setUp(context);
    const both = [start("a:1", impatient), start("b:2", impatient)];
    await until(() => both.some(({ hasEnded }) => hasEnded), "one gives up");
    const [registered] = both.filter(({ hasEnded }) => !hasEnded);
    const [other] = both.filter(({ hasEnded }) => hasEnded);
    assert.ok(registered !== undefined && other !== undefined);
    assert.equal((await other.refused()).code, ErrorCode.INVALID_CONFIG);
    assert.equal((await holder(store))?.epoch, await registered.registered());
  });

  for (const [name, signal, times] of [
    ["was killed", "SIGKILL", brief],
    ["has stopped", "SIGTERM", patient],
  ] as const) {
    test(`a process follows one with its id that ${name}, under a higher epoch`, async (context) => {
      const { store, start } = setUp(context);
      const first = start("first:1", times);
      const epoch = await first.registered();
      const second = start("second:2", patient);
      await first.end(signal);
      if (signal === "SIGTERM") assert.equal(first.child.exitCode, 0);
      const next = await second.registered();
      assert.ok(next > epoch, `epoch ${next} after ${epoch}`);
      assert.deepEqual(await holder(store), { epoch: next, name: "second:2" });
    });
  }

  test("a process that was paused for longer than its lease does not push out the one after it", async (context) => {
    const { store, start } = setUp(context);
    const first = start("first:1", brief);
    const epoch = await first.registered();
    first.child.kill("SIGSTOP");
    const second = start("second:2", patient);
    const next = await second.registered();
    assert.ok(next > epoch);
    first.child.kill("SIGCONT");
    await until(() => first.log.length > 1, "the first one is refused");
    assert.match(first.log[0] ?? "", /the registration is lost: registering anew/);
    assert.match(first.log[1] ?? "", /not registered.*another process is broker 7 at second:2/);
    assert.deepEqual(await holder(store), { epoch: next, name: "second:2" });
    assert.deepEqual(second.log, []);
    await second.end("SIGTERM");
    await until(() => first.epoch > next, "the first one registers anew");
    assert.deepEqual(await holder(store), { epoch: first.epoch, name: "first:1" });
  });

  test("a broker that was cut off for longer than its lease registers anew, once", async (context) => {
    const { store, start } = setUp(context);
    const link = await FaultyLink.start(etcd.clientPort);
    context.after(() => link.close());
    const broker = start("one:1", brief, link.endpoint);
    const epoch = await broker.registered();
    link.partition();
    await until(async () => (await holder(store)) === undefined, "its lease ends");
    await clock.sleep(1000);
    link.heal();
    await until(() => broker.epoch > epoch, "it registers anew");
    assert.deepEqual(await holder(store), { epoch: broker.epoch, name: "one:1" });
    assert.match(broker.log[0] ?? "", /the registration is lost/);
  });
}
