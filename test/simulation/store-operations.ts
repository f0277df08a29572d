/**
 * What operators do to the store: they restore a backup, or start it on no data, or on those of
 * another cluster, and bring the right ones back.
 */
import assert from "node:assert/strict";
import { decodeRecord, type EmbeddedStore, type KeyValue, keys } from "@millrace/metadata";
import type { PartitionRecord } from "@millrace/proto/storage";
import type { Kernel, SeededRandom, SimDisk } from "@millrace/sim";
import type { BrokerMachine } from "./broker-machine.ts";
import type { Faults } from "./faults.ts";
import type { Backup, SimStore } from "./sim-store.ts";

export interface StoreOperationsOptions {
  readonly kernel: Kernel;
  readonly random: SeededRandom;
  readonly store: SimStore;
  readonly brokers: readonly BrokerMachine[];
  readonly faults: Pick<Faults, "restores" | "foreignStores">;
  readonly sleep: (ms: number) => Promise<void>;
}

/** Longest wait for a state in which a restore loses nothing, ms. */
const patienceMs = 15_000;
/**
 * How far an operator raises the revisions of a backup (`etcdutl --bump-revision`): epochs of
 * registrations are revisions, and none may be given twice.
 */
const revisionBump = 1_000_000;

const recordsOf = (kvs: readonly KeyValue[]): Map<string, PartitionRecord> =>
  new Map(
    kvs
      .filter(({ key }) => key.startsWith(keys.partitions))
      .map((kv) => [kv.key, decodeRecord.partition(kv)]),
  );

const isMoving = ({ adding, removed, removing }: PartitionRecord): boolean =>
  adding.length + removed.length + removing.length > 0;

const isSameList = (a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean =>
  a.length === b.length &&
  a.every((one, i) => Buffer.compare(one, b[i] ?? new Uint8Array(0)) === 0);

/**
 * Whether a backup may take the place of what is there: every replica has everything, and they are
 * the ones that the backup names, on the same disks.
 */
const losesNothing = (backup: Backup, now: readonly KeyValue[]): boolean => {
  const before = recordsOf(backup.kvs);
  return [...recordsOf(now)].every(([key, record]) => {
    const known = before.get(key);
    // Of a topic that the backup does not know: its logs stay, and nobody serves them.
    if (known === undefined) return true;
    return (
      record.isr.length === record.replicas.length &&
      String(known.replicas) === String(record.replicas) &&
      !isMoving(record) &&
      !isMoving(known) &&
      isSameList(known.directoryIds, record.directoryIds)
    );
  });
};

/** A directory of a log on a disk. */
interface Kept {
  readonly machine: BrokerMachine;
  readonly disk: SimDisk;
  readonly directory: string;
}

const isThere = ({ disk, directory }: Kept): boolean =>
  disk.paths().some((path) => path.startsWith(`${directory}/`));

const epochsOf = (kvs: readonly KeyValue[]): string =>
  [...recordsOf(kvs).values()].map(({ leaderEpoch }) => leaderEpoch).join();

export class StoreOperations {
  readonly #options: StoreOperationsOptions;
  /** The store is stopped, or does not have what it should. No disk may be lost meanwhile. */
  isBusy = false;
  /** How long the store was not what it should be, ms. */
  disturbedMs = 0;
  /** Logs may be there that the metadata does not explain. */
  mayLeaveLogs = false;
  /** Logs that the metadata do not know since a restore. No record says that they may go. */
  readonly #unexplained: Kept[] = [];

  constructor(options: StoreOperationsOptions) {
    this.#options = options;
  }

  /** Goes on until `working` says no; the store then has what it should have. */
  async run(working: () => boolean): Promise<void> {
    const { faults, random, sleep } = this.#options;
    if (!faults.restores && !faults.foreignStores) return;
    while (working()) {
      await sleep(500 + random.float() * 6000);
      if (!working()) return;
      const isForeign = faults.foreignStores && (!faults.restores || random.chance(0.4));
      await (isForeign ? this.#startForeign(working) : this.#restore(working));
    }
  }

  async #restore(working: () => boolean): Promise<void> {
    const { kernel, random, sleep, store } = this.#options;
    const backup = await store.backup();
    const endMs = kernel.nowMs + random.float() * patienceMs;
    // A backup of the same epochs is hardly an old one.
    const isOld = async (): Promise<boolean> =>
      epochsOf((await this.#read()).kvs) !== epochsOf(backup.kvs);
    while (kernel.nowMs < endMs && !(await isOld())) await sleep(200);
    if (await isOld()) kernel.marks.sometimes("store: a backup has older epochs");
    const old = await this.#stopWhere(working, (kvs) => losesNothing(backup, kvs));
    if (old === undefined) return;
    kernel.marks.sometimes("fault: store restored");
    this.mayLeaveLogs = true;
    await this.#pause(3000);
    this.#noteUnexplained(backup, (await old.range({ prefix: "" })).kvs);
    const restored = await store.restored(backup, revisionBump);
    await old.close();
    store.start(restored);
    // Brokers register anew, and epochs rise.
    this.disturbedMs += 12_000;
    this.isBusy = false;
  }

  #noteUnexplained(backup: Backup, before: readonly KeyValue[]): void {
    const known = recordsOf(backup.kvs);
    for (const [key, { topicId, partition, replicas, removing }] of recordsOf(before)) {
      if (known.has(key)) continue;
      const name = `${Buffer.from(topicId).toString("hex")}-${String(partition).padStart(5, "0")}`;
      for (const id of replicas) {
        const machine = this.#options.brokers[id];
        if (machine === undefined || removing.includes(id)) continue;
        const kept = { machine, disk: machine.disk, directory: `partitions/${name}` };
        if (isThere(kept)) this.#unexplained.push(kept);
      }
    }
  }

  /** A topic that a restored store does not know keeps its logs, until an operator removes them. */
  checkKept(): void {
    const { kernel } = this.#options;
    for (const kept of this.#unexplained) {
      const { machine, disk, directory } = kept;
      if (machine.disk !== disk) continue;
      kernel.marks.sometimes("topics: unknown to a restored store, and kept");
      assert.ok(isThere(kept), `${machine.host} has deleted ${directory}, which is merely unknown`);
    }
  }

  async #startForeign(working: () => boolean): Promise<void> {
    const { kernel, random, store } = this.#options;
    const old = await this.#stopWhere(working, () => true);
    if (old === undefined) return;
    const isEmpty = random.chance(0.6);
    kernel.marks.sometimes(isEmpty ? "fault: store empty" : "fault: store of another cluster");
    this.mayLeaveLogs = true;
    await this.#pause(2000);
    const others = await store.foreign(isEmpty);
    store.start(others);
    await this.#pause(8000);
    store.stop();
    await this.#pause(2000);
    await others.close();
    store.start(old);
    this.disturbedMs += 12_000;
    this.isBusy = false;
  }

  /** Stops the store in a state that `allows` accepts. Undefined when there was none in time. */
  async #stopWhere(
    working: () => boolean,
    allows: (kvs: readonly KeyValue[]) => boolean,
  ): Promise<EmbeddedStore | undefined> {
    const { brokers, kernel, sleep, store } = this.#options;
    // A disk that nobody has opened yet would become one of another cluster.
    const mayStop = async (): Promise<boolean> =>
      brokers.every(({ hasLogs }) => hasLogs) && allows((await this.#read()).kvs);
    const endMs = kernel.nowMs + patienceMs;
    while (working() && kernel.nowMs < endMs) {
      if (await mayStop()) {
        this.isBusy = true;
        store.stop();
        // What was under way has happened by then, or never will.
        await sleep(1);
        if (await mayStop()) return store.data;
        store.start(store.data);
        this.isBusy = false;
      }
      await sleep(200);
    }
    return undefined;
  }

  async #pause(msMax: number): Promise<void> {
    const { random, sleep } = this.#options;
    const ms = random.float() * msMax;
    this.disturbedMs += ms;
    await sleep(ms);
  }

  #read(): Promise<{ readonly kvs: readonly KeyValue[] }> {
    return this.#options.store.data.range({ prefix: "" });
  }
}
