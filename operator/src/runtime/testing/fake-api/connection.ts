/** The way of one process to the API server: delays, and what goes wrong on it. */
import { Waiters } from "@millrace/env";
import type { Incarnation, Kernel } from "@millrace/sim";
import { keyOf } from "../../cache.ts";
import {
  ApiError,
  type KubernetesApi,
  type KubernetesObject,
  type ListOptions,
  type ListPage,
  type ObjectKey,
  type Preconditions,
  type ResourceType,
  type WatchEvent,
  type WatchOptions,
} from "../../kubernetes.ts";
import type { Fault, Faults } from "./faults.ts";
import { type FakeServer, matches, type Recorded } from "./server.ts";

export interface ConnectionOptions {
  readonly server: FakeServer;
  readonly kernel: Kernel;
  readonly life: Incarnation;
  faults(): Faults;
  /** Told of each fault that happens. */
  onFault?(fault: Fault): void;
  /** A write has arrived; false where it is not carried out. */
  beforeWrite?(): boolean;
  /** It was carried out or refused; its answer is not on its way yet. */
  afterWrite?(): void;
}

/** By when a call ends that gets no answer. */
const deadlineMs = 4000;
const bookmarkMs = 60_000;

type Item = WatchEvent<KubernetesObject>;

const seenAs = (recorded: Recorded, options: ListOptions): Item | undefined => {
  const { type, object, before } = recorded;
  const was = before !== undefined && matches(before, options);
  const is = type !== "DELETED" && matches(object, options);
  const copy = structuredClone(object);
  if (is) return { type: was ? "MODIFIED" : "ADDED", object: copy };
  return was ? { type: "DELETED", object: copy } : undefined;
};

const uidOf = (item: Item | undefined): string | undefined =>
  item === undefined || item.type === "BOOKMARK" ? undefined : item.object.metadata.uid;

export class FakeConnection implements KubernetesApi {
  readonly #options: ConnectionOptions;
  readonly #clock: ReturnType<Incarnation["clock"]>;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#clock = options.life.clock();
  }

  get<T extends KubernetesObject>(type: ResourceType<T>, key: ObjectKey): Promise<T | undefined> {
    return this.#call(() => structuredClone(this.#options.server.get(type, key)));
  }

  list<T extends KubernetesObject>(
    type: ResourceType<T>,
    options: ListOptions,
  ): Promise<ListPage<T>> {
    return this.#call(() => structuredClone(this.#options.server.list(type, options)));
  }

  create<T extends KubernetesObject>(type: ResourceType<T>, object: T): Promise<T> {
    return this.#write(() => this.#options.server.create(type, object, "operator"));
  }

  apply<T extends KubernetesObject>(
    type: ResourceType<T>,
    object: T,
    options: { readonly fieldManager: string; readonly force: boolean },
  ): Promise<T> {
    return this.#write(() => this.#options.server.apply(type, object, options));
  }

  applyStatus<T extends KubernetesObject>(
    type: ResourceType<T>,
    object: T,
    options: { readonly fieldManager: string; readonly force: boolean },
  ): Promise<T> {
    return this.#write(() => this.#options.server.applyStatus(type, object, options));
  }

  replace<T extends KubernetesObject>(type: ResourceType<T>, object: T): Promise<T> {
    return this.#write(() => {
      const current = this.#options.server.get(type, keyOf(object));
      if (current !== undefined && this.#happens("conflict")) {
        throw new ApiError("the object has been modified", { status: 409, reason: "Conflict" });
      }
      return this.#options.server.replace(type, object, "operator");
    });
  }

  delete(type: ResourceType, key: ObjectKey, preconditions: Preconditions): Promise<boolean> {
    return this.#write(() => this.#options.server.delete(type, key, preconditions, "operator"));
  }

  async *watch<T extends KubernetesObject>(
    type: ResourceType<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<T>> {
    const { server, life } = this.#options;
    const items: Item[] = [];
    const waiters = new Waiters();
    let isOver = false;
    const push = (item: Item | undefined): void => {
      if (item !== undefined) items.push(item);
      waiters.wake();
    };
    const undo: (() => void)[] = [];
    const end = (): void => {
      for (const one of undo.splice(0)) one();
      waiters.wake();
    };
    await this.#call(() => {
      for (const one of server.since(type, options.resourceVersion)) push(seenAs(one, options));
      undo.push(server.listen(type, (one) => push(seenAs(one, options))));
      undo.push(life.whenKilled(end));
    });
    const over = (): void => {
      isOver = true;
      waiters.wake();
    };
    undo.push(this.#clock.timer(options.timeoutSeconds * 1000, over));
    undo.push(
      this.#bookmarks(() => push({ type: "BOOKMARK", resourceVersion: String(server.version) })),
    );
    signal.addEventListener("abort", () => waiters.wake(), { once: true });
    try {
      for (;;) {
        signal.throwIfAborted();
        if (items.length === 0) {
          if (isOver) return;
          await waiters.wait();
          await this.#clock.sleep(this.#delayMs());
          continue;
        }
        if (await this.#breaks(signal)) return;
        const item = this.#next(items);
        if (item !== undefined) yield item as WatchEvent<T>;
      }
    } finally {
      end();
    }
  }

  /** What breaks the stream before its next event: throws, or says that it ends. */
  async #breaks(signal: AbortSignal): Promise<boolean> {
    if (this.#happens("watchEnds")) return true;
    if (this.#happens("watchBreaks")) throw new ApiError("the connection was reset", { status: 0 });
    if (this.#happens("watchExpires")) {
      throw new ApiError("too old resource version", { status: 410, reason: "Expired" });
    }
    if (this.#happens("watchHangs")) {
      while (!signal.aborted) await this.#clock.sleep(1000);
      signal.throwIfAborted();
    }
    return false;
  }

  #next(items: Item[]): Item | undefined {
    const isOther = uidOf(items[1]) !== undefined && uidOf(items[0]) !== uidOf(items[1]);
    const at = isOther && this.#happens("reorder") ? 1 : 0;
    const item = items[at];
    if (!this.#happens("duplicate") || item?.type === "BOOKMARK") items.splice(at, 1);
    return this.#happens("loseEvent") ? undefined : item;
  }

  #bookmarks(send: () => void): () => void {
    let cancel = (): void => {};
    const again = (): void => {
      cancel = this.#clock.timer(bookmarkMs, () => {
        send();
        again();
      });
    };
    again();
    return () => cancel();
  }

  #write<T>(carryOut: () => T): Promise<T> {
    const { beforeWrite, afterWrite } = this.#options;
    return this.#call(carryOut, beforeWrite ?? (() => true), afterWrite);
  }

  /** A request travels to the server even if its process dies meanwhile; its answer does not. */
  #call<T>(carryOut: () => T, before?: () => boolean, after?: () => void): Promise<T> {
    const { kernel, life, server } = this.#options;
    return new Promise<T>((resolve, reject) => {
      const fail = (error: unknown, ms = this.#delayMs()): void => {
        life.schedule(ms, () => reject(error), "no answer");
      };
      const arrive = (): void => {
        if (this.#happens("compact")) server.compact();
        if (this.#happens("refuse")) fail(this.#refusal());
        else if (before?.() !== false) this.#carryOut(carryOut, after, resolve, fail);
      };
      if (this.#happens("cut")) fail(new ApiError("the connection was refused", { status: 0 }));
      else kernel.schedule(this.#delayMs(), arrive, "request");
    });
  }

  #carryOut<T>(
    carryOut: () => T,
    after: (() => void) | undefined,
    resolve: (answer: T) => void,
    fail: (error: unknown, ms?: number) => void,
  ): void {
    let answer: T;
    try {
      answer = carryOut();
    } catch (error) {
      fail(error);
      return;
    } finally {
      after?.();
    }
    if (this.#happens("loseAnswer")) {
      fail(new ApiError(`no answer within ${deadlineMs} ms`, { status: 0 }), deadlineMs);
    } else this.#options.life.schedule(this.#delayMs(), () => resolve(answer), "answer");
  }

  #refusal(): ApiError {
    const status = [429, 500, 503][this.#options.kernel.random.below(3)] ?? 500;
    return new ApiError("not now", { status, ...(status === 429 ? { retryAfterMs: 1000 } : {}) });
  }

  #delayMs(): number {
    return this.#options.kernel.random.float() * this.#options.faults().latencyMs;
  }

  #happens(fault: Fault): boolean {
    const chance = this.#options.faults()[fault];
    const happens = chance > 0 && this.#options.kernel.random.float() < chance;
    if (happens) this.#options.onFault?.(fault);
    return happens;
  }
}
