/**
 * `MetadataStore`: etcd's model (revisions, compare transactions, watches, leases), as small as the
 * system needs it. Two implementations pass one contract suite (`@millrace/metadata/contract`): the
 * embedded store here, and etcd. Keys are UTF-8 strings in byte order, relative to the cluster's
 * root; values are bytes.
 *
 * Limits, checked by every implementation so that nothing works embedded and fails on etcd: 128
 * operations a transaction (compares, then-branch and else-branch each), 1.5 MiB a request, keys of
 * well-formed text.
 *
 * Errors are MillraceError: UNAVAILABLE (see `isOutcomeUnknown` for writes), INVALID_REQUEST
 * (limits, a lease that is gone, a revision that cannot be read), ADMISSION_REJECTED (etcd is full
 * or overloaded; nothing was done), CORRUPT_MESSAGE (a key that is no text), CANCELLED (closed).
 */

/** A key with its value. Revisions as in etcd. */
export interface KeyValue {
  readonly key: string;
  readonly value: Uint8Array;
  /** Revision at which the key was created (since its last deletion). */
  readonly createRevision: number;
  /** Revision of the last change. */
  readonly modRevision: number;
  /** 1 at creation, +1 per change. */
  readonly version: number;
  /** Lease that the key is attached to, or undefined. */
  readonly lease: string | undefined;
}

/** Keys: one, or all with a prefix. */
export type KeyRange = { readonly key: string } | { readonly prefix: string };

/** A condition of a transaction. A missing key has modRevision, createRevision and version 0. */
export type Compare =
  | {
      readonly key: string;
      readonly target: "modRevision" | "createRevision" | "version";
      readonly equals: number;
    }
  | { readonly key: string; readonly target: "value"; readonly equals: Uint8Array }
  | PrefixCompare;

/**
 * No key with the prefix was put at revision `below` or later. A deletion leaves nothing to
 * compare: it does not make this fail.
 */
export interface PrefixCompare {
  readonly prefix: string;
  readonly target: "modRevision";
  readonly below: number;
}

/** An operation of a transaction. A key may be put at most once in one transaction. */
export type Operation =
  | {
      readonly type: "put";
      readonly key: string;
      readonly value: Uint8Array;
      readonly lease?: string;
    }
  | { readonly type: "delete"; readonly range: KeyRange }
  | { readonly type: "range"; readonly range: KeyRange };

/** Result of one operation, in order. */
export type OperationResult =
  | { readonly type: "put" }
  | { readonly type: "delete"; readonly deleted: number }
  | { readonly type: "range"; readonly kvs: readonly KeyValue[] };

export interface TxnResult {
  /** True: every compare held and `then` was applied; false: `otherwise` was. Atomic either way. */
  readonly succeeded: boolean;
  /** Revision after the transaction; unchanged when it wrote nothing. */
  readonly revision: number;
  readonly results: readonly OperationResult[];
}

/** A change. Events of one revision stay together and keep the order of their transaction. */
export interface WatchEvent {
  readonly type: "put" | "delete";
  /** For a delete: the key, an empty value and the revision of the delete as modRevision. */
  readonly kv: KeyValue;
}

/** What a watch delivers. */
export interface WatchBatch {
  /** Empty in a progress notification. */
  readonly events: readonly WatchEvent[];
  /** All changes up to this revision have been delivered. */
  readonly revision: number;
}

/**
 * How a watch ends: `compacted` (start again by listing), `cancelled` (by the caller), `lost` (the
 * connection broke: watch again from the last batch's revision + 1), or `diverged` (the store has
 * not reached the revision before `fromRevision`, or has become another one, as after a restore:
 * list again, and believe nothing that was read before).
 */
export type WatchEnd =
  | { readonly reason: "compacted"; readonly compactRevision: number }
  | { readonly reason: "cancelled" }
  | { readonly reason: "lost"; readonly error: Error }
  | { readonly reason: "diverged"; readonly error: Error };

export interface WatchHandlers {
  /** In revision order; never concurrently. Must not throw. */
  onBatch(batch: WatchBatch): void;
  /** Once, last. */
  onEnd(end: WatchEnd): void;
}

/** A running watch. */
export interface WatchHandle {
  /** Nothing is delivered after it returns, but `onEnd` once. */
  cancel(): void;
  /**
   * Asks for a batch now, which says how far the watch is; a batch without events if nothing has
   * changed. None comes when the connection is lost: `onEnd` tells.
   */
  requestProgress(): void;
}

/** Of every call. */
export interface CallOptions {
  /** Longest time until the call settles, milliseconds. Default 5,000. */
  readonly timeoutMs?: number;
}

/** A lease. Only a hint: safety comes from revisions in compares, never from a lease. */
export interface Lease {
  readonly id: string;
  /** As granted, which may be more than was asked for. Whole seconds. */
  readonly ttlSeconds: number;
}

export interface RangeOptions extends CallOptions {
  /** Reads as of this revision. INVALID_REQUEST if it is compacted away or in the future. */
  readonly revision?: number;
  /** Most keys in the answer, at least 1. Default all. */
  readonly limit?: number;
  /** Only keys after this one. */
  readonly startAfter?: string;
}

export interface RangeResult {
  readonly kvs: readonly KeyValue[];
  /** The store's revision at the time of the read, also when an earlier one was read. */
  readonly revision: number;
  /** True when `limit` has cut the answer. */
  readonly more: boolean;
}

export interface MetadataStore {
  /** Reads keys in order, as of `revision` or now. Sees every write that was answered before. */
  range(range: KeyRange, options?: RangeOptions): Promise<RangeResult>;
  /**
   * One atomic transaction. After an error for which `isOutcomeUnknown` holds it may have happened,
   * or may still happen: `GuardedWriter` finds out. One that only reads may be
   * sent twice.
   */
  txn(
    compares: readonly Compare[],
    then: readonly Operation[],
    otherwise?: readonly Operation[],
    options?: CallOptions,
  ): Promise<TxnResult>;
  /** Delivers every change with revision ≥ `fromRevision`, and progress from time to time. */
  watch(range: KeyRange, fromRevision: number, handlers: WatchHandlers): WatchHandle;
  /** TTL in whole seconds, at least 1. */
  grantLease(ttlSeconds: number, options?: CallOptions): Promise<Lease>;
  /** Resets the lease's TTL; rejects with UNAVAILABLE, or resolves false when the lease is gone. */
  keepAlive(leaseId: string, options?: CallOptions): Promise<boolean>;
  /** Ends the lease and deletes its keys in one revision. An unknown lease is not an error. */
  revokeLease(leaseId: string, options?: CallOptions): Promise<void>;
  /**
   * Forgets history below `revision`, which can still be read and watched from. Forgetting what is
   * forgotten is not an error.
   */
  compact(revision: number, options?: CallOptions): Promise<void>;
  /** Ends watches as `cancelled`, and calls under way with CANCELLED. */
  close(): Promise<void>;
}
