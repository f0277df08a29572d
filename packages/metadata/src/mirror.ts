/**
 * A copy of the key space in memory, kept current by one watch: list at revision r, watch from r +
 * 1, resume from the last event after a break, and list again after a compaction, reporting the
 * differences and deletions.
 *
 * A store that was restored, or is another one, has another generation (a random value under
 * `keys.generation`), or an older revision than the mirror has seen. Then the copy is replaced, and
 * everybody is told: what was read before may never have happened in this store.
 *
 * Of a store without the record of the mirror's cluster, or with another cluster's, nothing is
 * taken up, whether a listing or a watch shows it: the copy stays as it is until the right record
 * is back.
 *
 * A safety listing from time to time counts changes that the watch missed; that count must stay
 * zero.
 */
import type { Cancel, Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { KeyValue, MetadataStore, WatchEnd, WatchEvent, WatchHandle } from "./api.ts";
import { clusterIdIn, foreignStore } from "./cluster.ts";
import { keys } from "./keys.ts";
import { byKey } from "./limits.ts";
import { correction, differences, type Listing, listAll } from "./listing.ts";

/** For metrics. */
export interface MirrorObserver {
  /** A listing of the whole key space has been taken or compared. */
  listed(): void;
  /** The watch has ended, and another one begins. */
  resumed(reason: WatchEnd["reason"]): void;
  /** A safety listing has found differences: a bug of the store or of the mirror. */
  missed(changes: number): void;
  /** The store has another generation, or went back. */
  reset(): void;
  /** The store does not hold this cluster's record: nothing of it was taken up. */
  refused(): void;
}

export interface MirrorOptions {
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Interval of the safety listing, milliseconds. Default 300,000. */
  readonly relistIntervalMs?: number;
  readonly observer?: MirrorObserver;
  /** Id of the cluster whose store it is. Default: that of the first record that is read. */
  readonly clusterId?: string;
}

/** What the mirror knew of a store, and what it has found in its place. */
export interface Reset {
  readonly before: { readonly generation: string; readonly revision: number };
  readonly after: { readonly generation: string; readonly revision: number };
}

const backoffMs = (random: Random, attempt: number): number =>
  Math.min(5000, 50 * 2 ** Math.min(attempt, 7)) * (0.5 + random.float());

/** How long a watch may take to reach the revision of a safety listing. */
const catchUpMs = 10_000;
/** How often a watch is asked for progress while somebody waits for a revision. */
const askIntervalMs = 200;

const generationOf = (kv: KeyValue | undefined): string =>
  kv === undefined ? "" : Buffer.from(kv.value).toString();

export class Mirror {
  readonly #options: MirrorOptions;
  readonly #kvs = new Map<string, KeyValue>();
  readonly #listeners = new Set<(events: readonly WatchEvent[]) => void>();
  readonly #resetListeners = new Set<(reset: Reset) => void>();
  readonly #waiters = new Set<() => void>();
  /** Keys deleted since a safety listing began, by the revision of their deletion. */
  #deleted: Map<string, number> | undefined;
  #revision = 0;
  #generation = "";
  #clusterId: string | undefined;
  /** Why the store is refused, while it is. */
  #refusal: string | undefined;
  #watch: WatchHandle | undefined;
  /** Rises with every watch and every listing that replaces the copy. */
  #turn = 0;
  /** Rises with every listing that replaces the copy. */
  #replaced = 0;
  /** Watches that ended without having delivered anything, one after the other. */
  #failures = 0;
  #cancelTimer: Cancel = () => {};
  #closed = false;
  /** Differences that safety listings found. */
  missed = 0;
  /** Listings so far. */
  listings = 0;
  /** How often the store had another generation, or went back. */
  resets = 0;

  constructor(options: MirrorOptions) {
    this.#options = options;
    this.#clusterId = options.clusterId;
  }

  /** All changes up to this revision, of this generation, have been seen. */
  get revision(): number {
    return this.#revision;
  }

  /** Of the store; empty until it has one. Revisions of different generations do not compare. */
  get generation(): string {
    return this.#generation;
  }

  get(key: string): KeyValue | undefined {
    return this.#kvs.get(key);
  }

  /** Keys with a prefix, in byte order. */
  entries(prefix: string): KeyValue[] {
    return [...this.#kvs.values()].filter((kv) => kv.key.startsWith(prefix)).sort(byKey);
  }

  /**
   * Lists once, then keeps watching. Rejects when the first listing fails, and with UNAVAILABLE
   * when the store is not that of `clusterId`.
   */
  async start(): Promise<void> {
    const listing = await this.#list();
    const record = listing.kvs.get(keys.cluster);
    const expected = this.#clusterId;
    if (expected !== undefined && clusterIdIn(record) !== expected) {
      throw foreignStore(expected, record);
    }
    this.#replace(listing);
    this.#follow();
    this.#armSafety();
  }

  /**
   * Called after each change, with the events of one revision (or of one listing). Returns how to
   * stop.
   */
  onChange(listener: (events: readonly WatchEvent[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Called when the store has another generation or went back, before the events of the listing
   * that replaces the copy. Returns how to stop.
   */
  onReset(listener: (reset: Reset) => void): () => void {
    this.#resetListeners.add(listener);
    return () => this.#resetListeners.delete(listener);
  }

  /**
   * True once the mirror has reached the revision; false when `timeoutMs` passed first, and at once
   * when the mirror is closed or has another generation than the revision is of.
   */
  waitForRevision(revision: number, timeoutMs: number, generation?: string): Promise<boolean> {
    const { clock } = this.#options;
    const reached = (): boolean | undefined => {
      if (generation !== undefined && generation !== this.#generation) return false;
      if (this.#revision >= revision) return true;
      return this.#closed ? false : undefined;
    };
    const now = reached();
    if (now !== undefined) return Promise.resolve(now);
    return new Promise((resolve) => {
      let cancelAsking: Cancel = () => {};
      const check = (): void => {
        const answer = reached();
        if (answer !== undefined) settle(answer);
      };
      const settle = (answer: boolean): void => {
        cancel();
        cancelAsking();
        this.#waiters.delete(check);
        resolve(answer);
      };
      const cancel = clock.timer(timeoutMs, () => settle(false));
      // The revision may be of a change elsewhere in the store, which no event tells of.
      const ask = (): void => {
        this.#watch?.requestProgress();
        cancelAsking = clock.timer(askIntervalMs, ask);
      };
      this.#waiters.add(check);
      ask();
    });
  }

  close(): void {
    this.#closed = true;
    this.#cancelTimer();
    this.#watch?.cancel();
    this.#wake();
  }

  async #list(): Promise<Listing> {
    const listing = await listAll(this.#options.store);
    this.listings += 1;
    this.#options.observer?.listed();
    return listing;
  }

  /**
   * Whether this record, or the lack of one, shows another store than this cluster's. Says so once,
   * and once when the record is back.
   */
  #refuses(record: KeyValue | undefined): boolean {
    const { logger, observer } = this.#options;
    const expected = this.#clusterId;
    if (expected === undefined || clusterIdIn(record) === expected) {
      if (this.#refusal !== undefined) {
        logger.info(
          { cluster_id: expected },
          "the metadata store holds this cluster's record again",
        );
      }
      this.#refusal = undefined;
      return false;
    }
    const { message } = foreignStore(expected, record);
    observer?.refused();
    if (this.#refusal !== message) {
      const fields = { expected, found: clusterIdIn(record), revision: this.#revision };
      logger.error(fields, `${message}; until then this process goes on with what it has read`);
    }
    this.#refusal = message;
    return true;
  }

  /** Leaves a store that is refused, and looks for the right one. The copy stays. */
  #leave(): void {
    const watch = this.#watch;
    this.#watch = undefined;
    this.#turn += 1;
    const error = new Error(this.#refusal);
    // Where the right record is back, everything is listed: what was passed over is not watched.
    this.#retry({ reason: "diverged", error });
    watch?.cancel();
  }

  /** Whether a read at this revision, of this generation, contradicts what was seen before it. */
  #contradicts(seen: { revision: number; generation: string }, now: Listing): boolean {
    const other =
      seen.generation !== "" && generationOf(now.kvs.get(keys.generation)) !== seen.generation;
    return other || now.revision < seen.revision;
  }

  /** Replaces the copy by a listing, and reports the differences. */
  #replace(listing: Listing): void {
    const before = { generation: this.#generation, revision: this.#revision };
    const isReset = this.#contradicts(before, listing);
    const events = differences(this.#kvs, listing);
    this.#turn += 1;
    this.#replaced += 1;
    this.#revision = listing.revision;
    if (isReset) {
      const generation = generationOf(listing.kvs.get(keys.generation));
      this.#generation = generation;
      this.#tellReset({ before, after: { generation, revision: listing.revision } });
    }
    this.#apply(events, listing.revision);
  }

  #tellReset(reset: Reset): void {
    this.resets += 1;
    this.#options.observer?.reset();
    this.#options.logger.error(
      { before: reset.before, after: reset.after },
      "the metadata store was restored, or is another one: everything is read anew",
    );
    for (const listener of this.#resetListeners) listener(reset);
  }

  #follow(): void {
    if (this.#closed) return;
    this.#turn += 1;
    const turn = this.#turn;
    const isCurrent = (): boolean => turn === this.#turn && !this.#closed;
    this.#watch = this.#options.store.watch({ prefix: "" }, this.#revision + 1, {
      onBatch: ({ events, revision }) => {
        if (isCurrent()) this.#take(events, revision);
      },
      onEnd: (end) => {
        if (isCurrent()) this.#resume(end);
      },
    });
  }

  #resume(end: WatchEnd): void {
    this.#watch = undefined;
    if (end.reason === "lost" || end.reason === "diverged") {
      const fields = { err: end.error, reason: end.reason };
      this.#options.logger.warn(fields, "the watch of the metadata has ended");
    }
    this.#retry(end);
  }

  /** Watches again after a pause, and after a listing where one is needed. */
  #retry(end: WatchEnd): void {
    const { clock, random, logger, observer } = this.#options;
    const attempt = this.#failures;
    this.#failures += 1;
    const turn = this.#turn;
    clock.timer(backoffMs(random, attempt), () => {
      if (this.#closed || turn !== this.#turn) return;
      observer?.resumed(end.reason);
      const isCurrent = (): boolean => turn === this.#turn && !this.#closed;
      this.#listAgain(end).then(
        (listing) => {
          if (!isCurrent()) return;
          if (listing === "refused") {
            this.#retry(end);
            return;
          }
          if (listing !== undefined) this.#replace(listing);
          this.#follow();
        },
        (thrown: unknown) => {
          if (!isCurrent()) return;
          logger.warn({ err: thrown }, "the metadata cannot be read: trying again");
          this.#resume(end);
        },
      );
    });
  }

  /** The listing that the next watch needs, or undefined if it can go on where the last ended. */
  async #listAgain(end: WatchEnd): Promise<Listing | "refused" | undefined> {
    if (end.reason === "lost" || this.#refusal !== undefined) {
      // Behind a lost connection there may be another store now, which would go on in silence.
      const found = await this.#identify();
      if (this.#refuses(found.kvs.get(keys.cluster))) return "refused";
      const seen = { generation: this.#generation, revision: this.#revision };
      if (end.reason === "lost" && !this.#contradicts(seen, found)) return undefined;
    }
    const listing = await this.#list();
    return this.#refuses(listing.kvs.get(keys.cluster)) ? "refused" : listing;
  }

  /** The keys that tell which store this is, of one revision. */
  async #identify(): Promise<Listing> {
    const { results, revision } = await this.#options.store.txn(
      [],
      [keys.generation, keys.cluster].map((key) => ({ type: "range", range: { key } })),
    );
    const kvs = results.flatMap((result) => (result.type === "range" ? result.kvs : []));
    return { kvs: new Map(kvs.map((kv) => [kv.key, kv])), revision };
  }

  #armSafety(): void {
    const { clock, random, relistIntervalMs = 300_000, logger } = this.#options;
    this.#cancelTimer = clock.timer(relistIntervalMs * (0.5 + random.float()), () => {
      this.#verify()
        .catch((thrown: unknown) => {
          // The history of a long listing may be compacted away under it: next time.
          if (hasCode(thrown, ErrorCode.INVALID_REQUEST)) return;
          logger.warn({ err: thrown }, "the metadata cannot be listed");
        })
        .finally(() => {
          this.#deleted = undefined;
          if (!this.#closed) this.#armSafety();
        });
    });
  }

  /** Compares the copy with a listing. */
  async #verify(): Promise<void> {
    const { logger, observer } = this.#options;
    const before = { generation: this.#generation, revision: this.#revision };
    const replaced = this.#replaced;
    // A listing in between knows what was deleted before it, but not all of the time before that.
    const isOver = (): boolean => this.#closed || this.#replaced !== replaced;
    const deleted = new Map<string, number>();
    this.#deleted = deleted;
    const listing = await this.#list();
    if (isOver()) return;
    if (this.#refuses(listing.kvs.get(keys.cluster))) {
      this.#leave();
      return;
    }
    if (this.#contradicts(before, listing)) {
      this.#restart(listing);
      return;
    }
    const isReached = await this.waitForRevision(listing.revision, catchUpMs, this.#generation);
    if (isOver()) return;
    if (!isReached) {
      if (this.#watch === undefined) return;
      logger.warn(
        { revision: listing.revision },
        "the watch of the metadata is silent: watching anew",
      );
      this.#restart(undefined);
      return;
    }
    const events = correction(this.#kvs, deleted, listing);
    if (events.length === 0) return;
    this.missed += events.length;
    observer?.missed(events.length);
    const examples = events.slice(0, 10).map(({ type, kv }) => ({
      ...{ type, key: kv.key, found: kv.modRevision, known: this.#kvs.get(kv.key)?.modRevision },
    }));
    logger.error(
      { changes: events.length, listed: listing.revision, revision: this.#revision, examples },
      "a watch has missed metadata changes",
    );
    this.#apply(events, this.#revision);
  }

  /** Watches anew, after replacing the copy where there is a listing. */
  #restart(listing: Listing | undefined): void {
    const watch = this.#watch;
    if (listing !== undefined) this.#replace(listing);
    this.#follow();
    watch?.cancel();
  }

  /** What a watch has delivered. Changes that are known already are passed over. */
  #take(events: readonly WatchEvent[], revision: number): void {
    this.#failures = 0;
    const fresh = events.filter(({ kv }) => kv.modRevision > this.#revision);
    const record = fresh.findLast(({ kv }) => kv.key === keys.cluster);
    if (record !== undefined && this.#refuses(record.type === "put" ? record.kv : undefined)) {
      this.#leave();
      return;
    }
    const changed = fresh.findLast(({ kv }) => kv.key === keys.generation);
    if (changed !== undefined) this.#takeGeneration(generationOf(changed.kv), revision);
    this.#apply(fresh, revision);
  }

  /** A generation that is replaced under a running watch, as a restore does it. */
  #takeGeneration(generation: string, revision: number): void {
    const before = { generation: this.#generation, revision: this.#revision };
    this.#generation = generation;
    if (before.generation === "" || before.generation === generation) return;
    this.#tellReset({ before, after: { generation, revision } });
  }

  #apply(events: readonly WatchEvent[], revision: number): void {
    for (const { type, kv } of events) {
      if (type === "put") this.#kvs.set(kv.key, kv);
      else {
        this.#kvs.delete(kv.key);
        this.#deleted?.set(kv.key, kv.modRevision);
      }
    }
    this.#generation = generationOf(this.#kvs.get(keys.generation));
    this.#clusterId ??= clusterIdIn(this.#kvs.get(keys.cluster));
    this.#revision = Math.max(this.#revision, revision);
    if (events.length > 0) for (const listener of this.#listeners) listener(events);
    this.#wake();
  }

  #wake(): void {
    for (const check of [...this.#waiters]) check();
  }
}
