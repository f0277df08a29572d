/**
 * Keeps a cache of a kind: lists it, watches it, and lists it anew from time to time and after
 * every error. It never ends by itself.
 */
import type { Clock, Logger, Random } from "@millrace/env";
import { type BackoffOptions, backoffMs } from "./backoff.ts";
import { type Change, type IndexOf, ObjectCache } from "./cache.ts";
import { isExpired, messageOf, retryAfterMs } from "./errors.ts";
import type {
  KubernetesApi,
  KubernetesObject,
  ListPage,
  ObjectKey,
  ResourceType,
  WatchEvent,
} from "./kubernetes.ts";
import { noRuntimeMetrics, type RuntimeMetrics, type WatchRestart } from "./metrics.ts";

export interface InformerOptions<T extends KubernetesObject> {
  readonly api: Pick<KubernetesApi, "list" | "watch">;
  readonly type: ResourceType<T>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics?: RuntimeMetrics;
  /** All namespaces where it is left out. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly indexes?: Readonly<Record<string, IndexOf<T>>>;
  /** Between two lists, about. */
  readonly relistMs?: number;
  /** How long one watch lasts. */
  readonly watchMs?: number;
  readonly pageLimit?: number;
  readonly backoff?: BackoffOptions;
}

export const informerDefaults = {
  relistMs: 600_000,
  watchMs: 300_000,
  pageLimit: 500,
  backoff: { minMs: 500, maxMs: 30_000 },
} as const;

/** How much longer than it was asked for a watch may last before it counts as stuck. */
const watchGraceMs = 10_000;
/** Lists in a row that expire between their pages before one is asked for in one page. */
const expiredListsMax = 3;

export class Informer<T extends KubernetesObject> {
  readonly type: ResourceType<T>;
  readonly #options: InformerOptions<T> &
    Required<Pick<InformerOptions<T>, keyof typeof informerDefaults>>;
  readonly #metrics: RuntimeMetrics;
  readonly #cache: ObjectCache<T>;
  readonly #handlers: ((change: Change<T>) => void)[] = [];
  readonly #stopping = new AbortController();
  #synced = Promise.withResolvers<void>();
  #hasSynced = false;
  #running: Promise<void> | undefined;
  /** When the server said something of the kind, and when it did, or refused to. */
  #heardMs: number;
  #answeredMs: number;
  #failures = 0;
  #expiredLists = 0;

  constructor(options: InformerOptions<T>) {
    this.type = options.type;
    this.#options = { ...informerDefaults, ...options };
    this.#metrics = options.metrics ?? noRuntimeMetrics;
    this.#cache = new ObjectCache(options.indexes);
    this.#heardMs = options.clock.monoMs();
    this.#answeredMs = this.#heardMs;
  }

  /** Whether the cache has been complete once. */
  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** Resolves when the cache is complete for the first time, or the informer is stopped. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  get(key: ObjectKey): T | undefined {
    return this.#cache.get(key);
  }

  list(): readonly T[] {
    return this.#cache.values();
  }

  /** Objects that the index has under a value. */
  find(index: string, value: string): readonly T[] {
    return this.#cache.find(index, value);
  }

  /** Objects that name this owner. */
  ownedBy(uid: string): readonly T[] {
    return this.#cache.find("owner", uid);
  }

  /** `handle` hears of every change from now on. What it throws is logged. */
  onChange(handle: (change: Change<T>) => void): void {
    this.#handlers.push(handle);
  }

  /** For how long the server has said nothing, milliseconds. */
  get staleMs(): number {
    return this.#options.clock.monoMs() - this.#heardMs;
  }

  /**
   * For a liveness probe: a watch that has died unnoticed is older than any bookmark. A server that
   * cannot be reached is no reason to begin anew.
   */
  aliveWithin(ms: number): boolean {
    return this.#options.clock.monoMs() - this.#answeredMs <= ms;
  }

  /** For metrics, before they are read: silence tells nothing by itself. */
  report(): void {
    this.#metrics.onCache(this.type.kind, this.#cache.size, this.staleMs);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error("the informer was stopped"));
    await this.#running;
    this.#synced.resolve();
  }

  get #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #run(): Promise<void> {
    while (!this.#isStopping) {
      try {
        await this.#listAndWatch();
        if (!this.#isStopping) this.#restarted("relist");
      } catch (error) {
        if (!this.#isStopping) await this.#failed(error);
      }
    }
  }

  /** One list, and watches until the next is due. */
  async #listAndWatch(): Promise<void> {
    const { clock, random, relistMs } = this.#options;
    let resourceVersion = await this.#list();
    const relistAtMs = clock.monoMs() + relistMs * (0.9 + random.float() * 0.2);
    while (!this.#isStopping && clock.monoMs() < relistAtMs) {
      const startedMs = clock.monoMs();
      resourceVersion = await this.#watch(resourceVersion, relistAtMs - startedMs);
      const isEarly = clock.monoMs() - startedMs < this.#options.backoff.minMs;
      if (this.#isStopping || clock.monoMs() >= relistAtMs) return;
      this.#restarted("ended");
      // A server that ends every watch at once is not asked in a hot loop.
      if (isEarly) await this.#pause(0);
      else this.#failures = 0;
    }
  }

  async #list(): Promise<string> {
    const { api, type, namespace, labelSelector, pageLimit } = this.#options;
    const items: T[] = [];
    const inPages = this.#expiredLists < expiredListsMax;
    let continueToken = "";
    for (;;) {
      const page: ListPage<T> = await api
        .list(type, {
          ...(namespace === undefined ? {} : { namespace }),
          ...(labelSelector === undefined ? {} : { labelSelector }),
          ...(inPages ? { limit: pageLimit } : {}),
          ...(continueToken === "" ? {} : { continueToken }),
        })
        .catch((error: unknown) => {
          if (isExpired(error)) this.#expiredLists += 1;
          throw error;
        });
      if (this.#isStopping) return "";
      this.#heard();
      items.push(...page.items);
      continueToken = page.continueToken;
      if (continueToken !== "") continue;
      this.#expiredLists = 0;
      const isFirst = !this.#hasSynced;
      const changes = this.#cache.replace(items);
      this.#hasSynced = true;
      for (const change of changes) this.#tell(change);
      if (isFirst) this.#synced.resolve();
      return page.resourceVersion;
    }
  }

  /** Returns the resource version to go on from. */
  async #watch(from: string, leftMs: number): Promise<string> {
    const { api, type, clock, namespace, labelSelector, watchMs } = this.#options;
    const timeoutSeconds = Math.max(1, Math.ceil(Math.min(watchMs, leftMs) / 1000));
    const ending = new AbortController();
    const end = (): void => ending.abort(this.#stopping.signal.reason);
    this.#stopping.signal.addEventListener("abort", end, { once: true });
    const stuck = new Error(`the watch of ${type.plural} did not end after ${timeoutSeconds} s`);
    const cancel = clock.timer(timeoutSeconds * 1000 + watchGraceMs, () => ending.abort(stuck));
    let resourceVersion = from;
    try {
      const options = {
        ...(namespace === undefined ? {} : { namespace }),
        ...(labelSelector === undefined ? {} : { labelSelector }),
        ...{ resourceVersion: from, timeoutSeconds },
      };
      for await (const event of api.watch(type, options, ending.signal)) {
        if (this.#isStopping) return resourceVersion;
        this.#heard();
        this.#failures = 0;
        resourceVersion = this.#take(event);
      }
      ending.signal.throwIfAborted();
      // The server has ended the watch when it was to end: it is there.
      this.#heard();
      return resourceVersion;
    } finally {
      cancel();
      this.#stopping.signal.removeEventListener("abort", end);
    }
  }

  /** Takes in an event; returns the resource version to go on from. */
  #take(event: WatchEvent<T>): string {
    if (event.type === "BOOKMARK") return event.resourceVersion;
    const { object } = event;
    const changes = event.type === "DELETED" ? this.#cache.remove(object) : this.#cache.put(object);
    // What is told twice is no change.
    for (const change of changes) if (change.type !== "unchanged") this.#tell(change);
    return object.metadata.resourceVersion ?? "";
  }

  #tell(change: Change<T>): void {
    for (const handle of this.#handlers) {
      try {
        handle(change);
      } catch (error) {
        const { type, logger } = this.#options;
        this.#metrics.onHandlerError(type.kind);
        logger.error({ kind: type.kind, err: error }, "a handler of changes failed");
      }
    }
  }

  #heard(): void {
    this.#heardMs = this.#options.clock.monoMs();
    this.#answeredMs = this.#heardMs;
  }

  #restarted(reason: WatchRestart): void {
    this.#metrics.onWatchRestart(this.type.kind, reason);
  }

  async #failed(error: unknown): Promise<void> {
    this.#answeredMs = this.#options.clock.monoMs();
    this.#restarted(isExpired(error) ? "expired" : "failed");
    const fields = { kind: this.type.kind, reason: messageOf(error) };
    this.#options.logger.warn(fields, "watching failed; listing anew");
    await this.#pause(retryAfterMs(error));
  }

  async #pause(atLeastMs: number): Promise<void> {
    const { clock, random, backoff } = this.#options;
    this.#failures += 1;
    const ms = Math.max(atLeastMs, backoffMs(backoff, this.#failures, random));
    await clock.sleep(ms, this.#stopping.signal).catch(() => undefined);
  }
}
