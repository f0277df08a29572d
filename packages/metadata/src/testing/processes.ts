/** A metadata store on simulated time, and processes that live and die beside it. */
import { create } from "@bufbuild/protobuf";
import { type Logger, silentLogger } from "@millrace/env";
import { BrokerRecordSchema } from "@millrace/proto/storage";
import { Incarnation, Kernel, mountStore } from "@millrace/sim";
import type { KeyValue, MetadataStore } from "../api.ts";
import { EmbeddedStore, type Persistence } from "../embedded.ts";
import { brokerRegistration, Registration, type RegistrationOptions } from "../registration.ts";

export { clusterRecord, wiped } from "./records.ts";
export { steered } from "./steered.ts";

export const ttlSeconds = 3;

/** Most calls of one process at one moment. One that makes more never lets time pass. */
const callsAtOnceMax = 1_000;

/** Replaces calls of a store. */
export type Interpose = (store: MetadataStore) => Partial<MetadataStore>;

export class StoreProcesses {
  readonly kernel = new Kernel(7);
  readonly store: EmbeddedStore;
  readonly lines: { fields: Readonly<Record<string, unknown>>; message: string }[] = [];
  readonly logger: Logger;

  constructor(persistence?: Persistence) {
    const clock = new Incarnation(this.kernel, "store").clock();
    const options = persistence === undefined ? {} : { persistence };
    this.store = new EmbeddedStore({ clock, random: this.kernel.random, ...options });
    const add = (fields: Readonly<Record<string, unknown>>, message: string): void => {
      this.lines.push({ fields, message });
    };
    this.logger = { ...silentLogger, info: add, warn: add, error: add };
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.kernel.run(work);
  }

  /** Lets time pass. */
  pass(ms: number): Promise<void> {
    return this.kernel.run(
      new Promise((resolve) => void this.kernel.schedule(ms, resolve, "test")),
    );
  }

  /** A process with its own handle of the store. */
  process(name: string, interpose: Interpose = () => ({})) {
    const life = new Incarnation(this.kernel, name);
    const mounted = mountStore(this.store, life);
    const store = this.#bounded({ ...mounted, ...interpose(mounted) }, name, life);
    return { life, store, clock: life.clock(), random: this.kernel.random, logger: this.logger };
  }

  /** Kills a process that asks again and again at one moment, and fails the run: no test hangs. */
  #bounded(store: MetadataStore, name: string, life: Incarnation): MetadataStore {
    let calls = 0;
    let atMs = 0;
    const bounded =
      <A extends unknown[], R>(call: (...args: A) => Promise<R>) =>
      (...args: A): Promise<R> => {
        calls = atMs === this.kernel.nowMs ? calls + 1 : 1;
        atMs = this.kernel.nowMs;
        if (calls <= callsAtOnceMax) return call(...args);
        life.kill();
        this.kernel.marks.always(false, `${name} asks its store for ever at ${atMs} ms`);
        return new Promise(() => {});
      };
    const { keepAlive, range, txn } = store;
    return { ...store, keepAlive: bounded(keepAlive), range: bounded(range), txn: bounded(txn) };
  }

  registration(brokerId: number, fields: Partial<RegistrationOptions> = {}, interpose?: Interpose) {
    const { life, ...shared } = this.process(`broker ${brokerId}`, interpose);
    const incarnationId = this.kernel.random.bytes(16);
    const record = create(BrokerRecordSchema, { brokerId, incarnationId });
    const kind = brokerRegistration;
    const options = { ...shared, kind, record, ttlSeconds, ...fields };
    return { life, registration: new Registration(options) };
  }

  async get(key: string): Promise<KeyValue | undefined> {
    return (await this.run(this.store.range({ key }))).kvs[0];
  }
}
