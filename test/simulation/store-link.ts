/** The way from a process to the metadata store: slow, cut, or losing answers of what was done. */
import type { Clock } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { MetadataStore, WatchBatch, WatchHandlers } from "@millrace/metadata";
import type { Kernel, SeededRandom } from "@millrace/sim";

/** What is wrong with it now. */
export interface StoreTrouble {
  /** Nothing comes through, either way. */
  isCut: boolean;
  /** Time of a message under way, ms. */
  delayMs: number;
  /** Part of the answers that are lost after the store has done what was asked. */
  lostAnswers: number;
}

export const noTrouble: StoreTrouble = { isCut: false, delayMs: 0.5, lostAnswers: 0 };

/** As long as calls to etcd take to be given up, ms. */
const timeoutMs = 5_000;
/** How often a watch looks whether its link is there again, ms. */
const lookMs = 50;

export interface StoreLinkOptions {
  readonly kernel: Kernel;
  /** Of the process. */
  readonly clock: Clock;
  readonly random: SeededRandom;
  readonly trouble: StoreTrouble;
}

const failed = (outcome: "none" | "unknown"): MillraceError =>
  new MillraceError(ErrorCode.UNAVAILABLE, "the link to the store is down", { facts: { outcome } });

/** The store behind the link. */
export const linked = (store: MetadataStore, options: StoreLinkOptions): MetadataStore => {
  const { clock, kernel, random, trouble } = options;
  const call = async <T>(ask: () => Promise<T>): Promise<T> => {
    await clock.sleep(trouble.delayMs * random.float());
    if (trouble.isCut) {
      kernel.marks.sometimes("store: a request is lost");
      await clock.sleep(timeoutMs);
      throw failed("unknown");
    }
    const value = await ask();
    if (trouble.isCut || random.chance(trouble.lostAnswers)) {
      kernel.marks.sometimes("store: an answer is lost");
      await clock.sleep(timeoutMs);
      throw failed("unknown");
    }
    await clock.sleep(trouble.delayMs * random.float());
    return value;
  };
  const delayed = (handlers: WatchHandlers): WatchHandlers => {
    const queue: WatchBatch[] = [];
    let isBusy = false;
    const deliver = async (): Promise<void> => {
      isBusy = true;
      for (let batch = queue.shift(); batch !== undefined; batch = queue.shift()) {
        await clock.sleep(trouble.delayMs * random.float());
        while (trouble.isCut) await clock.sleep(lookMs);
        handlers.onBatch(batch);
      }
      isBusy = false;
    };
    return {
      onBatch: (batch) => {
        queue.push(batch);
        if (!isBusy) void deliver();
      },
      // It has ended on this side: nothing follows.
      onEnd: (end) => {
        queue.length = 0;
        handlers.onEnd(end);
      },
    };
  };
  return {
    ...store,
    range: (...args) => call(() => store.range(...args)),
    txn: (...args) => call(() => store.txn(...args)),
    watch: (range, fromRevision, handlers) => store.watch(range, fromRevision, delayed(handlers)),
    grantLease: (...args) => call(() => store.grantLease(...args)),
    keepAlive: (...args) => call(() => store.keepAlive(...args)),
    revokeLease: (...args) => call(() => store.revokeLease(...args)),
  };
};
