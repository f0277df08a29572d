/**
 * A key that one process at a time holds under a lease: the controller's, and each broker's. The
 * create revision is the holder's epoch. The lease only frees the key of a process that is gone;
 * what keeps two holders apart is that each has another create revision.
 */
import type { Cancel, Clock } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { KeyValue, Lease, MetadataStore, TxnResult } from "./api.ts";

export interface LeasedKeyOptions {
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly key: string;
  /** Of the lease, whole seconds. */
  readonly ttlSeconds: number;
  /** Whether a key under another lease is this process's own: then it keeps its epoch. */
  readonly isOwn?: (kv: KeyValue) => boolean;
  /** The last epoch of this process: one of its own below that comes from a backup. */
  readonly heldEpoch?: () => number;
}

/** How one attempt went: held, or by whom it is. */
export type Attempt =
  | { readonly createRevision: number }
  | { readonly createRevision: undefined; readonly holder: KeyValue | undefined };

export interface KeepOptions {
  /**
   * Longest time without news of the lease before the key counts as lost, ms, from when a renewal
   * that succeeded was sent. Infinite for a holder that goes on until it is told otherwise.
   */
  readonly unknownMsMax: number;
  /** Called once, when the key is lost. */
  readonly onLost: (why: string) => void;
}

export class LeasedKey {
  readonly #options: LeasedKeyOptions;
  #lease: Lease | undefined;
  /**
   * When the lease was last asked for, successfully. The store counts its time from then on: its
   * answers may be late.
   */
  #askedMs = 0;
  /** The last release, which may be under way. */
  #released: Promise<void> = Promise.resolve();

  constructor(options: LeasedKeyOptions) {
    this.#options = options;
  }

  /**
   * Takes the key if it is free. After an error the key may have been taken: another attempt finds
   * out. A key without a lease was left by a version that took none, and is removed. So is one of
   * this process that is older than its last: epochs do not go back.
   */
  async tryTake(value: Uint8Array): Promise<Attempt> {
    const { store, key } = this.#options;
    const [found] = (await store.range({ key })).kvs;
    const isLeft = found?.lease === undefined || this.#isFromBackup(found);
    if (found !== undefined && !isLeft) return this.#judge(found, value);
    if (found !== undefined) {
      const same = { key, target: "modRevision", equals: found.modRevision } as const;
      await store.txn([same], [{ type: "delete", range: { key } }]);
    }
    const taken = await this.#putUnder(0, value);
    if (taken.succeeded) return { createRevision: taken.revision };
    const [read] = taken.results;
    const [holder] = read?.type === "range" ? read.kvs : [];
    return holder === undefined
      ? { createRevision: undefined, holder }
      : this.#judge(holder, value);
  }

  /** Replaces the value of the key that is held. False when it is not held any more. */
  async replace(createRevision: number, value: Uint8Array): Promise<boolean> {
    return (await this.#putUnder(createRevision, value)).succeeded;
  }

  /**
   * Keeps the lease alive until the key is lost, which it may be at once. Returns how to stop; the
   * key stays held.
   */
  keep(createRevision: number, { unknownMsMax, onLost }: KeepOptions): Cancel {
    const { clock, ttlSeconds } = this.#options;
    const intervalMs = (ttlSeconds * 1000) / 3;
    let stopped = false;
    let cancelDeadline: Cancel = () => {};
    let cancelNext: Cancel = () => {};
    const stop = (): void => {
      stopped = true;
      cancelDeadline();
      cancelNext();
    };
    const lose = (why: string): void => {
      if (stopped) return;
      stop();
      onLost(why);
    };
    const confirmed = (): void => {
      cancelDeadline();
      if (unknownMsMax === Number.POSITIVE_INFINITY) return;
      const why = `no news of the lease for ${unknownMsMax} ms`;
      const leftMs = this.#askedMs + unknownMsMax - clock.monoMs();
      if (leftMs <= 0) lose(why);
      else cancelDeadline = clock.timer(leftMs, () => lose(why));
    };
    const renewIn = (ms: number): void => {
      if (stopped) return;
      cancelNext = clock.timer(Math.max(0, ms), renew);
    };
    const renewInTime = (): void => renewIn(this.#askedMs + intervalMs - clock.monoMs());
    const renew = (): void => {
      this.#renew(createRevision).then(
        (isHeld) => {
          if (stopped) return;
          if (!isHeld) return lose("the key is gone, or another process has it");
          confirmed();
          renewInTime();
        },
        // Not to know is not to have lost: the deadline decides. A renewal that was not answered
        // has taken a third of the lease already.
        () => renewIn(intervalMs / 4),
      );
    };
    confirmed();
    renewInTime();
    return stop;
  }

  /** Gives the key up at once, by ending the lease. Never rejects: the lease would expire. */
  release(): Promise<void> {
    const lease = this.#lease;
    this.#lease = undefined;
    if (lease !== undefined) {
      this.#released = this.#options.store.revokeLease(lease.id).catch(() => {});
    }
    return this.#released;
  }

  async #renew(createRevision: number): Promise<boolean> {
    const { store, clock, key, ttlSeconds } = this.#options;
    const lease = this.#lease;
    const timeoutMs = (ttlSeconds * 1000) / 3;
    const askedMs = clock.monoMs();
    if (lease === undefined || !(await store.keepAlive(lease.id, { timeoutMs }))) return false;
    // A lease may be renewed when its keys are gone already.
    const [kv] = (await store.range({ key }, { timeoutMs })).kvs;
    this.#askedMs = askedMs;
    return kv?.createRevision === createRevision && kv.lease === lease.id;
  }

  #isFromBackup(kv: KeyValue): boolean {
    const { heldEpoch, isOwn } = this.#options;
    const isOfThis = kv.lease === this.#lease?.id || isOwn?.(kv) === true;
    return isOfThis && kv.createRevision < (heldEpoch?.() ?? 0);
  }

  async #judge(holder: KeyValue, value: Uint8Array): Promise<Attempt> {
    const { createRevision, lease } = holder;
    // An attempt whose outcome was unknown has taken it.
    if (lease !== undefined && lease === this.#lease?.id) return { createRevision };
    const isOwn = this.#options.isOwn?.(holder) ?? false;
    if (isOwn && (await this.replace(createRevision, value))) return { createRevision };
    return { createRevision: undefined, holder };
  }

  /** Puts the key if it still has this create revision, and reads it otherwise. */
  async #putUnder(createRevision: number, value: Uint8Array): Promise<TxnResult> {
    const { store, key } = this.#options;
    const lease = await this.#liveLease();
    const same = { key, target: "createRevision", equals: createRevision } as const;
    const put = { type: "put", key, value, lease } as const;
    try {
      return await store.txn([same], [put], [{ type: "range", range: { key } }]);
    } catch (thrown) {
      if (!hasCode(thrown, ErrorCode.INVALID_REQUEST)) throw thrown;
      // On a slow way to the store, or in a pause, the lease has ended.
      this.#lease = undefined;
      const text = `the lease of ${key} ended before it was used: retry`;
      throw new MillraceError(ErrorCode.UNAVAILABLE, text, { cause: thrown });
    }
  }

  /** The lease of attempts before, if it is still alive. */
  async #liveLease(): Promise<string> {
    const { store, clock, ttlSeconds } = this.#options;
    const askedMs = clock.monoMs();
    const isAlive = this.#lease !== undefined && (await store.keepAlive(this.#lease.id));
    const lease = (isAlive ? this.#lease : undefined) ?? (await store.grantLease(ttlSeconds));
    this.#lease = lease;
    this.#askedMs = askedMs;
    return lease.id;
  }
}
