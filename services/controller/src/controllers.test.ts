/**
 * Three controllers and four brokers on one store, under a seed: kills, pauses, late transactions
 * and lost answers. Nothing is written under interleaved reigns, and in the end everything is led.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import {
  brokerRegistration,
  type Compare,
  decodeRecord,
  EmbeddedStore,
  keys,
  type MetadataStore,
  Mirror,
  type Operation,
  Registration,
} from "@millrace/metadata";
import {
  type AlterPartitionsRequest,
  AlterPartitionsRequestSchema,
  CreateTopicRequestSchema,
} from "@millrace/proto/controller";
import { BrokerRecordSchema } from "@millrace/proto/storage";
import { Incarnation, Kernel, mountStore, SeededRandom, SimNetwork } from "@millrace/sim";
import { Controller } from "./controller.ts";
import { ControllerProcess } from "./controller-process.ts";
import { ProducerIdBlocks } from "./producer-ids.ts";
import { ReplicaHandlers } from "./replicas.ts";

const ttlSeconds = 2;
const brokerIds = [0, 1, 2, 3];
const controllerIds = [0, 1, 2];
const owned = [keys.partitions, keys.topics, keys.deletions];

/** What the store has taken, in its order. */
class History {
  /** Epochs of the reigns that wrote, without repetitions. */
  readonly reigns: number[] = [];
  /** Leader and its broker epoch, by partition and leader epoch. */
  readonly #leaders = new Map<string, string>();
  readonly #epochs = new Map<string, number>();

  add(compares: readonly Compare[], operations: readonly Operation[]): void {
    const guard = compares.find((one) => "key" in one && one.key === keys.controller);
    for (const operation of operations) {
      const key = operation.type === "put" ? operation.key : "";
      if (!owned.some((prefix) => key.startsWith(prefix))) continue;
      assert.ok(guard?.target === "createRevision", `${key} is written without a guard`);
      this.#reign(guard.equals);
      if (operation.type === "put" && key.startsWith(keys.partitions)) {
        this.#partition(key, operation.value);
      }
    }
  }

  #reign(epoch: number): void {
    const last = this.reigns.at(-1) ?? 0;
    assert.ok(epoch >= last, `a write of reign ${epoch} after one of reign ${last}`);
    if (epoch > last) this.reigns.push(epoch);
  }

  #partition(key: string, value: Uint8Array): void {
    const { leader, leaderEpoch, isr, isrBrokerEpochs } = decodeRecord.partition({ key, value });
    assert.ok(isr.length > 0, `${key} has no ISR`);
    assert.ok(leaderEpoch >= (this.#epochs.get(key) ?? 0), `the epoch of ${key} falls`);
    this.#epochs.set(key, leaderEpoch);
    const now = leader === undefined ? "none" : `${leader}/${isrBrokerEpochs[isr.indexOf(leader)]}`;
    const before = this.#leaders.get(`${key}@${leaderEpoch}`) ?? now;
    assert.equal(now, before, `${key} has two leaders in epoch ${leaderEpoch}`);
    this.#leaders.set(`${key}@${leaderEpoch}`, now);
  }
}

const isActive = (one: ControllerProcess): boolean => {
  try {
    one.requireActive();
    return true;
  } catch {
    return false;
  }
};

class World {
  readonly kernel: Kernel;
  readonly history = new History();
  readonly store: EmbeddedStore;
  readonly #random: SeededRandom;
  readonly #processes = new Map<string, Incarnation>();
  readonly controllers = new Map<number, ControllerProcess>();
  troubled = false;
  /** Changes of in-sync replicas that were made. */
  grown = 0;
  /** Of the checks. */
  readonly failures: unknown[] = [];

  constructor(seed: number) {
    this.kernel = new Kernel(seed);
    this.#random = new SeededRandom(seed ^ 0x51ed270b);
    const clock = new Incarnation(this.kernel, "store").clock();
    this.store = new EmbeddedStore({ clock, random: this.#random });
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.kernel.schedule(ms, resolve, "world"));
  }

  /** The store over a line on which transactions are late and answers are lost. */
  #line(): MetadataStore {
    const line: MetadataStore = Object.create(this.store);
    const bound = Object.fromEntries(
      (["range", "watch", "grantLease", "keepAlive", "revokeLease", "compact"] as const).map(
        (name) => [name, { value: this.store[name].bind(this.store) }],
      ),
    );
    const txn: MetadataStore["txn"] = async (compares, then, otherwise, options) => {
      const random = this.#random;
      if (this.troubled && random.chance(0.1)) await this.sleep(random.float() * 4000);
      const apply = async () => {
        const done = await this.store.txn(compares, then, otherwise, options);
        if (done.succeeded) this.#record(compares, then);
        return done;
      };
      const isLate = this.troubled && random.chance(0.05);
      if (isLate) this.#later(apply);
      else {
        const done = await apply();
        if (!this.troubled || !random.chance(0.1)) return done;
      }
      throw new MillraceError(ErrorCode.UNAVAILABLE, "the answer is lost", {
        facts: { outcome: "unknown" },
      });
    };
    return Object.defineProperties(line, { ...bound, txn: { value: txn } });
  }

  /** A check that fails must not become an error of the store, which processes try again after. */
  #record(compares: readonly Compare[], operations: readonly Operation[]): void {
    try {
      this.history.add(compares, operations);
    } catch (thrown) {
      this.failures.push(thrown);
    }
  }

  /** A transaction that happens long after its sender was told that nobody knows. */
  #later(apply: () => Promise<unknown>): void {
    const refused = (thrown: unknown): void => {
      // A lease that it names may have ended.
      if (!hasCode(thrown, ErrorCode.INVALID_REQUEST)) this.failures.push(thrown);
    };
    this.kernel.schedule(this.#random.float() * 8000, () => void apply().catch(refused));
  }

  #process(name: string): { incarnation: Incarnation; store: MetadataStore } {
    this.#processes.get(name)?.kill();
    const incarnation = new Incarnation(this.kernel, name);
    this.#processes.set(name, incarnation);
    return { incarnation, store: mountStore(this.#line(), incarnation) };
  }

  /** A new process, in the place of the one before. */
  async startController(controllerId: number): Promise<void> {
    const { incarnation, store } = this.#process(`controller ${controllerId}`);
    const shared = {
      store,
      clock: incarnation.clock(),
      random: this.#random,
      logger: silentLogger,
    };
    const mirror = new Mirror(shared);
    await mirror.start();
    // The brokers here tell no address.
    const { dialer } = new SimNetwork(this.kernel).attach(`c${controllerId}`, incarnation);
    const started = new ControllerProcess({ ...shared, mirror, dialer, controllerId, ttlSeconds });
    this.controllers.set(controllerId, started);
  }

  async startBroker(brokerId: number): Promise<void> {
    const { incarnation, store } = this.#process(`broker ${brokerId}`);
    const record = create(BrokerRecordSchema, {
      ...{ brokerId, incarnationId: this.#random.bytes(16) },
    });
    const shared = { store, clock: incarnation.clock(), logger: silentLogger };
    await new Registration({
      ...shared,
      kind: brokerRegistration,
      record,
      ttlSeconds,
      waitMs: 60_000,
    }).register();
  }

  /** A follower has caught up: what the leader of a partition will ask for. */
  async grow(): Promise<void> {
    const random = this.#random;
    const [kv] = (await this.store.range({ prefix: keys.partitions })).kvs.filter(() =>
      random.chance(0.5),
    );
    if (kv === undefined) return;
    const record = decodeRecord.partition(kv);
    const epochs = new Map(
      (await this.store.range({ prefix: keys.brokers })).kvs.map((one) => [
        decodeRecord.broker(one).brokerId,
        BigInt(one.createRevision),
      ]),
    );
    const added = record.replicas.find((id) => !record.isr.includes(id) && epochs.has(id));
    const epoch = epochs.get(added ?? -1);
    if (record.leader === undefined || added === undefined || epoch === undefined) return;
    const { topicId, partition, leader: brokerId, leaderEpoch } = record;
    const isr = [
      ...record.isr.map((id, i) => ({ id, epoch: record.isrBrokerEpochs[i] ?? 0n })),
      { id: added, epoch },
    ].map((one) => ({ brokerId: one.id, brokerEpoch: one.epoch }));
    const modRevision = BigInt(kv.modRevision);
    const request = create(AlterPartitionsRequestSchema, {
      ...{ brokerId, brokerEpoch: epochs.get(brokerId) ?? 0n },
      partitions: [{ topicId, partition, leaderEpoch, modRevision, isr }],
    });
    for (const active of this.controllers.values()) void this.#ask(active, request);
  }

  async #ask(active: ControllerProcess, request: AlterPartitionsRequest): Promise<void> {
    const clock = new Incarnation(this.kernel).clock();
    const deletionDone = async () => {};
    const producerIds = new ProducerIdBlocks({ store: this.store, active });
    const removalsDone = deletionDone;
    const options = { clusterId: "c", clock, active, deletionDone, removalsDone, producerIds };
    const handlers = new ReplicaHandlers(options);
    try {
      const { results } = await handlers.alterPartitions(request);
      if (results[0]?.error === undefined) this.grown += 1;
    } catch (thrown) {
      const { NOT_CONTROLLER, UNAVAILABLE, STALE_BROKER_EPOCH } = ErrorCode;
      const expected = [NOT_CONTROLLER, UNAVAILABLE, STALE_BROKER_EPOCH];
      if (!expected.some((code) => hasCode(thrown, code))) this.failures.push(thrown);
    }
  }

  /** Something goes wrong. */
  fault(): void {
    const random = this.#random;
    const active = [...this.controllers].find(([, one]) => isActive(one))?.[0];
    const isAimed = active !== undefined && random.chance(0.4);
    const name = isAimed ? `controller ${active}` : random.pick([...this.#processes.keys()]);
    const [kind = "", id] = name.split(" ");
    if (random.chance(0.5)) {
      const process = this.#processes.get(name);
      process?.pause();
      this.kernel.schedule(random.float() * 2000 * ttlSeconds, () => process?.resume());
      return;
    }
    this.#processes.get(name)?.kill();
    const start = (): Promise<void> =>
      kind === "broker" ? this.startBroker(Number(id)) : this.startController(Number(id));
    this.kernel.schedule(random.float() * 3000, () => void start());
  }
}

const run = async (seed: number): Promise<World> => {
  const world = new World(seed);
  const { kernel, store } = world;
  await kernel.run(Promise.all(brokerIds.map((id) => world.startBroker(id))));
  await kernel.run(Promise.all(controllerIds.map((id) => world.startController(id))));
  const setUp = new Controller({
    ...{ store, clock: new Incarnation(kernel).clock(), random: kernel.random },
    ...{ logger: silentLogger, defaultReplicationFactor: 3 },
  });
  const configs = { "min.insync.replicas": "2" };
  const request = create(CreateTopicRequestSchema, { name: "t", partitionCount: 6, configs });
  await kernel.run(setUp.createTopic(request));
  world.troubled = true;
  for (let i = 0; i < 16; i += 1) {
    await kernel.run(world.sleep(kernel.random.float() * 2500));
    world.fault();
    await kernel.run(world.grow());
  }
  world.troubled = false;
  await kernel.run(world.sleep(15_000 * ttlSeconds));
  if (world.failures.length > 0) throw world.failures[0];
  return world;
};

test("no two reigns interleave, and everything is led once the faults are over", async (context) => {
  let reigns = 0;
  let grown = 0;
  for (let seed = 1; seed <= 200; seed += 1) {
    const world = await run(seed).catch((thrown: unknown) => {
      throw new Error(`seed ${seed}`, { cause: thrown });
    });
    const { history, store, kernel, controllers } = world;
    reigns += history.reigns.length;
    grown += world.grown;
    const { kvs } = await kernel.run(store.range({ prefix: "" }));
    const brokers = kvs.filter(({ key }) => key.startsWith(keys.brokers));
    assert.equal(brokers.length, brokerIds.length, `seed ${seed}: every broker is registered`);
    const epochs = new Map(
      brokers.map((kv) => [decodeRecord.broker(kv).brokerId, kv.createRevision]),
    );
    for (const kv of kvs.filter(({ key }) => key.startsWith(keys.partitions))) {
      const { leader = -1, isr, isrBrokerEpochs } = decodeRecord.partition(kv);
      const led = isrBrokerEpochs[isr.indexOf(leader)];
      assert.equal(led, BigInt(epochs.get(leader) ?? -1), `seed ${seed}: ${kv.key} is led`);
    }
    assert.equal(
      [...controllers.values()].filter(isActive).length,
      1,
      `seed ${seed}: one is active`,
    );
  }
  context.diagnostic(`${reigns} reigns wrote, ISRs grew ${grown} times`);
  assert.ok(reigns > 500, `only ${reigns} reigns: the faults do not reach the elections`);
  assert.ok(grown > 100, `ISRs grew only ${grown} times`);
});
