/**
 * One simulated machine with a standalone broker on it, and a network between it and its clients.
 */
import { noMetrics } from "@millrace/broker";
import { type Client, createClient } from "@millrace/client/core";
import { type Env, silentLogger } from "@millrace/env";
import { defaultManagerConfig } from "@millrace/log";
import { EmbeddedStore, type KeyValue, type Persistence } from "@millrace/metadata";
import { syncCompressor } from "@millrace/record/node";
import {
  type CrashModel,
  Incarnation,
  Kernel,
  mountStore,
  SeededRandom,
  SimDisk,
  SimNetwork,
} from "@millrace/sim";
import { boot } from "@millrace/standalone/boot";
import { slowInflating } from "./slow-inflating.ts";

const host = "broker";
const endpoint = `${host}:7400`;

/** Metadata that survives crashes; its own durability is tested with SQLite. */
const durableMetadata = (): Persistence => {
  const kvs = new Map<string, KeyValue>();
  let revision = 1;
  return {
    load: () => ({ revision, kvs: [...kvs.values()] }),
    commit: (change) => {
      for (const kv of change.puts) kvs.set(kv.key, kv);
      for (const key of change.deletes) kvs.delete(key);
      revision = change.revision;
    },
    close: () => {},
  };
};

/** Faults that a seed switches on. */
interface Faults {
  readonly resets: boolean;
  readonly halfOpen: boolean;
  readonly delays: boolean;
  /** Losses, partitions and stalls of links, narrow links. */
  readonly links: boolean;
  readonly pauses: boolean;
}

export class World {
  readonly kernel: Kernel;
  readonly disk: SimDisk;
  readonly network: SimNetwork;
  readonly #faults: Faults;
  readonly #random: SeededRandom;
  readonly #metadata = durableMetadata();
  readonly #clients: string[] = [];
  #broker: Incarnation;
  #healed = false;
  #disturbedMs = 0;

  constructor(seed: number) {
    this.kernel = new Kernel(seed);
    this.#random = new SeededRandom(seed ^ 0x2c1b3c6d);
    this.disk = new SimDisk(this.kernel.random);
    this.#broker = new Incarnation(this.kernel, host);
    const random = this.#random;
    this.#faults = {
      resets: random.chance(0.6),
      halfOpen: random.chance(0.3),
      delays: random.chance(0.7),
      links: random.chance(0.5),
      pauses: random.chance(0.3),
    };
    const { delays } = this.#faults;
    this.network = new SimNetwork(this.kernel, () =>
      delays ? random.float() * (random.chance(0.02) ? 300 : 4) : 0.1,
    );
    this.network.fate = () => this.#fate();
  }

  /** How long something was wrong with the network or the process, but for crashes. */
  get disturbedMs(): number {
    return this.#disturbedMs;
  }

  /** From now on the network is well. */
  heal(): void {
    this.#healed = true;
    this.network.heal();
    this.#broker.resume();
  }

  /** Starts a process on what the disk holds; resolves once it serves. */
  async boot(): Promise<void> {
    const process = new Incarnation(this.kernel, host);
    this.#broker = process;
    this.network.powerOn(host);
    const clock = process.clock();
    const random = this.#random;
    const env: Env = {
      ...{ clock, random, disk: this.disk.mount(process), logger: silentLogger },
      ...{ compressor: slowInflating(clock, random), sim: this.kernel.marks },
    };
    const store = new EmbeddedStore({ clock, random, persistence: this.#metadata });
    const { dialer, listener } = this.network.attach(host, process);
    await boot({
      ...{ env, store: mountStore(store, process), dialer, brokerId: 0, newClusterId: "sim" },
      ...{ alone: true, defaultReplicationFactor: 1 },
      listeners: {
        client: { listener, endpoint },
        internal: { listener, endpoint: `${host}:7401` },
        health: { listener, endpoint: `${host}:7402` },
        graceMs: 1000,
      },
      logConfig: {
        ...defaultManagerConfig,
        journalFileBytes: 64 * 1024,
        journalBytesMax: 256 * 1024,
        tailCacheBytesMax: this.kernel.marks.buggify("no tail cache", 1) ? 0 : 20_000,
        diskReserveBytes: 0,
        checkpointIntervalMs: this.kernel.marks.buggify("checkpoints all the time") ? 5 : 200,
      },
      metrics: { broker: noMetrics },
      advertise: () => endpoint,
    });
  }

  /** The process, or the machine with it, dies. */
  crash(model: CrashModel): void {
    this.kernel.marks.sometimes(`crash: ${model}`);
    if (model === "power") this.network.powerOff(host);
    else this.#broker.kill();
    this.disk.crash(model);
  }

  /** Brings trouble to the network or the process, and ends it, until `working` says no. */
  async disturb(working: () => boolean): Promise<void> {
    const random = this.#random;
    while (working() && !this.#healed) {
      await this.sleep(100 + random.float() * 3000);
      if (!working() || this.#healed) return;
      const end = this.#disturbance();
      const ms = random.float() * (random.chance(0.1) ? 40_000 : 1500);
      await this.sleep(ms);
      this.#disturbedMs += ms;
      end();
    }
  }

  /** A client on a host of its own, which never dies. */
  client(name: string): Client {
    this.#clients.push(name);
    const process = new Incarnation(this.kernel, name);
    const env = { clock: process.clock(), random: this.#random };
    return createClient({
      dialer: this.network.attach(name, process).dialer,
      env: { ...env, compressor: syncCompressor, logger: silentLogger },
      bootstrap: [endpoint],
    });
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.kernel.schedule(ms, resolve, "world");
    });
  }

  /** Something that the seed allows. Returns what ends it. */
  #disturbance(): () => void {
    const random = this.#random;
    const { links, pauses } = this.#faults;
    const kinds = [
      ...(links ? (["cut", "partition", "lose", "stall", "narrow"] as const) : []),
      ...(pauses ? (["pause"] as const) : []),
    ];
    if (kinds.length === 0) return () => {};
    const kind = random.pick(kinds);
    const client = random.pick(this.#clients);
    const [from, to] = random.chance(0.5) ? [client, host] : [host, client];
    this.kernel.marks.sometimes(`fault: ${kind}`);
    const { network } = this;
    if (kind === "pause") {
      const process = this.#broker;
      process.pause();
      return () => process.resume();
    }
    if (kind === "partition") network.partition(this.#clients, host);
    else if (kind === "lose") network.lose(from, to, random.float());
    else if (kind === "narrow") {
      network.limit(from, to, 1000 + random.below(50_000));
      return () => network.limit(from, to, Number.POSITIVE_INFINITY);
    } else network[kind](from, to);
    return () => network.heal();
  }

  #fate(): "deliver" | "reset" | "half-open" {
    if (this.#healed) return "deliver";
    if (this.#faults.resets && this.#random.chance(0.002)) return "reset";
    if (this.#faults.halfOpen && this.#random.chance(0.0005)) return "half-open";
    return "deliver";
  }
}
