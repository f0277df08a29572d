/** One run of `millrace produce`: records in flight, outcomes, latencies. */
import type { Producer, ProducerRecord } from "@millrace/client";
import { ClosedPipe, counted } from "./io.ts";
import type { Progress } from "./progress.ts";
import type { Terminal } from "./terminal.ts";

/** Records in flight at once. */
const inFlightMax = 20_000;
/** Record bytes in flight at once; below the bound of the producer. */
const inFlightBytesMax = 24 * 1024 * 1024;
const sampleSize = 10_000;

/** Quantiles of a sample of latencies, milliseconds. */
class Latencies {
  readonly #sample: number[] = [];
  #seen = 0;

  add(ms: number): void {
    this.#seen += 1;
    if (this.#sample.length < sampleSize) this.#sample.push(ms);
    else this.#sample[(this.#seen * 7919) % sampleSize] = ms;
  }

  quantile(q: number): number {
    const sorted = this.#sample.toSorted((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
  }
}

/** Sends records, counts outcomes, and prints offsets on request. */
export class ProduceRun {
  readonly #producer: Producer;
  readonly #terminal: Terminal;
  readonly #progress: Progress;
  #printOffsets: boolean;
  readonly #latencies = new Latencies();
  readonly #startedMs = performance.now();
  #records = 0;
  #bytes = 0;
  /** Records in flight, or acknowledged with an offset still to print. */
  #open = 0;
  #failure: unknown;
  #wake: (() => void) | undefined;
  #printing: Promise<void> = Promise.resolve();

  constructor(
    producer: Producer,
    { terminal, progress }: { readonly terminal: Terminal; readonly progress: Progress },
    printOffsets: boolean,
  ) {
    this.#producer = producer;
    this.#terminal = terminal;
    this.#progress = progress;
    this.#printOffsets = printOffsets;
  }

  /** Records without an outcome. */
  get open(): number {
    return this.#open;
  }

  /**
   * Sends a record of so many bytes of input; resolves when the next one may be sent. Throws the
   * first failure of any.
   */
  async send(record: ProducerRecord, bytes: number, inputBytes: number): Promise<void> {
    this.throwFailure();
    this.#open += 1;
    const startedMs = performance.now();
    this.#producer
      .send(record)
      .then(async ({ partition, offset }) => {
        this.#records += 1;
        this.#bytes += bytes;
        this.#progress.took(1, bytes, inputBytes);
        this.#latencies.add(performance.now() - startedMs);
        if (this.#printOffsets) await this.#print(`${partition} ${offset}\n`);
      })
      .catch((thrown: unknown) => {
        this.#failure ??= thrown;
      })
      .finally(() => this.#closeOne());
    const full = () => this.#open >= inFlightMax || this.#producer.bufferedBytes > inFlightBytesMax;
    if (full()) await this.#oneClosed();
  }

  /** Resolves when every record has an outcome. */
  async finish(): Promise<void> {
    while (this.#open > 0) await this.#oneClosed();
  }

  throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  summary(): string {
    const seconds = (performance.now() - this.#startedMs) / 1000;
    const rate = Math.round(this.#records / Math.max(seconds, 1e-9));
    const [p50, p99] = [this.#latencies.quantile(0.5), this.#latencies.quantile(0.99)];
    return (
      `${counted(this.#records, "record")}, ${counted(this.#bytes, "byte")}, ` +
      `${seconds.toFixed(2)} s, ${counted(rate, "record")}/s, ` +
      `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`
    );
  }

  /** Prints in the order of calls. When the reader is gone, stops printing but not producing. */
  #print(text: string): Promise<void> {
    this.#printing = this.#printing.then(async () => {
      if (!this.#printOffsets) return;
      try {
        await this.#terminal.result(Buffer.from(text));
      } catch (thrown) {
        this.#printOffsets = false;
        if (!(thrown instanceof ClosedPipe)) throw thrown;
        const text = "the reader of the offsets closed the pipe: going on without printing them";
        await this.#terminal.line(text);
      }
    });
    return this.#printing;
  }

  #oneClosed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #closeOne(): void {
    this.#open -= 1;
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
