/**
 * A cluster under a seed: machines with all of Millrace on each, one store, and clients, while
 * machines, disks, links and the store fail. In the end everything that was promised is there, on
 * every replica.
 */
import assert from "node:assert/strict";
import { type Client, createClient } from "@millrace/client/core";
import { silentLogger } from "@millrace/env";
import { decodeRecord, EmbeddedStore, keys } from "@millrace/metadata";
import type { PartitionRecord } from "@millrace/proto/storage";
import { syncCompressor } from "@millrace/record/node";
import { Incarnation, Kernel, SeededRandom, SimNetwork } from "@millrace/sim";
import { check, finalLog, follow, History, makeTopic, produce, trim } from "./history.ts";
import { Machine } from "./machine.ts";
import { checkReplicas, reassign } from "./moves.ts";
import type { RunReport } from "./run.ts";
import { noTrouble } from "./store-link.ts";

/** Longest time until everything is in sync again once nothing is wrong any more, ms. */
const healMs = 60_000;

/** Faults that a seed switches on. */
interface Faults {
  readonly crashes: boolean;
  readonly links: boolean;
  readonly clientLinks: boolean;
  readonly pauses: boolean;
  readonly store: boolean;
  readonly slowDisks: boolean;
  /** Connections that break, or are silent. */
  readonly connections: boolean;
  /** A machine comes back with an empty disk, while another one has everything. */
  readonly lostDisks: boolean;
  /** Records are deleted while others write: a follower that was away has to begin anew. */
  readonly deletions: boolean;
  /** Partitions move: there are more machines than replicas. */
  readonly moves: boolean;
}

/** Replicas of a partition, where there are machines enough. */
const replicationFactorMax = 3;

class Cluster {
  readonly kernel: Kernel;
  readonly machines: readonly Machine[];
  readonly store: EmbeddedStore;
  readonly #random: SeededRandom;
  readonly #network: SimNetwork;
  readonly faults: Faults;
  readonly #clients: string[] = [];
  #isHealed = false;
  #disturbedMs = 0;
  #isLosingDisk = false;

  constructor(seed: number, brokers: number) {
    const kernel = new Kernel(seed);
    const random = new SeededRandom(seed ^ 0x2c1b3c6d);
    this.kernel = kernel;
    this.#random = random;
    this.faults = {
      crashes: random.chance(0.8),
      links: random.chance(0.6),
      clientLinks: random.chance(0.4),
      pauses: random.chance(0.3),
      store: random.chance(0.5),
      slowDisks: random.chance(0.5),
      connections: random.chance(0.5),
      deletions: random.chance(0.5),
      lostDisks: brokers > 1 && random.chance(0.5),
      moves: brokers > replicationFactorMax,
    };
    const delays = random.chance(0.7);
    this.#network = new SimNetwork(kernel, () =>
      delays ? random.float() * (random.chance(0.02) ? 300 : 4) : 0.1,
    );
    this.#network.fate = () => this.#fate();
    const clock = new Incarnation(kernel, "store").clock();
    this.store = new EmbeddedStore({ clock, random });
    const shared = { kernel, random, network: this.#network, store: this.store };
    const replicationFactor = Math.min(brokers, replicationFactorMax);
    this.machines = Array.from(
      { length: brokers },
      (_, id) => new Machine({ ...shared, replicationFactor }, id),
    );
    for (const machine of this.machines) {
      machine.disk.stallChance = this.faults.slowDisks ? random.pick([0, 0.02, 0.2]) : 0;
    }
  }

  get disturbedMs(): number {
    return this.#disturbedMs;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.kernel.schedule(ms, resolve, "cluster");
    });
  }

  /** A client on a host of its own, which never dies. */
  client(name: string): Client {
    this.#clients.push(name);
    const process = new Incarnation(this.kernel, name);
    const env = { clock: process.clock(), random: this.#random };
    return createClient({
      dialer: this.#network.attach(name, process).dialer,
      env: { ...env, compressor: syncCompressor, logger: silentLogger },
      bootstrap: this.machines.map(({ host }) => `${host}:7400`),
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
      if (this.faults.lostDisks && random.chance(0.3)) await this.#loseDisk(machine);
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
      if (!working() || this.#isHealed) return;
      const end = this.#disturbance();
      const ms = random.float() * (random.chance(0.15) ? 20_000 : 1500);
      this.#disturbedMs += ms;
      await this.sleep(ms);
      end();
    }
  }

  /** From now on nothing is wrong. */
  heal(): void {
    this.#isHealed = true;
    this.#network.heal();
    for (const machine of this.machines) {
      machine.resume();
      machine.disk.stallChance = 0;
      Object.assign(machine.trouble, noTrouble);
    }
  }

  async partitions(): Promise<PartitionRecord[]> {
    const { kvs } = await this.store.range({ prefix: keys.partitions });
    return kvs.map(decodeRecord.partition);
  }

  /**
   * Resolves once every partition has a leader, all of its replicas are in sync, and nothing is on
   * the move.
   */
  async untilWhole(): Promise<void> {
    const endMs = this.kernel.nowMs + healMs;
    for (;;) {
      const missing = await this.#missing();
      if (missing === undefined) return;
      assert.ok(
        this.kernel.nowMs < endMs,
        `not whole ${healMs} ms after the last fault: ${missing}`,
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
  async #loseDisk(machine: Machine): Promise<void> {
    // Of two at once each would count on the other.
    if (this.#isLosingDisk) return;
    this.#isLosingDisk = true;
    const { kvs } = await this.store.range({ prefix: keys.partitions });
    const registered = await this.store.range({ key: keys.broker(machine.brokerId) });
    // While it is registered, a partition may still move to it alone.
    const isGone = registered.kvs.length === 0;
    const isSpare = kvs.every((kv) => {
      const { directoryIds, elr, isr, replicas } = decodeRecord.partition(kv);
      return [...isr, ...elr].some((id) => {
        const { [id]: other } = this.machines;
        const known = directoryIds[replicas.indexOf(id)] ?? new Uint8Array(0);
        return other !== undefined && other !== machine && other.hasDirectory(known);
      });
    });
    if (isGone && isSpare) machine.loseDisk();
    this.#isLosingDisk = false;
  }

  async #missing(): Promise<string | undefined> {
    const brokers = new Map<number, number>();
    for (const kv of (await this.store.range({ prefix: keys.brokers })).kvs) {
      brokers.set(decodeRecord.broker(kv).brokerId, kv.createRevision);
    }
    for (const record of await this.partitions()) {
      const { isr, isrBrokerEpochs, leader, partition, replicas } = record;
      const name = `partition ${partition}, leader ${leader}, in sync ${isr}@${isrBrokerEpochs}`;
      if (leader === undefined || isr.length < replicas.length) return name;
      const present = isr.every((id, i) => BigInt(brokers.get(id) ?? 0) === isrBrokerEpochs[i]);
      if (!present) return `${name}, registered ${[...brokers]}`;
      const { adding, removing, removed } = record;
      const gone = removed.map(({ brokerId, leaderEpoch }) => `${brokerId}@${leaderEpoch}`);
      if (adding.length + removing.length + gone.length > 0) {
        return `${name}, adding ${adding}, removing ${removing}, removed ${gone}`;
      }
    }
    return undefined;
  }

  /** Something that the seed allows. Returns what ends it. */
  #disturbance(): () => void {
    const random = this.#random;
    const { clientLinks, links, pauses, store } = this.faults;
    const kinds = [
      ...(links ? (["cut", "partition", "lose", "stall"] as const) : []),
      ...(clientLinks ? (["client"] as const) : []),
      ...(pauses ? (["pause"] as const) : []),
      ...(store ? (["store cut", "store slow", "store loses answers", "store down"] as const) : []),
    ];
    if (kinds.length === 0) return () => {};
    const kind = random.pick(kinds);
    this.kernel.marks.sometimes(`fault: ${kind}`);
    this.kernel.trace(`fault: ${kind}`);
    const machine = random.pick(this.machines);
    if (kind === "pause") {
      machine.pause();
      return () => machine.resume();
    }
    if (kind === "store down") return this.#storeTrouble(this.machines, { isCut: true });
    if (kind === "store cut") return this.#storeTrouble([machine], { isCut: true });
    if (kind === "store slow") return this.#storeTrouble([machine], { delayMs: 400 });
    if (kind === "store loses answers") return this.#storeTrouble([machine], { lostAnswers: 0.5 });
    const others = this.machines.filter((one) => one !== machine).map(({ host }) => host);
    const to =
      kind === "client" ? this.#clients : random.chance(0.5) ? others : random.pick(others);
    const network = this.#network;
    if (kind === "partition" || kind === "client") network.partition(machine.host, to);
    else {
      const [a, b] = random.chance(0.5) ? [machine.host, to] : [to, machine.host];
      if (kind === "cut") network.cut(a, b);
      else if (kind === "stall") network.stall(a, b);
      else network.lose(a, b, 0.3);
    }
    return () => network.heal(machine.host, to);
  }

  #storeTrouble(machines: readonly Machine[], trouble: Partial<typeof noTrouble>): () => void {
    for (const machine of machines) Object.assign(machine.trouble, trouble);
    return () => {
      for (const machine of machines) Object.assign(machine.trouble, noTrouble);
    };
  }
}

const simulate = async (cluster: Cluster, random: SeededRandom): Promise<History> => {
  const { kernel, machines } = cluster;
  await kernel.run(Promise.all(machines.map((machine) => machine.start())));
  const configs = {
    ...{ "segment.bytes": "4096", "index.interval.bytes": "256" },
    "min.insync.replicas": String(Math.min(2, machines.length)),
  };
  await kernel.run(makeTopic(cluster.client("admin"), configs));
  const history = new History(kernel.marks);
  const sleep = (ms: number): Promise<void> => cluster.sleep(ms);
  let working = true;
  const isWorking = (): boolean => working;
  const by = { random, marks: kernel.marks };
  const failures: unknown[] = [];
  const note = (thrown: unknown): void => void failures.push(thrown);
  const stop = new AbortController();
  const readers = follow(cluster.client("reader"), history, stop.signal).catch(note);
  const writers = Promise.all(
    [1, 2].map((one) => produce(cluster.client(`w${one}`), one, history, random, sleep)),
  )
    .catch(note)
    .finally(() => {
      working = false;
    });
  const trouble = Promise.all([
    ...machines.map((machine) => cluster.crash(machine, isWorking)),
    cluster.disturb(isWorking),
    ...(cluster.faults.deletions
      ? [
          trim(
            cluster.client("trimmer"),
            history,
            random,
            sleep,
            isWorking,
            cluster.faults.moves,
          ).catch(note),
        ]
      : []),
    ...(cluster.faults.moves
      ? [reassign(cluster.client("mover"), machines.length, by, sleep, isWorking).catch(note)]
      : []),
  ]);
  await kernel.run(writers);
  cluster.heal();
  await kernel.run(trouble);
  await kernel.run(cluster.untilWhole());
  const found = await kernel.run(finalLog(cluster.client("checker")));
  stop.abort();
  await kernel.run(readers);
  if (failures.length > 0) throw failures[0];
  check(history, found, cluster.disturbedMs);
  await kernel.run(cluster.partitions().then((records) => checkReplicas(machines, records)));
  kernel.trace([...found].join());
  return history;
};

/** One run of a cluster. As `run` otherwise. */
export const runCluster = async (
  seed: number,
  brokers: number,
  onTrace?: (line: string) => void,
): Promise<RunReport> => {
  const cluster = new Cluster(seed, brokers);
  const { kernel } = cluster;
  if (onTrace !== undefined) kernel.onTrace = onTrace;
  try {
    const { acked, read } = await simulate(cluster, new SeededRandom(seed ^ 0x68bc21eb));
    return {
      ...{ traceHash: kernel.traceHash, events: kernel.events, simulatedMs: kernel.nowMs },
      ...{ acked: acked.size, read: read.size, marks: kernel.marks.reached },
    };
  } catch (thrown) {
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    const where = `seed ${seed}, step ${kernel.events}, ${kernel.nowMs.toFixed(3)} ms`;
    throw new Error(`${where}: ${text}`, { cause: thrown });
  }
};
