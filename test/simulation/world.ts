/**
 * One simulated machine with a standalone broker on it, and a network between it and its clients.
 */
import { create } from "@bufbuild/protobuf";
import { Broker, ClusterMirror, logConfigOf, noMetrics } from "@millrace/broker";
import { type Client, createClient } from "@millrace/client/core";
import { topicConfigOf } from "@millrace/config";
import { Controller } from "@millrace/controller";
import { type Env, silentLogger } from "@millrace/env";
import { defaultManagerConfig, openLogManager } from "@millrace/log";
import {
  decodeRecord,
  EmbeddedStore,
  type KeyValue,
  keys,
  Mirror,
  type Persistence,
} from "@millrace/metadata";
import { BrokerRecordSchema } from "@millrace/proto/storage";
import { syncCompressor } from "@millrace/record/node";
import { type Link, LocalNetwork } from "@millrace/rpc/local";
import { type CrashModel, Incarnation, Kernel, SeededRandom, SimDisk } from "@millrace/sim";

const endpoint = "broker:7400";

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
export interface Faults {
  readonly resets: boolean;
  readonly silence: boolean;
  readonly delays: boolean;
}

export class World {
  readonly kernel: Kernel;
  readonly disk: SimDisk;
  readonly network: LocalNetwork;
  readonly faults: Faults;
  readonly #random: SeededRandom;
  readonly #metadata = durableMetadata();
  #broker: Incarnation;
  #healing = false;
  boots = 0;

  constructor(seed: number) {
    this.kernel = new Kernel(seed);
    this.#random = new SeededRandom(seed ^ 0x2c1b3c6d);
    this.disk = new SimDisk(this.kernel.random);
    this.#broker = new Incarnation(this.kernel);
    const random = this.#random;
    this.faults = {
      resets: random.chance(0.6),
      silence: random.chance(0.3),
      delays: random.chance(0.7),
    };
    const link: Link = {
      delayMs: () => (this.faults.delays ? random.float() * (random.chance(0.02) ? 300 : 4) : 0.1),
      fate: () => this.#fate(),
      refuses: () => !this.#healing && this.faults.resets && random.chance(0.02),
    };
    this.network = new LocalNetwork({ clock: new Incarnation(this.kernel).clock(), link });
  }

  /** From now on the network is well. */
  heal(): void {
    this.#healing = true;
  }

  /** Starts a process on what the disk holds; resolves once it serves. */
  async boot(): Promise<void> {
    const process = new Incarnation(this.kernel);
    this.#broker = process;
    const clock = process.clock();
    const random = this.#random;
    const env: Env = {
      clock,
      random,
      disk: this.disk.mount(process),
      compressor: syncCompressor,
      logger: silentLogger,
    };
    const store = new EmbeddedStore({ clock, random, persistence: this.#metadata });
    const shared = { store, clock, random, logger: silentLogger };
    const controller = new Controller({ ...shared, defaultReplicationFactor: 1 });
    const clusterId = await controller.bootstrapCluster("sim");
    const configs = new Map<string, Readonly<Record<string, string>>>();
    for (const kv of (await store.range({ prefix: keys.topics })).kvs) {
      const record = decodeRecord.topic(kv);
      configs.set(Buffer.from(record.topicId).toString("hex"), record.configs);
    }
    const identity = { clusterId, brokerId: 0 };
    const logs = await openLogManager({
      env,
      identity,
      config: {
        ...defaultManagerConfig,
        journalFileBytes: 64 * 1024,
        journalBytesMax: 256 * 1024,
        tailCacheBytesMax: 20_000,
        diskReserveBytes: 0,
        checkpointIntervalMs: 200,
      },
      configFor: (topicId) => logConfigOf(topicConfigOf(configs.get(topicId) ?? {})),
    });
    await controller.recover();
    if (!logs.recovery.clean && logs.recovery.partitions > 0) await controller.bumpLeaderEpochs(0);
    const mirror = new Mirror(shared);
    await mirror.start();
    const view = new ClusterMirror(mirror, silentLogger, () => endpoint);
    const broker = new Broker({ env, logs, view, identity, metrics: noMetrics });
    const bindings = [...broker.bindings(), ...controller.bindings()];
    await this.network.listener("broker").listen(endpoint, bindings);
    await controller.registerBroker(
      create(BrokerRecordSchema, { brokerId: 0, clientEndpoint: endpoint }),
    );
    await mirror.waitForRevision((await store.range({ key: keys.cluster })).revision, 10_000);
    await broker.start();
    this.boots += 1;
    this.kernel.trace(`boot ${this.boots}`);
  }

  /** The process, or the machine with it, dies. */
  crash(model: CrashModel): void {
    this.kernel.trace(`crash ${model}`);
    this.#broker.kill();
    this.network.kill("broker");
    this.disk.crash(model);
  }

  /** A client on a host of its own, which never dies. */
  client(host: string): Client {
    const clock = new Incarnation(this.kernel).clock();
    const env = { clock, random: this.#random, compressor: syncCompressor, logger: silentLogger };
    return createClient({ dialer: this.network.dialer(host), env, bootstrap: [endpoint] });
  }

  #fate(): "deliver" | "reset" | "silent" {
    if (this.#healing) return "deliver";
    if (this.faults.resets && this.#random.chance(0.002)) return "reset";
    if (this.faults.silence && this.#random.chance(0.0005)) return "silent";
    return "deliver";
  }
}
