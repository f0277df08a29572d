/** A machine of a simulated cluster: its disk outlives its processes, which are all of Millrace. */
import { noMetrics } from "@millrace/broker";
import { type Env, type Logger, silentLogger } from "@millrace/env";
import { defaultManagerConfig, type LogManager } from "@millrace/log";
import type { MetadataStore } from "@millrace/metadata";
import { syncCompressor } from "@millrace/record/node";
import {
  type CrashModel,
  Incarnation,
  type Kernel,
  mountStore,
  type SeededRandom,
  SimDisk,
  type SimNetwork,
} from "@millrace/sim";
import { type Booted, boot } from "@millrace/standalone/boot";
import { linked, noTrouble, type StoreTrouble } from "./store-link.ts";

/** What all machines share. */
export interface Shared {
  readonly kernel: Kernel;
  readonly network: SimNetwork;
  readonly store: MetadataStore;
  readonly random: SeededRandom;
  readonly replicationFactor: number;
}

/** A supervisor's patience with a process that stops, ms. */
const stopMsMax = 20_000;
/** Pause before a process that could not start is started again, ms: a supervisor's. */
const restartMs = 500;

export class Machine {
  readonly brokerId: number;
  readonly host: string;
  readonly trouble: StoreTrouble = { ...noTrouble };
  readonly #shared: Shared;
  #disk: SimDisk;
  #process: Incarnation;
  #booted: Booted | undefined;
  #logs: LogManager | undefined;

  constructor(shared: Shared, brokerId: number) {
    this.#shared = shared;
    this.brokerId = brokerId;
    this.host = `b${brokerId}`;
    this.#disk = new SimDisk(shared.kernel.random);
    this.#process = new Incarnation(shared.kernel, this.host);
    this.#process.kill();
  }

  get disk(): SimDisk {
    return this.#disk;
  }

  /** Another disk, empty, takes the place of the one that is there. */
  loseDisk(): void {
    const { kernel } = this.#shared;
    kernel.marks.sometimes("fault: lost disk");
    kernel.trace(`${this.host} loses its disk`);
    const { stallChance } = this.#disk;
    this.#disk = new SimDisk(kernel.random);
    this.#disk.stallChance = stallChance;
    this.#logs = undefined;
  }

  /** Whether this is the id of the data directory on the disk. */
  hasDirectory(id: Uint8Array): boolean {
    return this.#logs !== undefined && Buffer.compare(this.#logs.directoryId, id) === 0;
  }

  /** Logs of the process that runs, or of the last one. */
  get logs(): LogManager {
    if (this.#logs === undefined) throw new Error(`${this.host} has never opened its logs`);
    return this.#logs;
  }

  get isRunning(): boolean {
    return this.#process.alive;
  }

  /** Starts a process, and again while it does not start. Resolves once one serves. */
  async start(): Promise<void> {
    const { kernel } = this.#shared;
    for (;;) {
      const process = new Incarnation(kernel, this.host);
      this.#process = process;
      const started = await this.#boot(process).then(
        (booted) => {
          if (this.#process === process) this.#booted = booted;
          return true;
        },
        () => false,
      );
      if (started) return;
      kernel.marks.sometimes("cluster: a process does not start");
      process.kill();
      this.disk.crash("process");
      await new Promise<void>((resolve) => kernel.schedule(restartMs, resolve, "supervisor"));
    }
  }

  /** Stops the process as an operator would, and kills one that does not end. */
  async stop(): Promise<void> {
    const { kernel } = this.#shared;
    const process = this.#process;
    kernel.marks.sometimes("cluster: a process is stopped");
    const { promise: late, resolve } = Promise.withResolvers<void>();
    kernel.schedule(stopMsMax, resolve, "supervisor");
    await Promise.race([this.#booted?.stop(), late]);
    if (this.#process !== process) return;
    process.kill();
    this.disk.crash("process");
  }

  /** The process, or the machine with it, dies. */
  crash(model: CrashModel): void {
    this.#shared.kernel.marks.sometimes(`crash: ${model}`);
    this.#booted = undefined;
    if (model === "power") this.#shared.network.powerOff(this.host);
    else this.#process.kill();
    this.disk.crash(model);
  }

  pause(): void {
    this.#process.pause();
  }

  resume(): void {
    this.#process.resume();
  }

  #boot(process: Incarnation): Promise<Booted> {
    const { kernel, network, random, replicationFactor, store } = this.#shared;
    const { brokerId, host } = this;
    network.powerOn(host);
    const clock = process.clock();
    const env: Env = {
      ...{ clock, random, disk: this.disk.mount(process), compressor: syncCompressor },
      ...{ logger: this.#logger(), sim: kernel.marks },
    };
    const { dialer, listener } = network.attach(host, process);
    const at = (port: number) => ({ listener, endpoint: `${host}:${port}` });
    const link = { kernel, clock, random, trouble: this.trouble };
    return boot({
      ...{ env, dialer, brokerId, newClusterId: "sim", alone: false },
      store: linked(mountStore(store, process), link),
      defaultReplicationFactor: replicationFactor,
      listeners: { client: at(7400), internal: at(7401), health: at(7402), graceMs: 1000 },
      logConfig: {
        ...defaultManagerConfig,
        ...{ journalFileBytes: 64 * 1024, journalBytesMax: 256 * 1024, diskReserveBytes: 0 },
        tailCacheBytesMax: kernel.marks.buggify("no tail cache", 1) ? 0 : 20_000,
        checkpointIntervalMs: 200,
      },
      metrics: {
        broker: noMetrics,
        watchLogs: (logs) => {
          this.#logs = logs;
        },
      },
      advertise: (listening) => listening,
    });
  }

  /** What the process says is how one sees from outside what it did: counts by message. */
  #logger(): Logger {
    const { kernel } = this.#shared;
    const note = (fields: Readonly<Record<string, unknown>>, message: string): void => {
      kernel.trace(`${this.host} says: ${message} ${shown(fields)}`);
      kernel.marks.sometimes(`says: ${message}`);
      if (fields["repair"] !== undefined) kernel.marks.sometimes(`repair: ${fields["repair"]}`);
    };
    return { ...silentLogger, info: note, warn: note, error: note };
  }
}

const shown = (fields: Readonly<Record<string, unknown>>): string =>
  Object.entries(fields)
    .map(([name, value]) => `${name}=${value instanceof Error ? value.message : String(value)}`)
    .join(" ");
