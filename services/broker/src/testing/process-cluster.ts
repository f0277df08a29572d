/** Brokers and controllers as processes of their own, on simulated machines. */
import assert from "node:assert/strict";
import { type Client, createClient } from "@millrace/client/core";
import { boot as bootController } from "@millrace/controller/process";
import { type Env, type Logger, silentLogger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import { defaultManagerConfig, type LogManager } from "@millrace/log";
import { decodeRecord, EmbeddedStore, keys, type MetadataStore } from "@millrace/metadata";
import { steered } from "@millrace/metadata/testing";
import { syncCompressor } from "@millrace/record/node";
import type { Addresses, BoundEndpoints } from "@millrace/server";
import { Incarnation, Kernel, mountStore, SimDisk, SimNetwork } from "@millrace/sim";
import { noMetrics } from "../metrics.ts";
import { type Booted, boot } from "../process/index.ts";

const advertise = ({ client, internal }: BoundEndpoints): Addresses => ({
  clientEndpoint: client,
  internalEndpoint: internal,
});

/** What a broker's boot may be told beside the usual. */
interface Wanted {
  readonly host?: string;
  readonly disk?: SimDisk;
  readonly store?: MetadataStore;
  readonly rack?: string;
  readonly signal?: AbortSignal;
  readonly wantedClusterId?: string;
  readonly onDecommissioned?: () => void;
}

export class ProcessCluster {
  readonly kernel = new Kernel(1);
  readonly network = new SimNetwork(this.kernel);
  readonly store = this.newStore();
  /** What the processes use, unless they are told another one. */
  readonly steered = steered(this.store);
  /** Warnings and errors. */
  readonly lines: string[] = [];
  readonly linesOf = new Map<string, string[]>();
  readonly events: string[] = [];
  readonly waits: string[] = [];
  readonly serving: boolean[] = [];
  readonly logs = new Map<number, LogManager>();

  newStore(): EmbeddedStore {
    const clock = new Incarnation(this.kernel).clock();
    return new EmbeddedStore({ clock, random: this.kernel.random });
  }

  newDisk(): SimDisk {
    return new SimDisk(this.kernel.random);
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.kernel.run(work);
  }

  pass(ms: number): Promise<void> {
    return this.run(new Promise((resolve) => void this.kernel.schedule(ms, resolve, "test")));
  }

  /** What a process has on a host. */
  #place(host: string, store: MetadataStore, disk = this.newDisk()) {
    const life = new Incarnation(this.kernel, host);
    const add = (_: object, message: string): void => {
      this.lines.push(message);
      this.linesOf.set(host, [...(this.linesOf.get(host) ?? []), message]);
    };
    const info = (_: object, message: string): void => void this.events.push(message);
    const logger: Logger = { ...silentLogger, info, warn: add, error: add };
    const env: Env = {
      ...{ clock: life.clock(), random: this.kernel.random, compressor: syncCompressor },
      ...{ disk: disk.mount(life), logger, sim: this.kernel.marks },
    };
    const { dialer, listener } = this.network.attach(host, life);
    const at = (port: number) => ({ listener, endpoint: `${host}:${port}` });
    const listeners = { client: at(7400), internal: at(7401), health: at(7402), graceMs: 1000 };
    return { life, shared: { env, store: mountStore(store, life), dialer, listeners, advertise } };
  }

  controller(host = "c", store: MetadataStore = this.steered.store, wanted: object = {}) {
    const { shared } = this.#place(host, store);
    return this.run(
      bootController({ ...shared, controllerId: 0, defaultReplicationFactor: 3, ...wanted }),
    );
  }

  broker(brokerId: number, wanted: Wanted = {}): Promise<Booted> {
    const { host = `b${brokerId}`, disk, rack = "", signal, store = this.steered.store } = wanted;
    const { onDecommissioned = () => {}, wantedClusterId } = wanted;
    const { shared } = this.#place(host, store, disk);
    return boot({
      ...{ ...shared, brokerId, rack, ...(signal === undefined ? {} : { signal }) },
      ...(wantedClusterId === undefined ? {} : { wantedClusterId }),
      logConfig: { ...defaultManagerConfig, diskReserveBytes: 0 },
      metrics: { broker: noMetrics, watchLogs: (logs) => void this.logs.set(brokerId, logs) },
      onServing: (serving) => {
        this.serving.push(serving);
        this.events.push(`serving: ${serving}`);
      },
      onWaiting: (reason) => this.waits.push(reason),
      onDecommissioned,
    });
  }

  client(): Client {
    const life = new Incarnation(this.kernel, "client");
    const env = { clock: life.clock(), random: this.kernel.random };
    return createClient({
      dialer: this.network.attach("client", life).dialer,
      env: { ...env, compressor: syncCompressor, logger: silentLogger },
      bootstrap: ["b1:7400", "b2:7400"],
    });
  }

  async registered(brokerId: number) {
    const { kvs } = await this.run(this.store.range({ key: keys.broker(brokerId) }));
    return kvs[0] === undefined ? undefined : decodeRecord.broker(kvs[0]);
  }
}

/** The error of a start that is refused. */
export const refusal = async (work: Promise<unknown>): Promise<MillraceError> => {
  const thrown = await work.then(
    () => assert.fail("it starts"),
    (error: unknown) => error,
  );
  return MillraceError.from(thrown);
};
