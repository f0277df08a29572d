/**
 * A copy of the key space in memory, kept current by one watch: list at revision r, watch from r +
 * 1, resume from the last event after a break, and list again after a compaction, reporting the
 * differences and deletions. A safety listing from time to time counts changes that the watch
 * missed; that count must stay zero.
 */
import type { Cancel, Clock, Logger, Random } from "@millrace/env";
import type { KeyValue, MetadataStore, WatchEnd, WatchEvent } from "./api.ts";
import { byKey } from "./limits.ts";

export interface MirrorOptions {
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Interval of the safety listing, milliseconds. Default 300,000. */
  readonly relistIntervalMs?: number;
}

const backoffMs = (random: Random, attempt: number): number =>
  Math.min(5000, 50 * 2 ** Math.min(attempt, 7)) * (0.5 + random.float());

const same = (a: KeyValue | undefined, b: KeyValue | undefined): boolean =>
  a?.modRevision === b?.modRevision;

export class Mirror {
  readonly #options: MirrorOptions;
  readonly #kvs = new Map<string, KeyValue>();
  readonly #listeners = new Set<(events: readonly WatchEvent[]) => void>();
  readonly #waiters = new Set<() => void>();
  #revision = 0;
  #stopWatch: () => void = () => {};
  #cancelTimer: Cancel = () => {};
  #closed = false;
  #generation = 0;
  /** Differences that a safety listing found. */
  missed = 0;
  /** Listings so far. */
  listings = 0;

  constructor(options: MirrorOptions) {
    this.#options = options;
  }

  /** All changes up to this revision have been seen. */
  get revision(): number {
    return this.#revision;
  }

  get(key: string): KeyValue | undefined {
    return this.#kvs.get(key);
  }

  /** Keys with a prefix, in byte order. */
  entries(prefix: string): KeyValue[] {
    return [...this.#kvs.values()].filter((kv) => kv.key.startsWith(prefix)).sort(byKey);
  }

  /** Lists once, then keeps watching. Rejects when the first listing fails. */
  async start(): Promise<void> {
    await this.#list(false);
    this.#watch();
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

  /** True once the mirror has reached the revision; false when `timeoutMs` passed first. */
  waitForRevision(revision: number, timeoutMs: number): Promise<boolean> {
    if (this.#revision >= revision) return Promise.resolve(true);
    return new Promise((resolve) => {
      const check = (): void => {
        if (this.#revision >= revision) settle(true);
        else if (this.#closed) settle(false);
      };
      const settle = (reached: boolean): void => {
        cancel();
        this.#waiters.delete(check);
        resolve(reached);
      };
      const cancel = this.#options.clock.timer(timeoutMs, () => settle(false));
      this.#waiters.add(check);
    });
  }

  close(): void {
    this.#closed = true;
    this.#cancelTimer();
    this.#stopWatch();
    this.#wake();
  }

  /** Replaces the copy by a listing, and reports the differences. */
  async #list(isSafety: boolean): Promise<void> {
    const { store } = this.#options;
    const first = await store.range({ prefix: "" }, { limit: 1000 });
    const { revision } = first;
    const found = new Map(first.kvs.map((kv) => [kv.key, kv]));
    let page = first;
    while (page.more) {
      const startAfter = page.kvs.at(-1)?.key ?? "";
      page = await store.range({ prefix: "" }, { revision, limit: 1000, startAfter });
      for (const kv of page.kvs) found.set(kv.key, kv);
    }
    this.listings += 1;
    // The watch may have overtaken the listing.
    if (this.#closed || revision < this.#revision) return;
    const events: WatchEvent[] = [];
    for (const kv of found.values()) {
      if (!same(this.#kvs.get(kv.key), kv)) events.push({ type: "put", kv });
    }
    for (const [key, kv] of this.#kvs) {
      if (found.has(key)) continue;
      const gone = { ...kv, value: new Uint8Array(0), modRevision: revision, version: 0 };
      events.push({ type: "delete", kv: gone });
    }
    if (isSafety && revision === this.#revision && events.length > 0) {
      this.missed += events.length;
      this.#options.logger.error({ events: events.length }, "a watch has missed metadata changes");
    }
    this.#take(events, revision);
  }

  #watch(): void {
    if (this.#closed) return;
    const { store } = this.#options;
    this.#generation += 1;
    const generation = this.#generation;
    this.#stopWatch = store.watch({ prefix: "" }, this.#revision + 1, {
      onBatch: ({ events, revision }) => {
        if (generation === this.#generation && !this.#closed) this.#take(events, revision);
      },
      onEnd: (end) => {
        if (generation === this.#generation && !this.#closed) this.#resume(end, 0);
      },
    });
  }

  #resume(end: WatchEnd, attempt: number): void {
    const { clock, random, logger } = this.#options;
    clock.timer(backoffMs(random, attempt), () => {
      if (this.#closed) return;
      if (end.reason !== "compacted") {
        this.#watch();
        return;
      }
      this.#list(false).then(
        () => this.#watch(),
        (thrown: unknown) => {
          logger.warn({ err: thrown }, "the metadata cannot be listed: trying again");
          this.#resume(end, attempt + 1);
        },
      );
    });
  }

  #armSafety(): void {
    const { clock, random, relistIntervalMs = 300_000, logger } = this.#options;
    this.#cancelTimer = clock.timer(relistIntervalMs * (0.5 + random.float()), () => {
      this.#list(true)
        .catch((thrown: unknown) => logger.warn({ err: thrown }, "the metadata cannot be listed"))
        .finally(() => {
          if (!this.#closed) this.#armSafety();
        });
    });
  }

  #take(events: readonly WatchEvent[], revision: number): void {
    for (const { type, kv } of events) {
      if (type === "put") this.#kvs.set(kv.key, kv);
      else this.#kvs.delete(kv.key);
    }
    this.#revision = Math.max(this.#revision, revision);
    if (events.length > 0) for (const listener of this.#listeners) listener(events);
    this.#wake();
  }

  #wake(): void {
    for (const check of [...this.#waiters]) check();
  }
}
