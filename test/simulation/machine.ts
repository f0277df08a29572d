/** A machine of a simulated cluster: its processes come and go, what they run is a subclass's. */
import { type Logger, silentLogger } from "@millrace/env";
import type { MetadataStore } from "@millrace/metadata";
import {
  type CrashModel,
  Incarnation,
  type Kernel,
  mountStore,
  type SeededRandom,
  type SimNetwork,
} from "@millrace/sim";
import type { SimStore } from "./sim-store.ts";
import { linked, noTrouble, type StoreTrouble } from "./store-link.ts";
import { witnessed } from "./witness.ts";

/** What all machines share. */
export interface Shared {
  readonly kernel: Kernel;
  readonly network: SimNetwork;
  readonly store: SimStore;
  readonly random: SeededRandom;
  readonly replicationFactor: number;
}

/** What a process that serves can be asked. */
export interface Served {
  stop(): Promise<void>;
}

/** A supervisor's patience with a process that stops, ms. */
const stopMsMax = 20_000;
/** Pause before a process that could not start is started again, ms: a supervisor's. */
const restartMs = 500;

export abstract class Machine {
  readonly host: string;
  readonly trouble: StoreTrouble = { ...noTrouble };
  protected readonly shared: Shared;
  #process: Incarnation;
  #served: Served | undefined;
  /** Rises with every start and every crash: what an earlier one waits for is over. */
  #turn = 0;

  constructor(shared: Shared, host: string) {
    this.shared = shared;
    this.host = host;
    this.#process = new Incarnation(shared.kernel, host);
    this.#process.kill();
  }

  /** Boots what the machine is for, in this process. */
  protected abstract boot(process: Incarnation): Promise<Served>;

  /** What a crash does to the disk, where there is one. */
  protected crashDisk(_model: CrashModel): void {}

  get isRunning(): boolean {
    return this.#process.alive;
  }

  /**
   * Starts a process in place of the one that runs, and again while it does not start. Resolves
   * once one serves, or another start or a crash has taken over.
   */
  async start(): Promise<void> {
    const { kernel, network } = this.shared;
    this.#turn += 1;
    const turn = this.#turn;
    for (;;) {
      if (turn !== this.#turn) return;
      this.#end();
      const process = new Incarnation(kernel, this.host);
      this.#process = process;
      network.powerOn(this.host);
      const { promise: killed, resolve } = Promise.withResolvers<boolean>();
      process.whenKilled(() => resolve(false));
      const served = this.boot(process).then(
        (booted) => {
          if (this.#process === process) this.#served = booted;
          return true;
        },
        () => false,
      );
      // The boot of a process that was killed never ends.
      const started = await Promise.race([served, killed]);
      if (started || turn !== this.#turn) return;
      kernel.marks.sometimes("cluster: a process does not start");
      this.#end();
      await this.#pause();
    }
  }

  /** Stops the process as an operator would, and kills one that does not end. */
  async stop(): Promise<void> {
    const { kernel } = this.shared;
    const process = this.#process;
    kernel.marks.sometimes("cluster: a process is stopped");
    const { promise: late, resolve } = Promise.withResolvers<void>();
    kernel.schedule(stopMsMax, resolve, "supervisor");
    await Promise.race([this.#served?.stop(), late]);
    if (this.#process === process) this.#end();
  }

  /** The process, or the machine with it, dies. */
  crash(model: CrashModel): void {
    this.shared.kernel.marks.sometimes(`crash: ${model}`);
    this.#turn += 1;
    this.#served = undefined;
    if (model === "power") this.shared.network.powerOff(this.host);
    else this.#process.kill();
    this.crashDisk(model);
  }

  pause(): void {
    this.#process.pause();
  }

  resume(): void {
    this.#process.resume();
  }

  /** The process dies, if one is there. */
  #end(): void {
    this.#served = undefined;
    if (!this.#process.alive) return;
    this.#process.kill();
    this.crashDisk("process");
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.shared.kernel.schedule(restartMs, resolve, "supervisor");
    });
  }

  /** The store, as a process of this machine, and the controller in it, reach it. */
  protected storeOf(process: Incarnation, controllerId: number): MetadataStore {
    const { kernel, random, store } = this.shared;
    const link = { kernel, clock: process.clock(), random, trouble: this.trouble };
    const mounted = witnessed(mountStore(store, process), controllerId, kernel);
    return linked(mounted, { ...link, life: () => store.life });
  }

  /** What the process says is how one sees from outside what it did: counts by message. */
  protected logger(): Logger {
    const { kernel } = this.shared;
    const note = (fields: Readonly<Record<string, unknown>>, message: string): void => {
      kernel.trace(`${this.host} says: ${message} ${shown(fields)}`);
      kernel.marks.sometimes(`says: ${message.replace(/ cluster c[\w-]{21},?/g, " a cluster,")}`);
      if (fields["repair"] !== undefined) kernel.marks.sometimes(`repair: ${fields["repair"]}`);
    };
    return { ...silentLogger, info: note, warn: note, error: note };
  }
}

const shown = (fields: Readonly<Record<string, unknown>>): string =>
  Object.entries(fields)
    .map(([name, value]) => `${name}=${value instanceof Error ? value.message : String(value)}`)
    .join(" ");
