/** The indexes of keys of a broker: the memory that they share, and whose turn it is to be read. */
import { limits } from "../limits.ts";
import { RecordCache } from "./record-cache.ts";

/** What is counted of them. */
export interface KeyIndexMetrics {
  /** An index was read from the log of its partition. */
  onKeyIndexLoaded(seconds: number): void;
  /** There was no memory for an index. */
  onKeyIndexGivenUp(): void;
  /** GetLatest answered with a record, which it had in memory or not. */
  onLatestRead(hit: boolean): void;
}

/** What they amount to, for metrics. */
export interface KeyIndexGauges {
  readonly bytes: number;
  readonly bytesMax: number;
  readonly keys: number;
  /** Records that indexes have yet to read. */
  readonly lag: number;
  /** Indexes by what they do. */
  readonly states: Readonly<Record<"loading" | "ready" | "full", number>>;
}

interface Counted {
  readonly keys: number;
  readonly lag: number;
  readonly kind: "loading" | "ready" | "full" | "closed";
}

/** Memory of all indexes where no setting says otherwise, bytes. */
export const keyIndexBytesDefault = 256 * 1024 * 1024;

/** Logs that are read at a time: each may have a large batch in memory. */
const loadsMax = 2;

export class KeyIndexes {
  /** Memory of all of them, bytes; an index that would need more is given up. */
  readonly bytesMax: number;
  readonly metrics: KeyIndexMetrics;
  readonly records = new RecordCache(limits.latestCacheBytesMax);
  readonly #all = new Set<Counted>();
  readonly #waiting: (() => void)[] = [];
  #bytes = 0;
  #loads = 0;

  constructor(bytesMax: number, metrics: KeyIndexMetrics) {
    this.bytesMax = bytesMax;
    this.metrics = metrics;
  }

  get isExceeded(): boolean {
    return this.#bytes > this.bytesMax;
  }

  add(index: Counted): void {
    this.#all.add(index);
  }

  remove(index: Counted): void {
    this.#all.delete(index);
  }

  /** An index takes more memory, or less. */
  charge(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Resolves when a log may be read, with what to call after that. */
  async enter(): Promise<() => void> {
    if (this.#loads < loadsMax) this.#loads += 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return () => {
      const next = this.#waiting.shift();
      if (next === undefined) this.#loads -= 1;
      else next();
    };
  }

  gauges(): KeyIndexGauges {
    const states = { loading: 0, ready: 0, full: 0 };
    let keys = 0;
    let lag = 0;
    for (const index of this.#all) {
      if (index.kind !== "closed") states[index.kind] += 1;
      keys += index.keys;
      lag += index.lag;
    }
    return { bytes: this.#bytes, bytesMax: this.bytesMax, keys, lag, states };
  }
}
