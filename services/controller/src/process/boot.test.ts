/** Controllers as processes of their own, on simulated machines. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Env, silentLogger } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { decodeRecord, EmbeddedStore, keys, type MetadataStore } from "@millrace/metadata";
import { AdminService, ListTopicsRequestSchema } from "@millrace/proto/controller";
import { syncCompressor } from "@millrace/record/node";
import { methodOf } from "@millrace/rpc";
import { Incarnation, Kernel, mountStore, SimDisk, SimNetwork } from "@millrace/sim";
import { type BootOptions, boot } from "./index.ts";

class Machines {
  readonly kernel = new Kernel(1);
  readonly network = new SimNetwork(this.kernel);
  readonly store = new EmbeddedStore({
    clock: new Incarnation(this.kernel).clock(),
    random: this.kernel.random,
  });
  /** What the store answers with instead. */
  failure: Error | undefined;
  readonly told: (string | boolean)[] = [];

  run<T>(work: Promise<T>): Promise<T> {
    return this.kernel.run(work);
  }

  pass(ms: number): Promise<void> {
    return this.run(new Promise((resolve) => void this.kernel.schedule(ms, resolve, "test")));
  }

  start(controllerId: number, options: Partial<BootOptions> = {}) {
    const host = `c${controllerId}`;
    const life = new Incarnation(this.kernel, host);
    const env: Env = {
      ...{ clock: life.clock(), random: this.kernel.random, compressor: syncCompressor },
      ...{ disk: new SimDisk(this.kernel.random).mount(life), logger: silentLogger },
    };
    const { dialer, listener } = this.network.attach(host, life);
    const at = (port: number) => ({ listener, endpoint: `${host}:${port}` });
    const mounted = mountStore(this.store, life);
    const range: MetadataStore["range"] = async (...args) => {
      if (this.failure !== undefined) throw this.failure;
      return mounted.range(...args);
    };
    return boot({
      ...{ env, store: { ...mounted, range }, dialer, controllerId, defaultReplicationFactor: 3 },
      listeners: { client: at(7400), internal: at(7401), health: at(7402), graceMs: 1000 },
      advertise: ({ client, internal }) => ({ clientEndpoint: client, internalEndpoint: internal }),
      onServing: (serving) => this.told.push(serving),
      onWaiting: (reason) => this.told.push(reason),
      ...options,
    });
  }

  /** A call to the Admin service of a controller. */
  ask(host: string) {
    const { dialer } = this.network.attach("client", new Incarnation(this.kernel, "client"));
    const list = methodOf(AdminService.method.listTopics);
    return this.run(dialer.dial(`${host}:7400`).unary(list, create(ListTopicsRequestSchema)));
  }

  async active() {
    const [kv] = (await this.run(this.store.range({ key: keys.controller }))).kvs;
    return kv && decodeRecord.controller(kv);
  }
}

test("one of two controllers is active, tells where it is, and makes way at once when it stops", async () => {
  const machines = new Machines();
  const first = await machines.run(machines.start(0));
  const second = await machines.run(machines.start(1));
  assert.equal(second.clusterId, first.clusterId);
  assert.deepEqual(machines.told, [true, true]);
  await machines.pass(2000);
  const { clientEndpoint, internalEndpoint } = (await machines.active()) ?? assert.fail();
  assert.deepEqual([clientEndpoint, internalEndpoint], ["c0:7400", "c0:7401"]);
  assert.deepEqual((await machines.ask("c0")).topics, []);
  const notActive = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.NOT_CONTROLLER);
  await assert.rejects(machines.ask("c1"), notActive);
  await machines.run(first.stop());
  await machines.pass(100);
  assert.equal((await machines.active())?.clientEndpoint, "c1:7400");
  assert.deepEqual((await machines.ask("c1")).topics, []);
});

test("a controller waits for a store that does not answer, until it is told to stop", async () => {
  const machines = new Machines();
  machines.failure = new MillraceError(ErrorCode.UNAVAILABLE, "etcd does not answer");
  const started = machines.start(0);
  await machines.pass(60_000);
  assert.equal(machines.told.at(-1), "waiting for the metadata store: etcd does not answer");
  machines.failure = undefined;
  const { stop } = await machines.run(started);
  assert.equal(machines.told.at(-1), true);
  await machines.run(stop());
  assert.equal(machines.told.at(-1), false);
  machines.failure = new MillraceError(ErrorCode.UNAVAILABLE, "etcd does not answer");
  const ending = new AbortController();
  const refused = assert.rejects(machines.start(1, { signal: ending.signal }), (thrown) =>
    hasCode(thrown, ErrorCode.CANCELLED),
  );
  await machines.pass(5000);
  ending.abort(new MillraceError(ErrorCode.CANCELLED, "SIGTERM ended the start"));
  await machines.run(refused);
});

test("what will not pass ends the start", async () => {
  const machines = new Machines();
  machines.failure = new MillraceError(ErrorCode.DATA_DIRECTORY_UNUSABLE, "use a newer version");
  await assert.rejects(machines.run(machines.start(0)), /use a newer version/);
  assert.deepEqual(machines.told, []);
});
