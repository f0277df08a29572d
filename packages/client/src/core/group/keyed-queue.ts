/**
 * Records of one partition that are processed at once: those of one key one after another, and the
 * offset moves only up to the first that is unfinished.
 */

interface Entry<R> {
  readonly record: R;
  readonly offset: bigint;
  readonly lane: unknown;
  isDone: boolean;
}

export interface KeyedQueueContext<R> {
  /** Records at once. */
  readonly concurrency: number;
  readonly run: (record: R) => Promise<void>;
  /** A record is done, and there is room for another. */
  readonly onDone: () => void;
  readonly onFailed: (thrown: unknown) => void;
}

/** Records that wait for one that is being processed. */
const queuedPerRunning = 4;

export class KeyedQueue<R> {
  readonly #context: KeyedQueueContext<R>;
  /** In the order of offsets, from the first that is unfinished on. */
  readonly #entries: Entry<R>[] = [];
  /** Unfinished records by key; the first of each may run. */
  readonly #lanes = new Map<unknown, Entry<R>[]>();
  /** Lanes whose first record waits for room. */
  readonly #ready: unknown[] = [];
  #running = 0;
  /** Nothing more begins: at all, or but for what lies before a record that has begun. */
  #ending: "abandoned" | "finishing" | undefined;
  /** The last offset that has begun. */
  #begun = -1n;
  #onQuiet: (() => void)[] = [];

  constructor(context: KeyedQueueContext<R>) {
    this.#context = context;
  }

  /** Undefined: everything that was added is done. */
  get firstUnfinished(): bigint | undefined {
    return this.#entries[0]?.offset;
  }

  get isFull(): boolean {
    return this.#entries.length >= this.#context.concurrency * (1 + queuedPerRunning);
  }

  get isQuiet(): boolean {
    return this.#running === 0;
  }

  /** Records without a key are in order with nothing. */
  add(record: R, offset: bigint, key: string | null): void {
    const lane = key ?? Symbol("no key");
    const entry: Entry<R> = { record, offset, lane, isDone: false };
    this.#entries.push(entry);
    const queued = this.#lanes.get(lane);
    if (queued !== undefined) queued.push(entry);
    else {
      this.#lanes.set(lane, [entry]);
      this.#ready.push(lane);
    }
    this.#pump();
  }

  /**
   * Ends with no gap: of the records that wait, only those begin that lie before one which has
   * begun, so that nothing is done beyond the first that is unfinished. Resolves once nothing runs.
   */
  finish(): Promise<void> {
    this.#ending ??= "finishing";
    this.#pump();
    return this.quiet();
  }

  /** Resolves once nothing runs. */
  quiet(): Promise<void> {
    if (this.isQuiet) return Promise.resolve();
    return new Promise((resolve) => this.#onQuiet.push(resolve));
  }

  /** Begins nothing more. */
  abandon(): void {
    this.#ending = "abandoned";
  }

  #pump(): void {
    while (this.#running < this.#context.concurrency) {
      const entry = this.#nextReady();
      if (entry === undefined) return;
      void this.#run(entry);
    }
  }

  /** Takes the first record that may begin. */
  #nextReady(): Entry<R> | undefined {
    if (this.#ending === "abandoned") return undefined;
    for (let at = 0; at < this.#ready.length; at += 1) {
      const entry = this.#lanes.get(this.#ready[at])?.[0];
      if (entry === undefined) continue;
      if (this.#ending === "finishing" && entry.offset > this.#begun) continue;
      this.#ready.splice(at, 1);
      return entry;
    }
    return undefined;
  }

  async #run(entry: Entry<R>): Promise<void> {
    this.#running += 1;
    if (entry.offset > this.#begun) this.#begun = entry.offset;
    try {
      await this.#context.run(entry.record);
      this.#finish(entry);
    } catch (thrown) {
      this.abandon();
      this.#context.onFailed(thrown);
    }
    this.#running -= 1;
    this.#context.onDone();
    this.#pump();
    if (this.isQuiet) for (const resolve of this.#onQuiet.splice(0)) resolve();
  }

  #finish(entry: Entry<R>): void {
    entry.isDone = true;
    const queued = this.#lanes.get(entry.lane) ?? [];
    queued.shift();
    if (queued.length === 0) this.#lanes.delete(entry.lane);
    else this.#ready.push(entry.lane);
    while (this.#entries[0]?.isDone === true) this.#entries.shift();
  }
}
