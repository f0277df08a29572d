/**
 * `GuardedWriter`: transactions whose outcome is always found out, within a time.
 *
 * A connection that breaks leaves a writer with a transaction that may have happened, or may still
 * happen: it may be on its way through etcd. Every transaction here also puts a unique token into a
 * key of the writer's own, a slot, on condition that the slot has not changed. After an unknown
 * outcome the writer takes the slot itself, on the same condition. If that works, the transaction
 * has not happened, and never will, because its condition no longer holds. If not, the slot's value
 * says what has happened.
 *
 * A slot is in use by one transaction at a time. A slot whose state could not be found out is never
 * used again.
 */
import type { Clock, Random } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import type { CallOptions, Compare, KeyValue, MetadataStore, Operation, TxnResult } from "./api.ts";
import { keys } from "./keys.ts";
import { callTimeoutMs } from "./limits.ts";
import { isOutcomeUnknown, notDone, unknownOutcome } from "./outcome.ts";

export interface GuardedWriterOptions {
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly random: Random;
  /** Unique to this life of this process, such as `broker-3.<incarnation>`. */
  readonly writer: string;
}

/** Whether a transaction was applied. */
export interface GuardedResult {
  /** True: every compare held, and `operations` were applied at `revision`. */
  readonly succeeded: boolean;
  /** Revision of the transaction; of the store, when it was not applied. */
  readonly revision: number;
}

interface Slot {
  readonly key: string;
  modRevision: number;
}

/** What is in a slot. */
interface Taken {
  readonly value: string;
  readonly modRevision: number;
}

/** The slot as a transaction that did not succeed has read it. */
const kvOf = ({ results: [read] }: TxnResult): KeyValue | undefined =>
  read?.type === "range" ? read.kvs[0] : undefined;

const text = (value: Uint8Array): string => Buffer.from(value).toString();
const isUnchanged = ({ key, modRevision }: Slot): Compare => ({
  ...{ key, target: "modRevision", equals: modRevision },
});

/** Time left of a call. */
interface Deadline {
  leftMs(): number;
}

/** A call of the store that leaves some of the time for what comes after it. */
const within = (deadline: Deadline): CallOptions => ({
  timeoutMs: Math.max(10, Math.min(callTimeoutMs, deadline.leftMs() / 2)),
});

const taken = (key: string): string =>
  `${key} was changed or removed: another process has replaced this one, or has the same name`;

export class GuardedWriter {
  readonly #options: GuardedWriterOptions;
  readonly #free: Slot[] = [];
  #slots = 0;
  #tokens = 0;
  /** Transactions whose outcome had to be found out. */
  resolved = 0;
  /** Whether a slot was changed or removed by another process: this one may have been replaced. */
  isReplaced = false;

  constructor(options: GuardedWriterOptions) {
    this.#options = options;
  }

  /**
   * One transaction of at most 126 compares and 127 operations. Does not fail for an unknown
   * outcome unless `timeoutMs` passes before the store can be asked for it.
   */
  async txn(
    compares: readonly Compare[],
    operations: readonly Operation[],
    { timeoutMs = 2 * callTimeoutMs }: { readonly timeoutMs?: number } = {},
  ): Promise<GuardedResult> {
    const { clock } = this.#options;
    const endMs = clock.monoMs() + timeoutMs;
    const deadline = { leftMs: () => endMs - clock.monoMs() };
    const slot = this.#free.pop() ?? (await this.#newSlot(deadline));
    for (let attempt = 0; ; attempt += 1) {
      const result = await this.#attempt(slot, compares, operations, deadline);
      if (result !== undefined) {
        this.#free.push(slot);
        return result;
      }
      if (deadline.leftMs() <= 0) {
        this.#free.push(slot);
        throw notDone(`a metadata transaction was not done within ${timeoutMs} ms: retry`);
      }
      await this.#pause(attempt, deadline);
    }
  }

  /** Deletes what writers of earlier lives have left. `prefix` is what their names begin with. */
  async forget(prefix: string): Promise<void> {
    const { store, writer } = this.#options;
    const own = `${keys.tokens}${writer}/`;
    const { kvs } = await store.range({ prefix: `${keys.tokens}${prefix}` });
    for (const { key } of kvs) {
      if (!key.startsWith(own)) await store.txn([], [{ type: "delete", range: { key } }]);
    }
  }

  /**
   * A slot is there before it is used: one that is missing later was deleted by `forget`, and says
   * nothing about the transaction.
   */
  async #newSlot(deadline: Deadline): Promise<Slot> {
    for (let attempt = 0; ; attempt += 1) {
      this.#slots += 1;
      const slot = { key: keys.token(this.#options.writer, this.#slots), modRevision: 0 };
      const put = { type: "put", key: slot.key, value: Buffer.from(this.#newToken()) } as const;
      const { store } = this.#options;
      try {
        const made = await store.txn([isUnchanged(slot)], [put], [], within(deadline));
        if (made.succeeded) return { ...slot, modRevision: made.revision };
      } catch (thrown) {
        // The next try is about another slot, so that the outcome of this one does not matter.
        if (!isOutcomeUnknown(thrown)) throw thrown;
      }
      if (deadline.leftMs() <= 0) throw notDone("no slot for a metadata transaction: retry");
      await this.#pause(attempt, deadline);
    }
  }

  #newToken(): string {
    this.#tokens += 1;
    const random = Buffer.from(this.#options.random.bytes(12)).toString("hex");
    return `${random}.${this.#tokens}`;
  }

  /** Undefined when the transaction has not been applied, and can be tried again. */
  async #attempt(
    slot: Slot,
    compares: readonly Compare[],
    operations: readonly Operation[],
    deadline: Deadline,
  ): Promise<GuardedResult | undefined> {
    const token = this.#newToken();
    const put = { type: "put", key: slot.key, value: Buffer.from(token) } as const;
    const read = { type: "range", range: { key: slot.key } } as const;
    let result: TxnResult;
    try {
      result = await this.#options.store.txn(
        [isUnchanged(slot), ...compares],
        [put, ...operations],
        [read],
        within(deadline),
      );
    } catch (thrown) {
      if (isOutcomeUnknown(thrown)) return this.#resolve(slot, token, deadline, thrown);
      this.#free.push(slot);
      throw thrown;
    }
    if (result.succeeded) slot.modRevision = result.revision;
    else if (kvOf(result)?.modRevision !== slot.modRevision) throw notDone(this.#taken(slot));
    return { succeeded: result.succeeded, revision: result.revision };
  }

  async #resolve(
    slot: Slot,
    token: string,
    deadline: Deadline,
    cause: unknown,
  ): Promise<GuardedResult | undefined> {
    this.resolved += 1;
    const voids = new Set<string>();
    for (let attempt = 0; ; attempt += 1) {
      const own = this.#newToken();
      voids.add(own);
      try {
        const now = await this.#take(slot, own, deadline);
        slot.modRevision = now.modRevision;
        if (now.value === token) return { succeeded: true, revision: now.modRevision };
        if (voids.has(now.value)) return undefined;
      } catch (thrown) {
        if (deadline.leftMs() > 0 && MillraceError.from(thrown).spec.retriable) {
          await this.#pause(attempt, deadline);
          continue;
        }
        const what = "the outcome of a metadata transaction cannot be found out: read back";
        throw unknownOutcome(what, new AggregateError([cause, thrown]));
      }
      throw unknownOutcome(this.#taken(slot), cause);
    }
  }

  #taken({ key }: Slot): string {
    this.isReplaced = true;
    return taken(key);
  }

  /** Puts `value` into the slot if it is unchanged, and returns what is in it now. */
  async #take(slot: Slot, value: string, deadline: Deadline): Promise<Taken> {
    const { key } = slot;
    const result = await this.#options.store.txn(
      [isUnchanged(slot)],
      [{ type: "put", key, value: Buffer.from(value) }],
      [{ type: "range", range: { key } }],
      within(deadline),
    );
    if (result.succeeded) return { value, modRevision: result.revision };
    const kv = kvOf(result);
    return { value: kv === undefined ? "" : text(kv.value), modRevision: kv?.modRevision ?? 0 };
  }

  async #pause(attempt: number, deadline: Deadline): Promise<void> {
    const { clock, random } = this.#options;
    const ms = Math.min(1000, 20 * 2 ** Math.min(attempt, 6)) * (0.5 + random.float());
    await clock.sleep(Math.max(0, Math.min(ms, deadline.leftMs())));
  }
}
