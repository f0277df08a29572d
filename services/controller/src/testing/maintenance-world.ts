/**
 * A cluster under maintenance by operators that know little: brokers with disks and records, two
 * controllers that may fail, and two operators whose deletions come at any time after they were
 * decided. Nothing destroys a disk but they, and they only under leases.
 *
 * Records are judged as leaders do it: acknowledged once every member of the ISR, in its registered
 * life, has them. Calls of controllers take a while, so that everything else happens meanwhile.
 */
import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { decodeRecord, type KeyValue, keys } from "@millrace/metadata";
import { BrokerIntent, MaintenanceKind } from "@millrace/proto/common";
import {
  AlterPartitionsRequestSchema,
  CreateTopicRequestSchema,
  type MaintenanceLease,
} from "@millrace/proto/controller";
import type { PartitionRecord } from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import { Controller } from "../controller.ts";
import { takesAway } from "../maintenance/leases.ts";
import { ProducerIdBlocks } from "../producer-ids.ts";
import { ReplicaHandlers } from "../replicas.ts";
import { isActive, ttlSeconds } from "./cluster.ts";
import { directoryOf, MaintenanceCluster } from "./maintenance.ts";

const { ACTIVE, DECOMMISSIONED, DRAINING } = BrokerIntent;
const { DRAIN, REMOVE, REPLACE_DISK, RESTART } = MaintenanceKind;

export const brokerCount = 4;
const kinds = [RESTART, REPLACE_DISK, REMOVE, DRAIN] as const;
const intents = [ACTIVE, DRAINING, DECOMMISSIONED] as const;

/** One thing that happens; the numbers choose what it happens to. */
export interface Step {
  readonly what: (typeof steps)[number];
  readonly a: number;
  readonly b: number;
}

export const steps = [
  ...(["produce", "produce", "produce", "produce", "recover", "recover", "recover"] as const),
  ...(["recover", "recover", "recover", "catchUp", "catchUp", "start", "kill"] as const),
  ...(["shrink", "expire", "clean", "observe", "observe", "replace", "replace"] as const),
  ...(["acquire", "acquire", "acquire", "act", "act", "act", "act"] as const),
  ...(["delete", "delete", "delete", "release", "release", "force", "intend"] as const),
  ...(["rival", "rival", "empty", "create", "fail", "wait", "wait", "longWait"] as const),
] as const;

/** A broker's machine. */
interface Machine {
  /** Number of its present disk. */
  disk: number;
  isAlive: boolean;
  /** Lives of its process: deletions of its pod name one. */
  life: number;
  /** Records by partition, on the present disk. */
  records: Map<string, Set<number>>;
}

/** What an operator believes, and holds. */
interface Operator {
  readonly name: string;
  readonly epochs: Map<number, number>;
  readonly disks: Map<number, number>;
  readonly lives: Map<number, number>;
  readonly leases: Map<number, MaintenanceLease>;
}

/** A deletion that was decided, and may come at any time. Kubernetes checks what it names. */
type Deletion =
  | { readonly what: "pod"; readonly broker: number; readonly life: number }
  | { readonly what: "volume"; readonly broker: number; readonly disk: number };

type Controlled = Awaited<ReturnType<MaintenanceCluster["operated"]>> & {
  readonly replicas: ReplicaHandlers;
  readonly admin: Controller;
};

/** One of the brokers that an operator has, or had, a lease of. */
const heldBy = ({ leases }: Operator, at: number): number =>
  [...leases.keys()][at % Math.max(1, leases.size)] ?? -1;

export class MaintenanceWorld {
  readonly cluster = new MaintenanceCluster();
  readonly #machines: Machine[] = [];
  readonly #operators: Operator[] = ["one", "two"].map((name) => ({
    ...{ name, epochs: new Map(), disks: new Map(), lives: new Map(), leases: new Map() },
  }));
  readonly #controllers: Controlled[] = [];
  readonly #deletions: Deletion[] = [];
  /** Acknowledged records by partition. */
  readonly #acknowledged = new Map<string, number[]>();
  /** Partitions whose leaders wait for the answer of a change. */
  readonly #changing = new Set<string>();
  readonly #calls = new Set<Promise<unknown>>();
  #numbers = 0;
  #controllersMade = 0;
  #topics = 0;
  /** What has happened, so that a run that tests nothing is seen. */
  readonly counts = {
    removals: 0,
    granted: 0,
    refused: 0,
    volumes: 0,
    pods: 0,
    acknowledged: 0,
    forced: 0,
  };

  static async start(): Promise<MaintenanceWorld> {
    const world = new MaintenanceWorld();
    const { cluster } = world;
    for (let id = 0; id < brokerCount; id += 1) {
      world.#machines.push({ disk: 0, isAlive: true, life: 0, records: new Map() });
      await cluster.start(id);
    }
    await cluster.topicWith("t", 2, [{ replicas: [0, 1, 2] }, { replicas: [1, 2, 3] }]);
    await cluster.topicWith("u", 1, [{ replicas: [2, 0] }, { replicas: [3, 1] }]);
    for (let i = 0; i < 2; i += 1) await world.#addController();
    return world;
  }

  async take({ a, b, what }: Step): Promise<void> {
    const broker = a % brokerCount;
    const operator = this.#operators[b % 2];
    if (operator === undefined) return;
    if (what === "produce") await this.#produce(a);
    else if (what === "catchUp") await this.#catchUp(broker);
    else if (what === "shrink") await this.#shrink(a, b);
    else if (what === "start") await this.#start(broker);
    else if (what === "recover") await this.#recover(broker);
    else if (what === "kill") this.#kill(broker);
    else if (what === "expire") await this.#expire(broker);
    else if (what === "clean") await this.#clean(broker);
    else if (what === "observe") await this.#observe(operator);
    else if (what === "acquire") this.#acquire(operator, broker, b >> 1);
    else if (what === "replace") await this.#replace(operator, broker);
    else if (what === "rival") await this.#rival(broker);
    else if (what === "empty") await this.#empty(operator, broker);
    else if (what === "act") this.#act(operator, a);
    else if (what === "delete") await this.#delete(a);
    else if (what === "release") this.#release(operator, a, false);
    else if (what === "force") this.#release(operator, a, b % 5 === 0);
    else if (what === "intend") this.#intend(broker, b);
    else if (what === "create") this.#create(a);
    else if (what === "fail") await this.#fail(b);
    else if (what === "longWait") await this.cluster.pass(4_000);
    await this.cluster.pass(what === "wait" ? a : b % 12);
    await this.#check();
  }

  /** Lets everything that is under way end. */
  async end(): Promise<void> {
    await this.cluster.pass(20_000);
    await this.#check();
  }

  async #addController(): Promise<void> {
    this.#controllersMade += 1;
    const { random } = this.cluster.kernel;
    const made = await this.cluster.operated(this.#controllersMade, (store) => ({
      txn: async (...args) => {
        await this.#delay(random.below(30));
        return store.txn(...args);
      },
    }));
    const { life: _, ...shared } = this.cluster.process(`services ${this.#controllersMade}`);
    const active = made.process;
    const admin = new Controller({ ...shared, active, defaultReplicationFactor: 1 });
    const replicas = new ReplicaHandlers({
      ...{ clusterId: "c", clock: shared.clock, active },
      deletionDone: (id, brokerId) => admin.deletionDone(id, brokerId),
      removalsDone: (id, removals) => admin.removalsDone(id, removals),
      producerIds: new ProducerIdBlocks({ store: shared.store, active }),
    });
    this.#controllers.push({ ...made, admin, replicas });
  }

  #delay(ms: number): Promise<void> {
    return new Promise((resolve) => void this.cluster.kernel.schedule(ms, resolve, "call"));
  }

  get #active(): Controlled | undefined {
    return this.#controllers.find(({ process }) => isActive(process));
  }

  /** Goes on in the background. Only errors of this system are expected. */
  #call<T>(work: Promise<T>, then: (answer: T) => void, always: () => void = () => {}): void {
    const call = work
      .then(then, (thrown: unknown) => {
        if (!(thrown instanceof MillraceError)) throw thrown;
      })
      .finally(() => {
        always();
        this.#calls.delete(call);
      });
    this.#calls.add(call);
  }

  async #partitions(): Promise<{ kv: KeyValue; record: PartitionRecord }[]> {
    const { kvs } = await this.cluster.run(this.cluster.store.range({ prefix: keys.partitions }));
    return kvs.map((kv) => ({ kv, record: decodeRecord.partition(kv) }));
  }

  #recordsOf(broker: number, key: string): Set<number> {
    const records = this.#machines[broker]?.records ?? new Map<string, Set<number>>();
    const found = records.get(key) ?? new Set();
    records.set(key, found);
    return found;
  }

  /** Whether the process that was in sync is alive, and registered as the ISR names it. */
  #isThere(record: PartitionRecord, broker: number): boolean {
    const epoch = record.isrBrokerEpochs[record.isr.indexOf(broker)];
    const { isAlive = false } = this.#machines[broker] ?? {};
    return isAlive && epoch === BigInt(this.cluster.epochOf(broker));
  }

  async #produce(at: number): Promise<void> {
    const partitions = await this.#partitions();
    const { kv, record } = partitions[at % Math.max(1, partitions.length)] ?? {};
    if (kv === undefined || record?.leader === undefined || this.#changing.has(kv.key)) return;
    const min = await this.#minOf(record);
    if (record.isr.length < min || !record.isr.every((id) => this.#isThere(record, id))) return;
    this.#numbers += 1;
    this.counts.acknowledged += 1;
    for (const id of record.isr) this.#recordsOf(id, kv.key).add(this.#numbers);
    const acknowledged = this.#acknowledged.get(kv.key) ?? [];
    acknowledged.push(this.#numbers);
    this.#acknowledged.set(kv.key, acknowledged);
  }

  async #minOf({ adding, replicas, topicId }: PartitionRecord): Promise<number> {
    const { kvs } = await this.cluster.run(this.cluster.store.range({ prefix: keys.topics }));
    const topic = kvs
      .map(decodeRecord.topic)
      .find((one) => Buffer.compare(one.topicId, topicId) === 0);
    const min = Number(topic?.configs["min.insync.replicas"] ?? 1);
    return Math.min(min, replicas.length - adding.length);
  }

  /** A broker copies what it lacks, and its leaders ask for it to be in their ISRs. */
  async #catchUp(broker: number): Promise<void> {
    const machine = this.#machines[broker];
    if (machine?.isAlive !== true || this.cluster.epochOf(broker) === 0) return;
    for (const { kv, record } of await this.#partitions()) {
      const { isr, leader, replicas } = record;
      if (leader === undefined || !replicas.includes(broker) || isr.includes(broker)) continue;
      if (!this.#isThere(record, leader) || this.#changing.has(kv.key)) continue;
      machine.records.set(kv.key, new Set(this.#recordsOf(leader, kv.key)));
      this.#alter(kv, record, [...isr, broker]);
    }
  }

  async #shrink(at: number, which: number): Promise<void> {
    const partitions = await this.#partitions();
    const { kv, record } = partitions[at % Math.max(1, partitions.length)] ?? {};
    if (kv === undefined || record?.leader === undefined) return;
    const { isr, leader } = record;
    const others = isr.filter((id) => id !== leader);
    const slow = others[which % Math.max(1, others.length)];
    if (slow === undefined || !this.#isThere(record, leader)) return;
    this.#alter(
      kv,
      record,
      isr.filter((id) => id !== slow),
    );
  }

  #alter({ key, modRevision }: KeyValue, record: PartitionRecord, isr: readonly number[]): void {
    const { leader = 0, leaderEpoch, partition, topicId } = record;
    const active = this.#active;
    if (active === undefined || this.#changing.has(key)) return;
    const change = { topicId, partition, leaderEpoch, modRevision: BigInt(modRevision) };
    const epochOf = (brokerId: number) => BigInt(this.cluster.epochOf(brokerId));
    const members = isr.map((brokerId) => ({ brokerId, brokerEpoch: epochOf(brokerId) }));
    const request = create(AlterPartitionsRequestSchema, {
      ...{ brokerId: leader, brokerEpoch: epochOf(leader) },
      partitions: [{ ...change, isr: members }],
    });
    this.#changing.add(key);
    this.#call(
      active.replicas.alterPartitions(request),
      () => {},
      () => this.#changing.delete(key),
    );
  }

  /** Whatever its disk is: brokers that are told to stay down are not believed to. */
  async #start(broker: number): Promise<void> {
    const machine = this.#machines[broker];
    if (machine === undefined || machine.isAlive) return;
    machine.isAlive = true;
    machine.life += 1;
    await this.cluster.start(broker, { disk: machine.disk });
  }

  async #recover(broker: number): Promise<void> {
    await this.#start(broker);
    await this.cluster.pass(50);
    await this.#catchUp(broker);
  }

  #kill(broker: number): void {
    const machine = this.#machines[broker];
    if (machine !== undefined) machine.isAlive = false;
  }

  async #expire(broker: number): Promise<void> {
    if (this.#machines[broker]?.isAlive === false) await this.cluster.stop(broker);
  }

  /** Deletes logs that the broker was removed from, and says so. */
  async #clean(broker: number): Promise<void> {
    const machine = this.#machines[broker];
    if (machine?.isAlive !== true) return;
    for (const { kv, record } of await this.#partitions()) {
      const entry = record.removed.find(({ brokerId }) => brokerId === broker);
      if (entry === undefined || record.replicas.includes(broker)) continue;
      machine.records.delete(kv.key);
      const { partition } = record;
      const topicId = topicIdOf(record.topicId);
      const removals = [{ topicId, partition, leaderEpoch: entry.leaderEpoch }];
      const active = this.#active;
      if (active === undefined) continue;
      this.#call(active.admin.removalsDone(broker, removals), () => {});
    }
  }

  async #observe({ disks, epochs, lives }: Operator): Promise<void> {
    for (const [broker, machine] of this.#machines.entries()) {
      epochs.set(broker, this.cluster.epochOf(broker));
      disks.set(broker, machine.disk);
      lives.set(broker, machine.life);
    }
  }

  #acquire(operator: Operator, broker: number, at: number): void {
    const { disks, epochs, leases, name: holder } = operator;
    const kind = kinds[at % kinds.length] ?? RESTART;
    const deletes = kind === REPLACE_DISK || kind === REMOVE;
    const active = this.#active;
    if (active === undefined) return;
    const work = active.acquire({
      ...{ broker, kind, holder, epoch: epochs.get(broker) ?? 0, ttlMs: 10_000 },
      ...(deletes ? { directory: directoryOf(broker, disks.get(broker)) } : {}),
      allowUnavailable: kind === RESTART && at % 3 === 0,
    });
    this.#call(work, ({ lease, mayAct }) => {
      this.counts[mayAct ? "granted" : "refused"] += 1;
      if (mayAct && kind === REMOVE) this.counts.removals += 1;
      if (lease !== undefined) leases.set(broker, lease);
    });
  }

  /** A broker is down, and its operator wants to give it another disk. */
  async #replace(operator: Operator, broker: number): Promise<void> {
    this.#kill(broker);
    await this.#expire(broker);
    await this.cluster.pass(200);
    await this.#observe(operator);
    this.#acquire(operator, broker, kinds.indexOf(REPLACE_DISK));
  }

  /** Both operators want to restart a broker, at one moment. */
  async #rival(broker: number): Promise<void> {
    for (const [i, operator] of this.#operators.entries()) {
      await this.#observe(operator);
      this.#acquire(operator, (broker + i) % brokerCount, kinds.indexOf(RESTART));
    }
  }

  /** A broker is drained and decommissioned, if it can be, and its operator wants to remove it. */
  async #empty(operator: Operator, broker: number): Promise<void> {
    this.#intend(broker, intents.indexOf(DRAINING));
    for (let i = 0; i < 3 * brokerCount; i += 1) {
      await this.#recover(i % brokerCount);
      await this.cluster.pass(100);
      await this.#clean(broker);
    }
    this.#intend(broker, intents.indexOf(DECOMMISSIONED));
    await this.cluster.pass(200);
    await this.#observe(operator);
    this.#acquire(operator, broker, kinds.indexOf(REMOVE));
  }

  /** Asks once more whether it may, and decides what to delete. */
  #act(operator: Operator, at: number): void {
    const { disks, leases, lives } = operator;
    const broker = heldBy(operator, at);
    const lease = leases.get(broker);
    const active = this.#active;
    if (lease === undefined || active === undefined) return;
    const renewal = active.renew(broker, lease.token).catch((thrown: unknown) => {
      if (hasCode(thrown, ErrorCode.MAINTENANCE_LEASE_LOST)) leases.delete(broker);
      throw thrown;
    });
    this.#call(renewal, ({ mayAct }) => {
      if (!mayAct || lease.kind === DRAIN) return;
      this.#deletions.push({ what: "pod", broker, life: lives.get(broker) ?? 0 });
      if (lease.kind === RESTART) return;
      const disk = [0, ...disks.values()].find((one) => {
        return Buffer.compare(directoryOf(broker, one), lease.directoryId) === 0;
      });
      if (disk !== undefined) this.#deletions.push({ what: "volume", broker, disk });
    });
  }

  /** One of the deletions that were decided, however long ago. */
  async #delete(at: number): Promise<void> {
    const [deletion] = this.#deletions.splice(at % Math.max(1, this.#deletions.length), 1);
    if (deletion === undefined) return;
    const machine = this.#machines[deletion.broker];
    if (machine === undefined) return;
    if (deletion.what === "pod") {
      if (machine.life !== deletion.life || !machine.isAlive) return;
      this.counts.pods += 1;
      machine.isAlive = false;
      return;
    }
    if (machine.disk !== deletion.disk) return;
    await this.#checkNothingCountsOn(deletion.broker, deletion.disk);
    this.counts.volumes += 1;
    machine.isAlive = false;
    machine.disk += 1;
    machine.records = new Map();
  }

  #release(operator: Operator, at: number, force: boolean): void {
    const active = this.#active;
    const broker = heldBy(operator, at);
    const token = operator.leases.get(broker)?.token;
    if (active === undefined || (token === undefined && !force)) return;
    if (force) this.counts.forced += 1;
    this.#call(active.release(broker, token, force), () => {});
  }

  #intend(broker: number, at: number): void {
    const active = this.#active;
    const intent = intents[at % intents.length] ?? ACTIVE;
    if (active !== undefined) this.#call(active.setIntent(broker, intent), () => {});
  }

  #create(at: number): void {
    const active = this.#active;
    if (active === undefined || this.#topics >= 3) return;
    this.#topics += 1;
    const name = `new-${this.#topics}`;
    const request = create(CreateTopicRequestSchema, { name, replicationFactor: 1 + (at % 2) });
    this.#call(active.admin.createTopic(request), () => {});
  }

  /** The active controller dies, and another process starts. */
  async #fail(at: number): Promise<void> {
    const active = this.#active;
    if (active === undefined || at % 4 > 0 || this.#controllersMade >= 5) return;
    active.life.kill();
    this.#controllers.splice(this.#controllers.indexOf(active), 1);
    this.#changing.clear();
    await this.#addController();
    await this.cluster.pass(2 * ttlSeconds * 1000);
  }

  /** What a lease lets be deleted, however much later, is a disk that no partition counts on. */
  async #checkNothingCountsOn(broker: number, disk: number): Promise<void> {
    for (const { kv, record } of await this.#partitions()) {
      const { directoryIds, elr, isr, replicas } = record;
      const known = directoryIds[replicas.indexOf(broker)] ?? new Uint8Array(0);
      const isIts = Buffer.compare(known, directoryOf(broker, disk)) === 0;
      const counts = isIts && (isr.includes(broker) || elr.includes(broker));
      assert.ok(!counts, `${kv.key} (isr ${isr} elr ${elr}) counts on disk ${disk} of ${broker}`);
    }
  }

  async #check(): Promise<void> {
    for (const { kv, record } of await this.#partitions()) {
      const acknowledged = this.#acknowledged.get(kv.key) ?? [];
      const complete = [...record.isr, ...record.elr].filter((id) => {
        const { disk = 0 } = this.#machines[id] ?? {};
        const known = record.directoryIds[record.replicas.indexOf(id)];
        const isIts = known === undefined || Buffer.compare(known, directoryOf(id, disk)) === 0;
        return isIts && acknowledged.every((one) => this.#recordsOf(id, kv.key).has(one));
      });
      const what = `${kv.key} isr ${record.isr} elr ${record.elr}: ${acknowledged.length} records`;
      assert.ok(acknowledged.length === 0 || complete.length > 0, `nobody has all of ${what}`);
    }
    const { kvs } = await this.cluster.run(
      this.cluster.store.range({ prefix: keys.maintenanceLeases }),
    );
    const away = kvs.filter((kv) => takesAway(decodeRecord.maintenance(kv).kind));
    assert.ok(away.length <= 1, `${away.length} brokers are in maintenance`);
  }
}
