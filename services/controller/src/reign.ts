/**
 * The time during which a controller is the active one. It ends at the first sign that it may be
 * over, and never begins again: the next one has a higher epoch.
 */
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type Compare,
  type GuardedResult,
  type GuardedWriter,
  isOutcomeUnknown,
  keys,
  type MetadataStore,
  type Operation,
} from "@millrace/metadata";

/** One transaction. Not `succeeded`: one of `compares` did not hold, and nothing was written. */
export type Write = (
  compares: readonly Compare[],
  operations: readonly Operation[],
) => Promise<GuardedResult>;

/** Writes without a guard, for a process that is alone with its store. */
export const unguarded =
  (store: MetadataStore): Write =>
  (compares, operations) =>
    store.txn(compares, operations);

/** The error of everything that only the active controller does. */
export const notController = (why: string): MillraceError =>
  new MillraceError(
    ErrorCode.NOT_CONTROLLER,
    `this controller is not the active one: ${why}: refresh the metadata`,
  );

export class Reign {
  /** Create revision of the election's key. Everything written in this reign is newer. */
  readonly epoch: number;
  readonly #store: MetadataStore;
  readonly #writer: GuardedWriter;
  readonly #guard: Compare;
  readonly #onEnd: ((why: string) => void)[] = [];
  #ended: string | undefined;

  constructor(epoch: number, store: MetadataStore, writer: GuardedWriter) {
    this.epoch = epoch;
    this.#store = store;
    this.#writer = writer;
    this.#guard = { key: keys.controller, target: "createRevision", equals: epoch };
  }

  get isActive(): boolean {
    return this.#ended === undefined;
  }

  /** Called at once when the reign ends, or now when it has. */
  onEnd(listener: (why: string) => void): void {
    if (this.#ended === undefined) this.#onEnd.push(listener);
    else listener(this.#ended);
  }

  /** Ends the reign; `why` is for people. */
  end(why: string): void {
    if (this.#ended !== undefined) return;
    this.#ended = why;
    for (const listener of this.#onEnd) listener(why);
  }

  /**
   * A transaction of at most 100 operations and as many compares, which is applied only while this
   * is the active controller. Throws NOT_CONTROLLER when it is not, and nothing was written; an
   * error of the store, also one of unknown outcome, does not end the reign.
   */
  readonly write: Write = async (compares, operations) => {
    this.#requireActive();
    const result = await this.#writer
      .txn([this.#guard, ...compares], operations)
      .catch((thrown: unknown) => this.#failed(thrown));
    if (result.succeeded) return result;
    await this.#checkGuard();
    this.#requireActive();
    return result;
  };

  /** The next reign removes the tokens of this one, before or after a write of this one. */
  async #failed(thrown: unknown): Promise<never> {
    if (this.#writer.isReplaced) await this.#checkGuard();
    if (!isOutcomeUnknown(thrown)) this.#requireActive();
    throw thrown;
  }

  async #checkGuard(): Promise<void> {
    const { succeeded } = await this.#store.txn([this.#guard], []);
    if (!succeeded) this.end("another controller was elected");
  }

  #requireActive(): void {
    if (this.#ended !== undefined) throw notController(this.#ended);
  }
}
