/** A controller, a broker and group coordinators as processes, on simulated machines. */
import { noMetrics } from "@millrace/broker";
import { boot as bootBroker } from "@millrace/broker/process";
import { boot as bootController } from "@millrace/controller/process";
import { type Env, type Logger, silentLogger } from "@millrace/env";
import { defaultManagerConfig } from "@millrace/log";
import { decodeRecord, EmbeddedStore, keys } from "@millrace/metadata";
import { steered } from "@millrace/metadata/testing";
import { syncCompressor } from "@millrace/record/node";
import type { BoundEndpoints } from "@millrace/server";
import { Incarnation, Kernel, mountStore, SimDisk, SimNetwork } from "@millrace/sim";
import { type Booted, boot } from "../process/index.ts";
import type { CoordinatorState } from "../runtime/coordinator.ts";
import { GroupCluster } from "./cluster-member.ts";

/** A group coordinator, and what a test does to it. */
export interface CoordinatorMachine {
  readonly life: Incarnation;
  readonly booted: Booted;
  /** Its way to the metadata store. */
  readonly link: ReturnType<typeof steered>;
  readonly state: () => CoordinatorState;
  /** What it warned of. */
  readonly warnings: readonly string[];
}

const advertise = ({ client, internal }: BoundEndpoints) => ({
  ...{ clientEndpoint: client, internalEndpoint: internal },
});

/** An address for clients that leads nowhere inside of the cluster. */
const advertiseOutside = ({ internal }: BoundEndpoints) => ({
  ...{ clientEndpoint: "outside:7400", internalEndpoint: internal },
});

export class Machines {
  readonly kernel = new Kernel(1);
  readonly network = new SimNetwork(this.kernel);
  readonly store = new EmbeddedStore({
    clock: new Incarnation(this.kernel).clock(),
    random: this.kernel.random,
  });

  run<T>(work: Promise<T>): Promise<T> {
    return this.kernel.run(work);
  }

  readonly sleep = (ms: number): Promise<void> =>
    new Promise((resolve) => void this.kernel.schedule(ms, resolve, "test"));

  /** The controller and the broker. */
  async start(): Promise<void> {
    const controller = this.#place("c0");
    await bootController({
      ...{ ...controller, store: mountStore(this.store, controller.life) },
      ...{ controllerId: 0, defaultReplicationFactor: 3, advertise: advertiseOutside },
    });
    const broker = this.#place("b0");
    await bootBroker({
      ...{ ...broker, store: mountStore(this.store, broker.life), brokerId: 0 },
      advertise: advertiseOutside,
      logConfig: { ...defaultManagerConfig, diskReserveBytes: 0 },
      metrics: { broker: noMetrics },
    });
  }

  async coordinator(coordinatorId: number): Promise<CoordinatorMachine> {
    const warnings: string[] = [];
    const warn = (_: object, message: string): void => void warnings.push(message);
    const logger: Logger = { ...silentLogger, warn, error: warn };
    const place = this.#place(`g${coordinatorId}`, logger);
    const link = steered(mountStore(this.store, place.life));
    const reads: (() => CoordinatorState)[] = [];
    const booted = await boot({
      ...{ ...place, store: link.store, coordinatorId, offsetsRetentionMs: 3_600_000 },
      watchGroups: (read) => reads.push(read),
    });
    const state = (): CoordinatorState => {
      const [read] = reads;
      if (read === undefined) throw new Error("it has not begun");
      return read();
    };
    return { life: place.life, booted, link, state, warnings };
  }

  /** What a client has. */
  cluster(): GroupCluster {
    const { dialer } = this.network.attach("client", new Incarnation(this.kernel, "client"));
    return new GroupCluster(dialer, "b0:7400", this.sleep);
  }

  async registered(coordinatorId: number) {
    const [kv] = (await this.store.range({ key: keys.coordinator(coordinatorId) })).kvs;
    return kv && decodeRecord.coordinator(kv);
  }

  #place(host: string, logger: Logger = silentLogger) {
    const life = new Incarnation(this.kernel, host);
    const env: Env = {
      ...{ clock: life.clock(), random: this.kernel.random, compressor: syncCompressor },
      ...{ disk: new SimDisk(this.kernel.random).mount(life), logger, sim: this.kernel.marks },
    };
    const { dialer, listener } = this.network.attach(host, life);
    const at = (port: number) => ({ listener, endpoint: `${host}:${port}` });
    const listeners = { client: at(7400), internal: at(7401), health: at(7402), graceMs: 1000 };
    return { life, env, dialer, listeners, advertise };
  }
}
