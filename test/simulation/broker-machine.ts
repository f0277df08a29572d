/** A machine with a broker on it, and its disk, which outlives processes. */
import { noMetrics } from "@millrace/broker";
import { boot as bootBroker } from "@millrace/broker/process";
import type { Env } from "@millrace/env";
import { defaultManagerConfig, type LogManager } from "@millrace/log";
import { type CrashModel, type Incarnation, SimDisk } from "@millrace/sim";
import { boot as bootAll } from "@millrace/standalone/boot";
import { Machine, type Served, type Shared } from "./machine.ts";
import { slowInflating } from "./slow-inflating.ts";

/** Bytes in memory of the newest batches: little, so that reads come from files, too. */
const tailCacheBytes = 20_000;

export class BrokerMachine extends Machine {
  readonly brokerId: number;
  /** Its processes are brokers only, or all of Millrace. */
  readonly isBrokerOnly: boolean;
  #disk: SimDisk;
  #logs: LogManager | undefined;

  constructor(shared: Shared, brokerId: number, isBrokerOnly: boolean) {
    super(shared, `b${brokerId}`);
    this.brokerId = brokerId;
    this.isBrokerOnly = isBrokerOnly;
    this.#disk = new SimDisk(shared.kernel.random);
  }

  get disk(): SimDisk {
    return this.#disk;
  }

  /** Another disk, empty, takes the place of the one that is there. */
  loseDisk(): void {
    const { kernel } = this.shared;
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

  /** False for a disk that no process has opened yet. */
  get hasLogs(): boolean {
    return this.#logs !== undefined;
  }

  /** Logs of the process that runs, or of the last one. */
  get logs(): LogManager {
    if (this.#logs === undefined) throw new Error(`${this.host} has never opened its logs`);
    return this.#logs;
  }

  protected override crashDisk(model: CrashModel): void {
    this.#disk.crash(model);
  }

  protected override boot(process: Incarnation): Promise<Served> {
    const { kernel, network, random, replicationFactor } = this.shared;
    const { brokerId, host } = this;
    const clock = process.clock();
    const env: Env = {
      ...{ clock, random, disk: this.#disk.mount(process), sim: kernel.marks },
      ...{ compressor: slowInflating(clock, random), logger: this.logger() },
    };
    const { dialer, listener } = network.attach(host, process);
    const at = (port: number) => ({ listener, endpoint: `${host}:${port}` });
    const options = {
      ...{ env, dialer, brokerId, store: this.storeOf(process, brokerId) },
      listeners: { client: at(7400), internal: at(7401), health: at(7402), graceMs: 1000 },
      logConfig: {
        ...defaultManagerConfig,
        ...{ journalFileBytes: 64 * 1024, journalBytesMax: 256 * 1024, diskReserveBytes: 0 },
        tailCacheBytesMax: kernel.marks.buggify("no tail cache", 1) ? 0 : tailCacheBytes,
        checkpointIntervalMs: 200,
      },
      metrics: {
        broker: noMetrics,
        watchLogs: (logs: LogManager): void => {
          this.#logs = logs;
        },
      },
    };
    if (this.isBrokerOnly) {
      return bootBroker({
        ...options,
        advertise: ({ client, internal }) => ({
          ...{ clientEndpoint: client, internalEndpoint: internal },
        }),
      });
    }
    const advertise = (listening: string): string => listening;
    const topics = { defaultReplicationFactor: replicationFactor, alone: false };
    return bootAll({ ...options, ...topics, advertise });
  }
}
