/** Calls a handler for the records of all partitions, several at once in each. */
import { MillraceError } from "@millrace/errors";
import type { Consumer, IterationOptions } from "../consumer/consumer.ts";
import { cursorKey } from "../consumer/cursor.ts";
import type { ConsumedRecord, TopicPartition } from "../types.ts";
import { KeyedQueue } from "./keyed-queue.ts";

type AnyRecord = ConsumedRecord<unknown, unknown>;

interface Source<R> {
  records(options: IterationOptions): AsyncGenerator<R, void, undefined>;
  pause(place: TopicPartition): void;
  resume(place: TopicPartition): void;
  seek: Consumer["seek"];
}

export interface KeyedWorkContext<R> {
  readonly inner: Source<R>;
  readonly perPartition: number;
}

interface Running<R> extends TopicPartition {
  readonly queue: KeyedQueue<R>;
  /** Paused because the queue is full. */
  isPaused: boolean;
}

const keyOf = ({ topic, partition }: TopicPartition): string => cursorKey(topic, partition);

export class KeyedWork<R extends AnyRecord> {
  readonly #context: KeyedWorkContext<R>;
  readonly #running = new Map<string, Running<R>>();
  /** Partitions that the application has paused. */
  readonly #paused = new Set<string>();
  #stopping: AbortController | undefined;
  #done = 0;

  constructor(context: KeyedWorkContext<R>) {
    this.#context = context;
  }

  /** Records that handlers have done. */
  get done(): number {
    return this.#done;
  }

  get isQuiet(): boolean {
    for (const { queue } of this.#running.values()) if (!queue.isQuiet) return false;
    return true;
  }

  /** Resolves once no handler runs of those that run now, also where their work is forgotten. */
  async quiet(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ queue }) => queue.quiet()));
  }

  firstUnfinished(place: TopicPartition): bigint | undefined {
    return this.#running.get(keyOf(place))?.queue.firstUnfinished;
  }

  /** The application has paused a partition. */
  paused(place: TopicPartition): void {
    this.#paused.add(keyOf(place));
  }

  /** The application has resumed a partition. False: its queue is full, and resumes it later. */
  resumed(place: TopicPartition): boolean {
    this.#paused.delete(keyOf(place));
    return this.#running.get(keyOf(place))?.isPaused !== true;
  }

  /** Ends what has begun of these partitions, without a gap; resolves once nothing of them runs. */
  async settle(places: readonly TopicPartition[]): Promise<void> {
    await Promise.all(places.map((place) => this.#running.get(keyOf(place))?.queue.finish()));
  }

  /** What runs or waits of these partitions counts for nothing. */
  forget(places: readonly TopicPartition[]): void {
    for (const place of places) {
      const running = this.#running.get(keyOf(place));
      if (running === undefined) continue;
      running.queue.abandon();
      this.#running.delete(keyOf(place));
      this.#free(running);
    }
  }

  forgetAll(): void {
    this.forget([...this.#running.values()]);
  }

  /** Ends `run` in order: handlers that run are not waited for here. */
  stop(): void {
    this.#stopping?.abort();
  }

  /** Rejects with what a handler throws first; resolves after `stop`. */
  async run(
    handler: (record: R) => Promise<void> | void,
    options: IterationOptions,
  ): Promise<void> {
    const stopping = new AbortController();
    this.#stopping = stopping;
    const given = options.signal === undefined ? [] : [options.signal];
    const signal = AbortSignal.any([...given, stopping.signal]);
    const failed: unknown[] = [];
    const onFailed = (thrown: unknown): void => {
      failed.push(thrown);
      stopping.abort();
    };
    try {
      for await (const record of this.#context.inner.records({ signal })) {
        this.#add(record, async (one) => handler(one), onFailed);
      }
    } catch (thrown) {
      if (!stopping.signal.aborted) failed.push(thrown);
    } finally {
      this.#stopping = undefined;
    }
    await this.settle([...this.#running.values()]);
    await this.#goBack();
    if (failed.length > 0) throw failed[0];
  }

  #add(record: R, run: (record: R) => Promise<void>, onFailed: (thrown: unknown) => void): void {
    const { topic, partition } = record;
    const running =
      this.#running.get(keyOf(record)) ?? this.#begin({ topic, partition }, run, onFailed);
    running.queue.add(record, record.offset, record.keyText());
    if (!running.queue.isFull || running.isPaused) return;
    running.isPaused = true;
    this.#context.inner.pause({ topic, partition });
  }

  #begin(
    place: TopicPartition,
    run: (record: R) => Promise<void>,
    onFailed: (thrown: unknown) => void,
  ): Running<R> {
    const queue = new KeyedQueue<R>({
      ...{ concurrency: this.#context.perPartition, run, onFailed },
      onDone: () => {
        this.#done += 1;
        if (running.isPaused && !running.queue.isFull) this.#free(running);
      },
    });
    const running: Running<R> = { ...place, queue, isPaused: false };
    this.#running.set(keyOf(place), running);
    return running;
  }

  /** Lets a partition whose queue was full go on, unless the application has paused it. */
  #free(running: Running<R>): void {
    if (!running.isPaused) return;
    running.isPaused = false;
    if (this.#paused.has(keyOf(running))) return;
    try {
      this.#context.inner.resume({ topic: running.topic, partition: running.partition });
    } catch (thrown) {
      // The partition is gone, or the consumer closed: there is nothing to resume.
      if (!(thrown instanceof MillraceError)) throw thrown;
    }
  }

  /** What was handed out and is not done is handed out again. */
  async #goBack(): Promise<void> {
    for (const running of [...this.#running.values()]) {
      const { partition, queue, topic } = running;
      const offset = queue.firstUnfinished;
      try {
        if (offset !== undefined) {
          await this.#context.inner.seek({ topic, partition, to: { offset } });
        }
      } catch (thrown) {
        if (!(thrown instanceof MillraceError)) throw thrown;
      }
      if (this.#running.get(keyOf(running)) === running) this.forget([running]);
    }
  }
}
