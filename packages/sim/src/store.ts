/** A metadata store in the hands of one life of a process. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { MetadataStore, WatchHandlers } from "@millrace/metadata";
import type { Incarnation } from "./kernel.ts";

/**
 * The store as `process` sees it. After its end no call of the process reaches the store, none
 * returns, and its watches are silent; what it had asked for before may still happen. During a
 * pause the answers wait.
 */
export const mountStore = (store: MetadataStore, process: Incarnation): MetadataStore => {
  const call = <T>(ask: () => Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      if (!process.alive) return;
      ask().then(
        (value) => process.run(() => resolve(value)),
        (thrown: unknown) => process.run(() => reject(thrown)),
      );
    });
  const inProcess = (handlers: WatchHandlers): WatchHandlers => ({
    onBatch: (batch) => process.run(() => handlers.onBatch(batch)),
    onEnd: (end) => process.run(() => handlers.onEnd(end)),
  });
  return {
    range: (range, options) => call(() => store.range(range, options)),
    txn: (compares, then, otherwise, options) =>
      call(() => store.txn(compares, then, otherwise, options)),
    watch: (range, fromRevision, handlers) => {
      if (!process.alive) {
        throw new MillraceError(
          ErrorCode.CANCELLED,
          "a process that was killed watches the metadata: end its code, or mark the test's error",
        );
      }
      const handle = store.watch(range, fromRevision, inProcess(handlers));
      process.whenKilled(() => handle.cancel());
      return {
        cancel: () => handle.cancel(),
        requestProgress: () => {
          if (process.alive) handle.requestProgress();
        },
      };
    },
    grantLease: (ttlSeconds, options) => call(() => store.grantLease(ttlSeconds, options)),
    keepAlive: (leaseId, options) => call(() => store.keepAlive(leaseId, options)),
    revokeLease: (leaseId, options) => call(() => store.revokeLease(leaseId, options)),
    compact: (revision, options) => call(() => store.compact(revision, options)),
    close: () => call(() => store.close()),
  };
};
