/** Reconciles the objects of a kind, one at a time each, when something about them changes. */
import type { Clock, Logger, Random } from "@millrace/env";
import { type Change, keyFrom, keyOf, keyText } from "./cache.ts";
import { isConflict, messageOf, retryAfterMs, type TerminalError, terminalOf } from "./errors.ts";
import { fenced } from "./fenced.ts";
import type { Informer } from "./informer.ts";
import type { KubernetesApi, KubernetesObject, ObjectKey } from "./kubernetes.ts";
import { noRuntimeMetrics, type ReconcileResult, type RuntimeMetrics } from "./metrics.ts";
import { ownerKey } from "./owners.ts";
import { type Outcome, type QueueOptions, WorkQueue } from "./queue.ts";

export interface ReconcileContext {
  /** Aborted at the deadline of this reconcile, and when the controller stops. */
  readonly signal: AbortSignal;
  /** Refuses writes once `signal` is aborted. */
  readonly api: KubernetesApi;
  readonly logger: Logger;
  /** How many times in a row it has failed before. */
  readonly failures: number;
}

/** Empty: until something changes. */
export interface ReconcileDone {
  readonly requeueAfterMs?: number | undefined;
}

export interface ControllerOptions<T extends KubernetesObject> {
  readonly name: string;
  readonly api: KubernetesApi;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics?: RuntimeMetrics;
  /** The kind that is reconciled. */
  readonly primary: Informer<T>;
  /** Makes one object true. It may be gone, and any cache may be behind. */
  reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileDone>;
  /** Says in the status that only a change of the object helps; writes nothing if it does so. */
  onTerminal?(key: ObjectKey, error: TerminalError, context: ReconcileContext): Promise<void>;
  readonly deadlineMs?: number;
  readonly queue?: Partial<
    Pick<QueueOptions, "concurrency" | "keysMax" | "backoff" | "retryGapMs">
  >;
}

export const controllerDefaults = { deadlineMs: 60_000 } as const;

export class Controller<T extends KubernetesObject> {
  readonly name: string;
  readonly #options: ControllerOptions<T> &
    Required<Pick<ControllerOptions<T>, keyof typeof controllerDefaults>>;
  readonly #metrics: RuntimeMetrics;
  readonly #queue: WorkQueue;
  readonly #stopping = new AbortController();
  readonly #informers: { readonly synced: Promise<void> }[];
  /** When the reconciles under way began. */
  readonly #startedMs = new Map<string, number>();

  constructor(options: ControllerOptions<T>) {
    this.name = options.name;
    this.#options = { ...controllerDefaults, ...options };
    this.#metrics = options.metrics ?? noRuntimeMetrics;
    const { name, clock, random, primary } = options;
    this.#queue = new WorkQueue({
      ...options.queue,
      ...{ name, clock, random, metrics: this.#metrics },
      work: (key, failures) => this.#work(key, failures),
      onRoom: () => this.#addAll(),
    });
    this.#informers = [primary];
    primary.onChange(({ object }) => this.enqueue(keyOf(object)));
  }

  /** Reconciles the object that controls what has changed. */
  owns<C extends KubernetesObject>(informer: Informer<C>): this {
    const { type } = this.#options.primary;
    return this.maps(informer, (child) => {
      const key = ownerKey(child, type);
      return key === undefined ? [] : [key];
    });
  }

  /** Reconciles the objects that a change of another kind is about. */
  maps<C extends KubernetesObject>(
    informer: Informer<C>,
    keysOf: (object: C) => readonly ObjectKey[],
  ): this {
    this.#informers.push(informer);
    informer.onChange((change: Change<C>) => {
      // Whom it was about before has to hear of it as well.
      const before = change.type === "updated" ? keysOf(change.before) : [];
      for (const key of [...before, ...keysOf(change.object)]) this.enqueue(key);
    });
    return this;
  }

  enqueue(key: ObjectKey): void {
    this.#queue.add(keyText(key));
  }

  /** Begins once every cache is complete: what is missing then is not there. */
  async start(): Promise<void> {
    await Promise.all(this.#informers.map(({ synced }) => synced));
    if (!this.#stopping.signal.aborted) this.#queue.start();
  }

  /** Resolves when the reconciles under way have ended; they are asked to. */
  stop(): Promise<void> {
    this.#stopping.abort(new Error("the controller was stopped"));
    return this.#queue.stop();
  }

  /** For a liveness probe: whether no reconcile goes on for longer than `ms`. */
  aliveWithin(ms: number): boolean {
    const nowMs = this.#options.clock.monoMs();
    return [...this.#startedMs.values()].every((startedMs) => nowMs - startedMs <= ms);
  }

  #addAll(): void {
    for (const object of this.#options.primary.list()) this.enqueue(keyOf(object));
  }

  async #work(text: string, failures: number): Promise<Outcome> {
    const { clock, deadlineMs, logger } = this.#options;
    const key = keyFrom(text);
    const startedMs = clock.monoMs();
    this.#startedMs.set(text, startedMs);
    const ending = new AbortController();
    const cancel = clock.timer(deadlineMs, () => {
      this.#metrics.onOverdue(this.name);
      ending.abort(new Error(`the reconcile of ${text} took longer than ${deadlineMs} ms`));
    });
    const signal = AbortSignal.any([ending.signal, this.#stopping.signal]);
    const context: ReconcileContext = {
      ...{ signal, failures },
      api: fenced(this.#options.api, () => {
        signal.throwIfAborted();
        return true;
      }),
      logger: logger.child({ controller: this.name, ...key }),
    };
    const [result, outcome] = await this.#reconcile(key, context);
    cancel();
    this.#startedMs.delete(text);
    this.#metrics.onReconcile(this.name, result, clock.monoMs() - startedMs);
    return outcome;
  }

  async #reconcile(
    key: ObjectKey,
    context: ReconcileContext,
  ): Promise<readonly [ReconcileResult, Outcome]> {
    try {
      const { requeueAfterMs } = await this.#options.reconcile(key, context);
      return [requeueAfterMs === undefined ? "done" : "requeued", { type: "done", requeueAfterMs }];
    } catch (error) {
      const terminal = terminalOf(error);
      if (terminal !== undefined) return this.#terminal(key, terminal, context);
      return this.#failed(error, context);
    }
  }

  async #terminal(
    key: ObjectKey,
    error: TerminalError,
    context: ReconcileContext,
  ): Promise<readonly [ReconcileResult, Outcome]> {
    context.logger.warn({ reason: error.reason, err: error }, "only a change of the object helps");
    try {
      await this.#options.onTerminal?.(key, error, context);
      return ["terminal", { type: "done" }];
    } catch (inner) {
      return this.#failed(inner, context);
    }
  }

  #failed(
    error: unknown,
    { logger, failures }: ReconcileContext,
  ): readonly [ReconcileResult, Outcome] {
    const outcome: Outcome = { type: "retry", notBeforeMs: retryAfterMs(error) };
    if (isConflict(error)) {
      // Somebody else has written; the cache learns of it in a moment.
      logger.debug({ reason: messageOf(error) }, "the object has changed; reconciling it anew");
      return ["conflict", outcome];
    }
    logger.warn({ err: error, failures: failures + 1 }, "a reconcile failed and is tried again");
    return ["failed", outcome];
  }
}
