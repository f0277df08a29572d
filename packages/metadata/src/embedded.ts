/** `EmbeddedStore`: the model of etcd in memory, made durable by a `Persistence`. */
import type { Cancel, Clock, Random } from "@millrace/env";
import type { MillraceError } from "@millrace/errors";
import type {
  CallOptions,
  Compare,
  KeyRange,
  KeyValue,
  Lease,
  MetadataStore,
  Operation,
  OperationResult,
  PrefixCompare,
  RangeOptions,
  RangeResult,
  TxnResult,
  WatchEvent,
  WatchHandle,
  WatchHandlers,
} from "./api.ts";
import {
  byKey,
  callTimeoutMs,
  checkLimits,
  checkRange,
  checkRead,
  checkTtl,
  invalid,
  keyOfRange,
  matches,
} from "./limits.ts";
import { divergedError, notDone, storeClosed, unknownOutcome, withTimeout } from "./outcome.ts";

/** The state that a store starts from. */
export interface StoredState {
  readonly revision: number;
  readonly kvs: readonly KeyValue[];
}

/** One revision to make durable. Never contains leased keys. */
export interface StoredChange {
  readonly revision: number;
  readonly puts: readonly KeyValue[];
  readonly deletes: readonly string[];
}

/**
 * Stable storage of the state. `commit` returns once the change is durable; it is visible only
 * after that.
 */
export interface Persistence {
  load(): StoredState;
  commit(change: StoredChange): void | Promise<void>;
  close(): void;
}

interface Change {
  readonly event: WatchEvent;
  readonly previous: KeyValue | undefined;
}

interface Revision {
  readonly revision: number;
  readonly changes: readonly Change[];
  readonly bytes: number;
}

interface Watcher {
  readonly range: KeyRange;
  readonly handlers: WatchHandlers;
  next: number;
  ended: boolean;
  scheduled: boolean;
  /** A progress batch has been asked for. */
  asked: boolean;
}

interface HeldLease {
  readonly ttlSeconds: number;
  cancel: Cancel;
}

/** What changes hold in memory: also what was there before, for readers of the past. */
const bytesOf = (changes: readonly Change[]): number =>
  changes.reduce(
    (sum, { event, previous }) =>
      sum + event.kv.value.length + (previous?.value.length ?? 0) + changeBytes,
    0,
  );

/** The uncommitted changes of a transaction, by key. */
type Overlay = Map<string, KeyValue | undefined>;

const progressIntervalMs = 10_000;
/** Revisions that are kept for watchers that lag and readers of the past, and their bytes. */
const historyMax = 20_000;
export const historyBytesMax = 16 * 1024 * 1024;
/** What a change costs besides keys and values, about. */
const changeBytes = 256;

export class EmbeddedStore implements MetadataStore {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #persistence: Persistence | undefined;
  readonly #current = new Map<string, KeyValue>();
  readonly #leases = new Map<string, HeldLease>();
  readonly #watchers = new Set<Watcher>();
  #history: Revision[] = [];
  #historyBytes = 0;
  #revision = 1;
  /** First revision whose changes are in the history. */
  #historyFrom = 1;
  /** Lowest revision that can be read. */
  #readableFrom = 1;
  #serialTail: Promise<unknown> = Promise.resolve();
  #stopProgress: Cancel = () => {};
  #broken: MillraceError | undefined;

  constructor(options: {
    readonly clock: Clock;
    readonly random: Random;
    readonly persistence?: Persistence;
  }) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#persistence = options.persistence;
    const state = options.persistence?.load();
    if (state !== undefined) {
      this.#revision = Math.max(1, state.revision);
      for (const kv of state.kvs) this.#current.set(kv.key, kv);
    }
    this.#historyFrom = this.#revision + 1;
    this.#readableFrom = this.#revision;
  }

  async range(range: KeyRange, options: RangeOptions = {}): Promise<RangeResult> {
    this.#checkOpen();
    checkRead(range, options);
    const found = this.#select(range, this.#overlayAt(options.revision));
    const after = options.startAfter === undefined ? undefined : Buffer.from(options.startAfter);
    const rest =
      after === undefined
        ? found
        : found.filter((kv) => Buffer.compare(Buffer.from(kv.key), after) > 0);
    const kvs = rest.slice(0, options.limit ?? rest.length);
    return { kvs, revision: this.#revision, more: kvs.length < rest.length };
  }

  async txn(
    compares: readonly Compare[],
    then: readonly Operation[],
    otherwise: readonly Operation[] = [],
    options: CallOptions = {},
  ): Promise<TxnResult> {
    this.#checkOpen();
    checkLimits(compares, then, otherwise);
    return this.#serial(options, async () => {
      this.#checkOpen();
      const succeeded = compares.every((compare) => this.#holds(compare));
      const overlay: Overlay = new Map();
      const changes: Change[] = [];
      const results: OperationResult[] = [];
      for (const operation of succeeded ? then : otherwise) {
        results.push(this.#apply(operation, overlay, changes));
      }
      if (changes.length > 0) await this.#commit(overlay, changes);
      return { succeeded, revision: this.#revision, results };
    });
  }

  watch(range: KeyRange, fromRevision: number, handlers: WatchHandlers): WatchHandle {
    this.#checkOpen();
    checkRange(range);
    const watcher: Watcher = {
      ...{ range, handlers, next: fromRevision },
      ...{ ended: false, scheduled: false, asked: false },
    };
    if (this.#watchers.size === 0) this.#startProgress();
    this.#watchers.add(watcher);
    if (fromRevision > this.#revision + 1) {
      const error = divergedError(fromRevision, this.#revision);
      this.#end(watcher, () => handlers.onEnd({ reason: "diverged", error }));
    } else this.#schedule(watcher);
    return {
      cancel: () => this.#end(watcher, () => handlers.onEnd({ reason: "cancelled" })),
      requestProgress: () => {
        watcher.asked = true;
        this.#schedule(watcher);
      },
    };
  }

  async grantLease(ttlSeconds: number): Promise<Lease> {
    this.#checkOpen();
    checkTtl(ttlSeconds);
    const id = Buffer.from(this.#random.bytes(8)).toString("hex");
    this.#leases.set(id, { ttlSeconds, cancel: this.#expiry(id, ttlSeconds * 1000) });
    return { id, ttlSeconds };
  }

  keepAlive(leaseId: string, options: CallOptions = {}): Promise<boolean> {
    return this.#serial(options, async () => {
      this.#checkOpen();
      const lease = this.#leases.get(leaseId);
      if (lease === undefined) return false;
      lease.cancel();
      lease.cancel = this.#expiry(leaseId, lease.ttlSeconds * 1000);
      return true;
    });
  }

  revokeLease(leaseId: string, options: CallOptions = {}): Promise<void> {
    return this.#serial(options, async () => {
      this.#checkOpen();
      const lease = this.#leases.get(leaseId);
      if (lease === undefined) return;
      const overlay: Overlay = new Map();
      const changes: Change[] = [];
      const held = [...this.#current.values()].filter((kv) => kv.lease === leaseId).sort(byKey);
      for (const kv of held) this.#delete(kv, overlay, changes);
      if (changes.length > 0) await this.#commit(overlay, changes);
      lease.cancel();
      this.#leases.delete(leaseId);
    });
  }

  async compact(revision: number): Promise<void> {
    this.#checkOpen();
    if (revision > this.#revision) throw invalid(`revision ${revision} is in the future`);
    this.#historyFrom = Math.max(this.#historyFrom, revision);
    this.#readableFrom = Math.max(this.#readableFrom, revision);
    this.#keepHistory(this.#history.filter((entry) => entry.revision >= this.#historyFrom));
  }

  async close(): Promise<void> {
    if (this.#broken !== undefined) return;
    await this.#serialTail;
    this.#broken = storeClosed("none");
    this.#stopProgress();
    for (const lease of this.#leases.values()) lease.cancel();
    for (const watcher of [...this.#watchers]) {
      this.#end(watcher, () => watcher.handlers.onEnd({ reason: "cancelled" }));
    }
    this.#persistence?.close();
  }

  #serial<T>(options: CallOptions, work: () => Promise<T>): Promise<T> {
    const result = this.#serialTail.then(work);
    // The caller gets the failure; what is queued behind it goes on.
    this.#serialTail = result.catch(() => undefined);
    const timeoutMs = options.timeoutMs ?? callTimeoutMs;
    return withTimeout(this.#clock, timeoutMs, result, () =>
      unknownOutcome(`the metadata store has not answered for ${timeoutMs} ms: read back, retry`),
    );
  }

  #checkOpen(): void {
    if (this.#broken !== undefined) throw this.#broken;
  }

  #expiry(id: string, ms: number): Cancel {
    return this.#clock.timer(ms, () => {
      // Fails when the store is closed or broken, and its leases with it. When it is late, the
      // revocation goes on.
      this.revokeLease(id).catch(() => {});
    });
  }

  #select(range: KeyRange, overlay: Overlay): KeyValue[] {
    const key = keyOfRange(range);
    if (key !== undefined) {
      const kv = overlay.has(key) ? overlay.get(key) : this.#current.get(key);
      return kv === undefined ? [] : [kv];
    }
    const found: KeyValue[] = [];
    for (const kv of this.#current.values()) {
      if (matches(range, kv.key) && !overlay.has(kv.key)) found.push(kv);
    }
    for (const kv of overlay.values()) {
      if (kv !== undefined && matches(range, kv.key)) found.push(kv);
    }
    return found.sort(byKey);
  }

  /** The changes that turn the present state into that of an earlier revision. */
  #overlayAt(revision: number | undefined): Overlay {
    const overlay: Overlay = new Map();
    if (revision === undefined || revision === this.#revision) return overlay;
    if (revision > this.#revision || revision < this.#readableFrom) {
      throw invalid(
        `revision ${revision} cannot be read: it is compacted or in the future: list again`,
      );
    }
    for (let i = this.#history.length - 1; i >= 0; i -= 1) {
      const entry = this.#history[i];
      if (entry === undefined || entry.revision <= revision) break;
      for (const { event, previous } of entry.changes.toReversed()) {
        overlay.set(event.kv.key, previous);
      }
    }
    return overlay;
  }

  #holds(compare: Compare): boolean {
    if ("prefix" in compare) return this.#isUnchanged(compare);
    const kv = this.#current.get(compare.key);
    if (compare.target !== "value") return (kv?.[compare.target] ?? 0) === compare.equals;
    return kv !== undefined && Buffer.compare(kv.value, compare.equals) === 0;
  }

  #isUnchanged({ prefix, below }: PrefixCompare): boolean {
    for (const [key, kv] of this.#current) {
      if (kv.modRevision >= below && key.startsWith(prefix)) return false;
    }
    return true;
  }

  #apply(operation: Operation, overlay: Overlay, changes: Change[]): OperationResult {
    if (operation.type === "range") {
      return { type: "range", kvs: this.#select(operation.range, overlay) };
    }
    if (operation.type === "delete") {
      const gone = this.#select(operation.range, overlay);
      for (const kv of gone) this.#delete(kv, overlay, changes);
      return { type: "delete", deleted: gone.length };
    }
    const { key, lease } = operation;
    if (lease !== undefined && !this.#leases.has(lease)) {
      throw invalid(`lease ${lease} is gone: grant a new one`);
    }
    const previous = overlay.has(key) ? overlay.get(key) : this.#current.get(key);
    const kv: KeyValue = {
      key,
      // Of a Buffer, `slice` would be a view: the value would change with its maker's memory, and
      // hold the whole of the pool that it came from.
      value: new Uint8Array(operation.value),
      createRevision: previous?.createRevision ?? this.#revision + 1,
      modRevision: this.#revision + 1,
      version: (previous?.version ?? 0) + 1,
      lease,
    };
    overlay.set(key, kv);
    changes.push({ event: { type: "put", kv }, previous });
    return { type: "put" };
  }

  #delete(previous: KeyValue, overlay: Overlay, changes: Change[]): void {
    const { key } = previous;
    overlay.set(key, undefined);
    const kv: KeyValue = {
      key,
      value: new Uint8Array(0),
      createRevision: 0,
      modRevision: this.#revision + 1,
      version: 0,
      lease: undefined,
    };
    changes.push({ event: { type: "delete", kv }, previous });
  }

  /**
   * Durable first, then visible. After a commit of unknown outcome the store refuses everything.
   */
  async #commit(overlay: Overlay, changes: readonly Change[]): Promise<void> {
    const revision = this.#revision + 1;
    const puts: KeyValue[] = [];
    const deletes: string[] = [];
    for (const [key, kv] of overlay) {
      if (kv !== undefined && kv.lease === undefined) puts.push(kv);
      else deletes.push(key);
    }
    try {
      await this.#persistence?.commit({ revision, puts, deletes });
    } catch (thrown) {
      const what = "the metadata cannot be written: check the disk, then restart";
      this.#broken = notDone(what, thrown);
      throw unknownOutcome(what, thrown);
    }
    this.#revision = revision;
    const bytes = bytesOf(changes);
    this.#history.push({ revision, changes, bytes });
    this.#historyBytes += bytes;
    for (const [key, kv] of overlay) {
      if (kv === undefined) this.#current.delete(key);
      else this.#current.set(key, kv);
    }
    this.#boundHistory();
    for (const watcher of this.#watchers) this.#schedule(watcher);
  }

  /** The history serves watchers that lag; those that lag too far list again. */
  #boundHistory(): void {
    if (this.#history.length <= historyMax && this.#historyBytes <= historyBytesMax) return;
    // Half of it goes at once, so that this is seldom done.
    let from = this.#history.length;
    let bytes = 0;
    while (from > this.#history.length / 2) {
      bytes += this.#history[from - 1]?.bytes ?? 0;
      if (bytes > historyBytesMax / 2) break;
      from -= 1;
    }
    this.#keepHistory(this.#history.slice(from));
    this.#historyFrom = this.#history[0]?.revision ?? this.#revision + 1;
    this.#readableFrom = this.#historyFrom - 1;
  }

  #keepHistory(kept: Revision[]): void {
    this.#history = kept;
    this.#historyBytes = kept.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  #startProgress(): void {
    this.#stopProgress();
    this.#stopProgress = this.#clock.timer(progressIntervalMs, () => {
      for (const watcher of this.#watchers) {
        if (watcher.next > this.#revision) this.#progress(watcher);
      }
      if (this.#watchers.size > 0) this.#startProgress();
    });
  }

  #end(watcher: Watcher, tell: () => void): void {
    if (watcher.ended) return;
    watcher.ended = true;
    this.#watchers.delete(watcher);
    if (this.#watchers.size === 0) this.#stopProgress();
    this.#clock.defer(tell);
  }

  #schedule(watcher: Watcher): void {
    if (watcher.scheduled) return;
    watcher.scheduled = true;
    this.#clock.defer(() => {
      watcher.scheduled = false;
      this.#deliver(watcher);
      if (watcher.asked && !watcher.ended) this.#progress(watcher);
    });
  }

  #progress(watcher: Watcher): void {
    watcher.asked = false;
    watcher.handlers.onBatch({ events: [], revision: watcher.next - 1 });
  }

  #deliver(watcher: Watcher): void {
    if (watcher.ended) return;
    if (watcher.next < this.#historyFrom) {
      const end = { reason: "compacted", compactRevision: this.#historyFrom } as const;
      this.#end(watcher, () => watcher.handlers.onEnd(end));
      return;
    }
    for (const { revision, changes } of this.#history) {
      if (watcher.ended) return;
      if (revision < watcher.next) continue;
      watcher.next = revision + 1;
      const events = changes
        .map(({ event }) => event)
        .filter((event) => matches(watcher.range, event.kv.key));
      if (events.length > 0) watcher.handlers.onBatch({ events, revision });
    }
  }
}
