/** What the runtime counts. `node/metrics.ts` connects it to the registry; tests pass no-ops. */

/** How a reconcile ended. */
export type ReconcileResult = "done" | "requeued" | "conflict" | "failed" | "terminal";

/** Why an informer began to list, or to watch, anew. */
export type WatchRestart = "ended" | "expired" | "failed" | "relist";

export interface RuntimeMetrics {
  /** Keys of a queue: those that are due, that wait for a time, and that are worked at. */
  onQueue(queue: string, ready: number, delayed: number, active: number): void;
  /** A key was put off because it had failed. */
  onRetry(queue: string): void;
  /** A key was refused because the queue is full. */
  onOverflow(queue: string): void;
  onReconcile(controller: string, result: ReconcileResult, durationMs: number): void;
  /** A reconcile went on beyond its deadline. */
  onOverdue(controller: string): void;
  onWatchRestart(kind: string, reason: WatchRestart): void;
  /** Objects in a cache, and for how long the server has said nothing of them; when asked. */
  onCache(kind: string, objects: number, staleMs: number): void;
  /** A handler of an informer threw. */
  onHandlerError(kind: string): void;
  /** `status` is the HTTP status, or `none`. */
  onRequest(verb: string, kind: string, status: string, durationMs: number): void;
  onLeader(isLeader: boolean): void;
  /** Events that were dropped: too many, or refused by the server. */
  onEventDropped(): void;
}

/** Counts nothing. */
export const noRuntimeMetrics: RuntimeMetrics = {
  onQueue() {},
  onRetry() {},
  onOverflow() {},
  onReconcile() {},
  onOverdue() {},
  onWatchRestart() {},
  onCache() {},
  onHandlerError() {},
  onRequest() {},
  onLeader() {},
  onEventDropped() {},
};
