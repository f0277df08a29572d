/**
 * A cluster under a seed: machines with all of Millrace on each, or brokers and controllers apart,
 * one store, and clients, while machines, disks, links and the store fail. In the end everything
 * that was promised is there, on every replica.
 */
import assert from "node:assert/strict";
import { type Client, createClient } from "@millrace/client/core";
import { silentLogger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import { decodeRecord, keys } from "@millrace/metadata";
import type { PartitionRecord } from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import { syncCompressor } from "@millrace/record/node";
import type { Dialer } from "@millrace/rpc";
import { Incarnation, Kernel, SeededRandom, SimNetwork } from "@millrace/sim";
import { Ledger } from "../groups/ledger.ts";
import { BrokerMachine } from "./broker-machine.ts";
import { ControllerMachine } from "./controller-machine.ts";
import { Disturbances } from "./disturbances.ts";
import { chooseFaults, type Faults, replicationFactorMax } from "./faults.ts";
import { GroupMachine } from "./group-machine.ts";
import { AppendTap } from "./groups/append-tap.ts";
import type { Machine } from "./machine.ts";
import { SimStore } from "./sim-store.ts";
import { noTrouble } from "./store-link.ts";
import { StoreOperations } from "./store-operations.ts";
import { type KnownTopics, knownTopics, toldTopics } from "./topics.ts";

/** Longest time until everything is in sync again once nothing is wrong any more, ms. */
const healMs = 60_000;

/** Controllers of a cluster that has them apart. */
const controllerCounts = [1, 2, 3] as const;

export class Cluster {
  readonly kernel: Kernel;
  readonly brokers: readonly BrokerMachine[];
  /** Machines that are controllers and nothing else. */
  readonly controllers: readonly ControllerMachine[];
  readonly groupCoordinators: readonly GroupMachine[];
  /** What members of groups do. */
  readonly ledger: Ledger;
  readonly store: SimStore;
  readonly operations: StoreOperations;
  readonly #random: SeededRandom;
  readonly #network: SimNetwork;
  readonly #disturbances: Disturbances;
  readonly faults: Faults;
  readonly #clients: string[] = [];
  #isHealed = false;
  #disturbedMs = 0;
  #isLosingDisk = false;

  /** `groupCoordinators`: how many; their machines are their own. */
  constructor(seed: number, brokers: number, isApart: boolean, groupCoordinators = 0) {
    const kernel = new Kernel(seed);
    const random = new SeededRandom(seed ^ 0x2c1b3c6d);
    this.kernel = kernel;
    this.#random = random;
    this.faults = chooseFaults(random, brokers, isApart);
    const delays = random.chance(0.7);
    this.#network = new SimNetwork(kernel, () =>
      delays ? random.float() * (random.chance(0.02) ? 300 : 4) : 0.1,
    );
    this.#network.fate = () => this.#fate();
    this.store = new SimStore(kernel, new Incarnation(kernel, "store").clock(), random);
    const replicationFactor = Math.min(brokers, replicationFactorMax);
    const shared = { kernel, random, network: this.#network, store: this.store, replicationFactor };
    this.brokers = Array.from(
      { length: brokers },
      (_, id) => new BrokerMachine(shared, id, isApart),
    );
    this.controllers = Array.from(
      { length: isApart ? random.pick(controllerCounts) : 0 },
      (_, id) => new ControllerMachine(shared, id),
    );
    this.ledger = new Ledger(kernel);
    const tap = new AppendTap(kernel.marks);
    this.groupCoordinators = Array.from(
      { length: groupCoordinators },
      (_, id) => new GroupMachine(shared, id, tap),
    );
    for (const { disk } of this.brokers) {
      disk.stallChance = this.faults.slowDisks ? random.pick([0, 0.02, 0.2]) : 0;
    }
    const { controllers, faults, store } = this;
    const machines = {
      brokers: this.brokers,
      controllers,
      groupCoordinators: this.groupCoordinators,
    };
    const scene = { kernel, random, store, faults, ...machines };
    const sleep = (ms: number): Promise<void> => this.sleep(ms);
    const clients = this.#clients;
    this.#disturbances = new Disturbances({ ...scene, network: this.#network, clients, sleep });
    this.operations = new StoreOperations({ ...scene, sleep });
  }

  get machines(): readonly Machine[] {
    return [...this.brokers, ...this.controllers, ...this.groupCoordinators];
  }

  get disturbedMs(): number {
    return this.#disturbedMs + this.operations.disturbedMs;
  }

  /** Hosts of clients whose links may fail. */
  exposes(hosts: readonly string[]): void {
    this.#clients.push(...hosts);
  }

  get network(): SimNetwork {
    return this.#network;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.kernel.schedule(ms, resolve, "cluster");
    });
  }

  /** A client on a host of its own, which never dies. */
  client(name: string): Client {
    const process = new Incarnation(this.kernel, name);
    return this.clientIn(process, this.#attach(name, process));
  }

  /** A client in a process that may die. */
  clientIn(process: Incarnation, dialer: Dialer): Client {
    const env = { clock: process.clock(), random: this.#random };
    return createClient({
      dialer,
      env: { ...env, compressor: syncCompressor, logger: silentLogger },
      bootstrap: this.brokers.map(({ host }) => `${host}:7400`),
    });
  }

  /** Crashes a machine, and starts it again, until `working` says no. */
  async crash(machine: Machine, working: () => boolean): Promise<void> {
    const random = this.#random;
    if (!this.faults.crashes) return;
    while (working()) {
      await this.sleep(500 + random.float() * 12_000);
      if (!working()) return;
      const endedMs = this.kernel.nowMs;
      if (random.chance(0.3)) await machine.stop();
      else machine.crash(random.chance(0.6) ? "power" : "process");
      const downMs = random.float() * (random.chance(0.2) ? 15_000 : 1500);
      this.#disturbedMs += this.kernel.nowMs - endedMs + downMs;
      await this.sleep(downMs);
      if (machine instanceof BrokerMachine && this.faults.lostDisks && random.chance(0.3)) {
        await this.#loseDisk(machine);
      }
      const starting = machine.start();
      // A second crash may hit the recovery.
      if (random.chance(0.3)) {
        await this.sleep(random.float() * 20);
        machine.crash("power");
        await this.sleep(random.float() * 500);
        await machine.start();
      } else await starting;
    }
  }

  /** Brings trouble to links, processes and the store, and ends it, until `working` says no. */
  async disturb(working: () => boolean): Promise<void> {
    const random = this.#random;
    while (working() && !this.#isHealed) {
      await this.sleep(100 + random.float() * 4000);
      if (!working() || this.#isHealed || !this.#disturbances.areAny) return;
      const beganMs = this.kernel.nowMs;
      const { msMin = 0, end } = await this.#disturbances.begin();
      this.#disturbedMs += this.kernel.nowMs - beganMs;
      const ms = msMin + random.float() * (random.chance(0.15) ? 20_000 : 1500);
      this.#disturbedMs += ms;
      await this.sleep(ms);
      await end();
    }
  }

  /** From now on nothing is wrong. */
  heal(): void {
    this.#isHealed = true;
    this.#network.heal();
    for (const machine of this.machines) {
      machine.resume();
      Object.assign(machine.trouble, noTrouble);
    }
    for (const { disk } of this.brokers) disk.stallChance = 0;
  }

  /** Of topics that are there. */
  async partitions(): Promise<PartitionRecord[]> {
    const { ids } = await knownTopics(this.store);
    const { kvs } = await this.store.range({ prefix: keys.partitions });
    return kvs.map(decodeRecord.partition).filter(({ topicId }) => ids.has(topicIdOf(topicId)));
  }

  topics(): Promise<KnownTopics> {
    return knownTopics(this.store);
  }

  /**
   * Resolves once every partition has a leader, all of its replicas are in sync, nothing is on the
   * move, nothing has yet to be deleted, and every broker tells what the store says.
   */
  async untilWhole(): Promise<void> {
    await this.#within("whole", () => this.#missing());
    const dialer = this.#attach("asker", new Incarnation(this.kernel, "asker"));
    for (const broker of this.brokers) {
      await this.#within("up to date", async () => {
        const known = String((await this.topics()).names);
        const told = await toldTopics(dialer, broker).then(String, (thrown: unknown) => {
          if (!MillraceError.from(thrown).spec.retriable) throw thrown;
          return "nothing";
        });
        return told === known ? undefined : `${broker.host} tells of ${told}, there is ${known}`;
      });
    }
  }

  #attach(name: string, process: Incarnation): Dialer {
    this.#clients.push(name);
    return this.#network.attach(name, process).dialer;
  }

  /** Resolves once nothing is missing, which must not take longer than `healMs`. */
  async #within(what: string, missing: () => Promise<string | undefined>): Promise<void> {
    const endMs = this.kernel.nowMs + healMs;
    for (;;) {
      const text = await missing();
      if (text === undefined) return;
      assert.ok(
        this.kernel.nowMs < endMs,
        `not ${what} ${healMs} ms after the last fault: ${text}`,
      );
      await this.sleep(100);
    }
  }

  #fate(): "deliver" | "reset" | "half-open" {
    if (this.#isHealed || !this.faults.connections) return "deliver";
    if (this.#random.chance(0.002)) return "reset";
    return this.#random.chance(0.0005) ? "half-open" : "deliver";
  }

  /** Empties the disk of a machine that is down, where that loses nothing. */
  async #loseDisk(machine: BrokerMachine): Promise<void> {
    // Of two at once each would count on the other.
    if (this.#isLosingDisk || this.operations.isBusy) return;
    this.#isLosingDisk = true;
    const { data } = this.store;
    const { kvs } = await data.range({ prefix: keys.partitions });
    const registered = await data.range({ key: keys.broker(machine.brokerId) });
    // While it is registered, a partition may still move to it alone.
    const isGone = registered.kvs.length === 0;
    const isSpare = kvs.every((kv) => {
      const { directoryIds, elr, isr, replicas } = decodeRecord.partition(kv);
      return [...isr, ...elr].some((id) => {
        const { [id]: other } = this.brokers;
        const known = directoryIds[replicas.indexOf(id)] ?? new Uint8Array(0);
        return other !== undefined && other !== machine && other.hasDirectory(known);
      });
    });
    if (isGone && isSpare && !this.operations.isBusy) machine.loseDisk();
    this.#isLosingDisk = false;
  }

  async #missing(): Promise<string | undefined> {
    const brokers = new Map<number, number>();
    for (const kv of (await this.store.range({ prefix: keys.brokers })).kvs) {
      brokers.set(decodeRecord.broker(kv).brokerId, kv.createRevision);
    }
    const [deletion] = (await this.store.range({ prefix: keys.deletions })).kvs;
    if (deletion !== undefined) {
      const { pendingBrokerIds, topic } = decodeRecord.deletion(deletion);
      return `topic ${topic?.name} is deleted, and brokers ${pendingBrokerIds} have it`;
    }
    for (const record of await this.partitions()) {
      const { isr, isrBrokerEpochs, leader, partition, replicas } = record;
      const name = `partition ${partition}, leader ${leader}, in sync ${isr}@${isrBrokerEpochs}`;
      if (leader === undefined || isr.length < replicas.length) return name;
      const present = isr.every((id, i) => BigInt(brokers.get(id) ?? 0) === isrBrokerEpochs[i]);
      if (!present) return `${name}, registered ${[...brokers]}`;
      const { adding, removing } = record;
      // A broker keeps a log that knows more than the record of its removal.
      const removed = this.operations.mayLeaveLogs ? [] : record.removed;
      const gone = removed.map(({ brokerId, leaderEpoch }) => `${brokerId}@${leaderEpoch}`);
      if (adding.length + removing.length + gone.length > 0) {
        return `${name}, adding ${adding}, removing ${removing}, removed ${gone}`;
      }
    }
    return undefined;
  }
}
