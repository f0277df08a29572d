/** A producer with the client's defaults that sends at a steady pace, and when it was answered. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@millrace/client";
import { longestStall, type Span } from "./stalls.ts";

export interface SteadyLoadOptions {
  readonly client: Client;
  readonly topic: string;
  readonly partitions: number;
  /** Pause between two records of a partition, ms (5). */
  readonly paceMs?: number;
  /** Of each record (1,024). */
  readonly valueBytes?: number;
}

/** Records without an answer after which the load waits: below what a producer buffers. */
const openMax = 20_000;
const askMs = 10;

export class SteadyLoad {
  readonly #acks: number[][];
  /** When the newest record that was acknowledged had been sent, by partition. */
  readonly #answeredMs: number[];
  readonly #stopped = new AbortController();
  readonly #sending: Promise<void>;
  #open = 0;
  #failure: unknown;

  constructor(options: SteadyLoadOptions) {
    this.#acks = Array.from({ length: options.partitions }, () => []);
    this.#answeredMs = Array.from({ length: options.partitions }, () => 0);
    this.#sending = this.#send(options);
  }

  /** Ends the load, once every record has its answer. Throws what a record failed with. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#sending;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Waits until every partition has acknowledged a record that was sent after `sinceMs`. */
  async untilAnswered(sinceMs: number, timeoutMs: number): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    while (this.#answeredMs.some((sentMs) => sentMs <= sinceMs)) {
      if (this.#failure !== undefined) throw this.#failure;
      if (performance.now() > endMs) {
        const silent = this.#answeredMs.flatMap((sentMs, p) => (sentMs <= sinceMs ? p : []));
        throw new Error(`no acknowledgement for ${timeoutMs / 1000} s in partitions ${silent}`);
      }
      await sleep(askMs);
    }
  }

  /** The longest wait between acknowledgements of any of these partitions in a span, ms. */
  stall(partitions: readonly number[], span: Span): number {
    return Math.max(...partitions.map((p) => longestStall(this.#acks[p] ?? [], span)));
  }

  async #send(options: SteadyLoadOptions): Promise<void> {
    const { client, partitions, topic, paceMs = 5, valueBytes = 1024 } = options;
    const value = Buffer.alloc(valueBytes, "x");
    await using producer = client.producer();
    while (!this.#stopped.signal.aborted && this.#failure === undefined) {
      const sentMs = performance.now();
      for (let p = 0; p < partitions && this.#open < openMax; p += 1) {
        this.#open += 1;
        producer.send({ topic, partition: p, value }).then(
          () => this.#acked(p, sentMs),
          (thrown: unknown) => {
            this.#open -= 1;
            this.#failure ??= thrown;
          },
        );
      }
      await sleep(paceMs);
    }
    await producer.flush();
  }

  #acked(partition: number, sentMs: number): void {
    this.#open -= 1;
    this.#acks[partition]?.push(performance.now());
    this.#answeredMs[partition] = Math.max(this.#answeredMs[partition] ?? 0, sentMs);
  }
}
