/** Runs pieces of work one after another, in the order in which they were handed in. */
export class WorkQueue {
  #last: Promise<void> = Promise.resolve();

  /** Resolves or rejects as `work` does. A failure does not stop the work behind it. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    // The caller gets the failure.
    this.#last = done.then(
      () => {},
      () => {},
    );
    return done;
  }
}

/**
 * A queue for each key. Work of one key runs one piece after another, that of different keys at
 * once. A key without work takes no memory.
 */
export class KeyedWorkQueues {
  readonly #lanes = new Map<string, { readonly queue: WorkQueue; waiting: number }>();

  /** Keys with work that waits or runs. */
  get size(): number {
    return this.#lanes.size;
  }

  /** Resolves or rejects as `work` does. */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const lane = this.#lanes.get(key) ?? { queue: new WorkQueue(), waiting: 0 };
    this.#lanes.set(key, lane);
    lane.waiting += 1;
    try {
      return await lane.queue.run(work);
    } finally {
      lane.waiting -= 1;
      if (lane.waiting === 0) this.#lanes.delete(key);
    }
  }

  /** Resolves once all work that was handed in by now is over. */
  async settled(): Promise<void> {
    for (const key of [...this.#lanes.keys()]) await this.run(key, async () => {});
  }
}
