/**
 * The metadata store of a simulated cluster: a model of etcd in the hands of an operator, who stops
 * it, saves and restores backups, and starts it on other data. Whatever watches it loses its
 * connection with each of its lives.
 */
import { bootstrapCluster } from "@millrace/controller";
import type { Clock, Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  EmbeddedStore,
  type KeyValue,
  type Lease,
  type MetadataStore,
  renewGeneration,
  type WatchEnd,
  type WatchHandle,
} from "@millrace/metadata";
import type { Kernel } from "@millrace/sim";

/** All of the store at one revision. Leases are in etcd's backups, too, and begin anew with it. */
export interface Backup {
  readonly revision: number;
  readonly kvs: readonly KeyValue[];
  /** Seconds of each lease. */
  readonly leases: ReadonlyMap<string, number>;
}

interface OpenWatch {
  readonly handle: WatchHandle;
  readonly end: (end: WatchEnd) => void;
}

const unreachable = (): MillraceError =>
  new MillraceError(ErrorCode.UNAVAILABLE, "the store is stopped", { facts: { outcome: "none" } });

export class SimStore implements MetadataStore {
  readonly #kernel: Kernel;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #watches = new Set<OpenWatch>();
  /** Seconds of every lease that was ever granted. */
  readonly #leases = new Map<string, number>();
  #data: EmbeddedStore;
  #isStopped = false;
  /** Revision of the last deletion that a watch has delivered. */
  #deletedAt = 0;
  /** Rises with every stop. */
  life = 0;

  constructor(kernel: Kernel, clock: Clock, random: Random) {
    this.#kernel = kernel;
    this.#clock = clock;
    this.#random = random;
    this.#data = new EmbeddedStore({ clock, random });
  }

  /** What it holds, whether it is stopped or not. */
  get data(): EmbeddedStore {
    return this.#data;
  }

  /** Nobody reaches it, and every watch is lost. */
  stop(): void {
    this.#isStopped = true;
    this.life += 1;
    this.#kernel.trace("the store stops");
    for (const { handle, end } of [...this.#watches]) {
      end({ reason: "lost", error: unreachable() });
      handle.cancel();
    }
  }

  /** Starts on data: those from before, or others. */
  start(data: EmbeddedStore): void {
    this.#kernel.trace("the store starts");
    this.#data = data;
    this.#deletedAt = 0;
    this.#isStopped = false;
  }

  async backup(): Promise<Backup> {
    const { kvs, revision } = await this.#data.range({ prefix: "" });
    const held = kvs.flatMap(({ lease }) => lease ?? []);
    const leases = new Map(held.map((id) => [id, this.#leases.get(id) ?? 1]));
    return { revision, kvs, leases };
  }

  /** Data without anything, or of another cluster, in which nothing has happened yet. */
  async foreign(isEmpty: boolean): Promise<EmbeddedStore> {
    const data = new EmbeddedStore({ clock: this.#clock, random: this.#random });
    if (!isEmpty) await bootstrapCluster(data, this.#random);
    return data;
  }

  /**
   * Data restored from a backup, under another generation, as an operator does it before anybody
   * writes. `bump`: how far revisions are raised above those of the backup.
   */
  async restored(backup: Backup, bump: number): Promise<EmbeddedStore> {
    const ids = [...backup.leases.keys()];
    const random: Random = {
      float: () => this.#random.float(),
      below: (bound) => this.#random.below(bound),
      // A restored lease keeps its id.
      bytes: (length) => {
        const id = ids.shift();
        return id === undefined ? this.#random.bytes(length) : Buffer.from(id, "hex");
      },
    };
    const { kvs } = backup;
    const state = { revision: backup.revision + bump, kvs };
    const persistence = { load: () => state, commit: () => {}, close: () => {} };
    const data = new EmbeddedStore({ clock: this.#clock, random, persistence });
    for (const seconds of backup.leases.values()) await data.grantLease(seconds);
    await renewGeneration(data, this.#random);
    return data;
  }

  /** Ends the lease of a key, whose holder lives on. False when nobody holds the key. */
  async expire(key: string): Promise<boolean> {
    const [kv] = (await this.#data.range({ key })).kvs;
    if (kv?.lease === undefined) return false;
    await this.#data.revokeLease(kv.lease);
    return true;
  }

  /** Forgets all history: whoever has not seen the last revision has to list again. */
  async forgetHistory(): Promise<void> {
    const { revision } = await this.#data.range({ prefix: "" });
    await this.#data.compact(revision);
  }

  range(...args: Parameters<MetadataStore["range"]>): ReturnType<MetadataStore["range"]> {
    return this.#ask((data) => data.range(...args));
  }

  txn(...args: Parameters<MetadataStore["txn"]>): ReturnType<MetadataStore["txn"]> {
    return this.#ask((data) => data.txn(...args));
  }

  async grantLease(ttlSeconds: number): Promise<Lease> {
    const lease = await this.#ask((data) => data.grantLease(ttlSeconds));
    this.#leases.set(lease.id, lease.ttlSeconds);
    return lease;
  }

  keepAlive(...args: Parameters<MetadataStore["keepAlive"]>): Promise<boolean> {
    return this.#ask((data) => data.keepAlive(...args));
  }

  revokeLease(...args: Parameters<MetadataStore["revokeLease"]>): Promise<void> {
    return this.#ask((data) => data.revokeLease(...args));
  }

  compact(revision: number): Promise<void> {
    return this.#ask((data) => data.compact(revision));
  }

  /** Nobody closes what all share. */
  async close(): Promise<void> {}

  watch(...[range, fromRevision, handlers]: Parameters<MetadataStore["watch"]>): WatchHandle {
    let isEnded = false;
    const end = (why: WatchEnd): void => {
      if (isEnded) return;
      isEnded = true;
      this.#watches.delete(watch);
      if (why.reason === "compacted") {
        const { marks } = this.#kernel;
        marks.sometimes("store: a watch is compacted");
        if (this.#deletedAt >= fromRevision) marks.sometimes("store: a compaction hides deletions");
      }
      this.#clock.defer(() => handlers.onEnd(why));
    };
    if (this.#isStopped) {
      this.#clock.defer(() => handlers.onEnd({ reason: "lost", error: unreachable() }));
      return { cancel: () => {}, requestProgress: () => {} };
    }
    const handle = this.#data.watch(range, fromRevision, {
      onBatch: (batch) => {
        if (isEnded) return;
        const { events, revision } = batch;
        if (events.some(({ type }) => type === "delete")) this.#deletedAt = revision;
        handlers.onBatch(batch);
      },
      onEnd: end,
    });
    const watch: OpenWatch = { handle, end };
    this.#watches.add(watch);
    return handle;
  }

  async #ask<T>(ask: (data: EmbeddedStore) => Promise<T>): Promise<T> {
    if (this.#isStopped) throw unreachable();
    return ask(this.#data);
  }
}
