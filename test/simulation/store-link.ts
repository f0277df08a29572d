/** The way from a process to the metadata store: slow, cut, or losing answers of what was done. */
import type { Clock } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type {
  KeyRange,
  MetadataStore,
  WatchBatch,
  WatchEnd,
  WatchHandle,
  WatchHandlers,
} from "@millrace/metadata";
import type { Kernel, SeededRandom } from "@millrace/sim";

/** What is wrong with it now. */
export interface StoreTrouble {
  /** Nothing comes through, either way. */
  isCut: boolean;
  /** Calls come through, and nothing of what watches have to say. */
  isBlind: boolean;
  /** Time of a message under way, ms. */
  delayMs: number;
  /** Part of the answers that are lost after the store has done what was asked. */
  lostAnswers: number;
}

export const noTrouble: StoreTrouble = {
  isCut: false,
  isBlind: false,
  delayMs: 0.5,
  lostAnswers: 0,
};

/** As long as calls to etcd take to be given up, ms; and watches, to be made or to be silent. */
const timeoutMs = 5_000;
/** How often a watch looks whether its link is there again, ms. */
const lookMs = 50;

export interface StoreLinkOptions {
  readonly kernel: Kernel;
  /** Of the process. */
  readonly clock: Clock;
  readonly random: SeededRandom;
  readonly trouble: StoreTrouble;
  /** Rises with every life of the store, which ends all connections. */
  readonly life: () => number;
}

const failed = (outcome: "none" | "unknown"): MillraceError =>
  new MillraceError(ErrorCode.UNAVAILABLE, "the link to the store is down", { facts: { outcome } });

/** A watch over the link: what comes is late and in order, and a cut that lasts ends it. */
class LinkedWatch implements WatchHandle {
  readonly #link: StoreLinkOptions;
  readonly #handlers: WatchHandlers;
  readonly #queue: WatchBatch[] = [];
  #watch: WatchHandle | undefined;
  #isBusy = false;
  #isAsked = false;
  #isEnded = false;

  constructor(link: StoreLinkOptions, handlers: WatchHandlers) {
    this.#link = link;
    this.#handlers = handlers;
  }

  async open(store: MetadataStore, range: KeyRange, fromRevision: number): Promise<void> {
    if (!(await this.#passes())) return;
    this.#watch = store.watch(range, fromRevision, {
      onBatch: (batch) => {
        this.#queue.push(batch);
        if (!this.#isBusy) void this.#deliver();
      },
      onEnd: (end) => this.#end(end),
    });
    if (this.#isAsked) this.#watch.requestProgress();
  }

  cancel(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#queue.length = 0;
    this.#watch?.cancel();
    this.#link.clock.defer(() => this.#handlers.onEnd({ reason: "cancelled" }));
  }

  requestProgress(): void {
    if (this.#watch === undefined) this.#isAsked = true;
    else if (!this.#link.trouble.isCut) this.#watch.requestProgress();
  }

  async #deliver(): Promise<void> {
    this.#isBusy = true;
    while (this.#queue.length > 0) {
      if (!(await this.#passes())) return;
      const batch = this.#queue.shift();
      if (batch !== undefined) this.#handlers.onBatch(batch);
    }
    this.#isBusy = false;
  }

  /** Resolves once one message is through. False once the watch has ended. */
  async #passes(): Promise<boolean> {
    const { clock, kernel, random, trouble } = this.#link;
    await clock.sleep(trouble.delayMs * random.float());
    while (trouble.isBlind && !this.#isEnded) await clock.sleep(lookMs);
    const endMs = clock.monoMs() + timeoutMs;
    while (trouble.isCut && !this.#isEnded) {
      await clock.sleep(lookMs);
      if (clock.monoMs() < endMs || this.#isEnded) continue;
      kernel.marks.sometimes("store: a watch is lost");
      this.#watch?.cancel();
      this.#end({ reason: "lost", error: failed("none") });
    }
    return !this.#isEnded;
  }

  /** It has ended on this side: nothing follows. */
  #end(end: WatchEnd): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#queue.length = 0;
    this.#handlers.onEnd(end);
  }
}

/** The store behind the link. */
export const linked = (store: MetadataStore, options: StoreLinkOptions): MetadataStore => {
  const { clock, kernel, life, random, trouble } = options;
  const call = async <T>(ask: () => Promise<T>): Promise<T> => {
    const begun = life();
    await clock.sleep(trouble.delayMs * random.float());
    if (trouble.isCut) {
      kernel.marks.sometimes("store: a request is lost");
      await clock.sleep(timeoutMs);
      throw failed("unknown");
    }
    if (life() !== begun) throw failed("unknown");
    const value = await ask();
    if (trouble.isCut || random.chance(trouble.lostAnswers)) {
      kernel.marks.sometimes("store: an answer is lost");
      await clock.sleep(timeoutMs);
      throw failed("unknown");
    }
    await clock.sleep(trouble.delayMs * random.float());
    return value;
  };
  return {
    ...store,
    range: (...args) => call(() => store.range(...args)),
    txn: (...args) => call(() => store.txn(...args)),
    watch: (range, fromRevision, handlers) => {
      const watch = new LinkedWatch(options, handlers);
      void watch.open(store, range, fromRevision);
      return watch;
    },
    grantLease: (...args) => call(() => store.grantLease(...args)),
    keepAlive: (...args) => call(() => store.keepAlive(...args)),
    revokeLease: (...args) => call(() => store.revokeLease(...args)),
  };
};
