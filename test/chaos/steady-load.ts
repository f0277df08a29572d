/** Records at a steady rate with acks all, and a consumer: what a scenario measures. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, MillraceError } from "@millrace/client";
import { untilAnswered } from "./clients.ts";
import { partitionCount, topic } from "./cluster.ts";
import { PartitionTally, type Totals } from "./tally.ts";

const tickMs = 10;
/** Bytes of a value. */
const valueBytes = 100;
/** Longer than any outage of a scenario in which sends may wait. */
const deliveryTimeoutMs = 120_000;
/** Pause after a consumer that failed, ms. */
const readAgainMs = 500;
/** Longest wait for sends to have an outcome, and for the consumer to get to the end, ms. */
const settleMs = 150_000;

/** Times from a send to its acknowledgement, of one phase. */
export interface Phase {
  readonly name: string;
  /** Sorted, ms. */
  readonly latenciesMs: readonly number[];
}

export class SteadyLoad {
  readonly #partitions = Array.from({ length: partitionCount }, () => new PartitionTally());
  readonly #phases: { readonly name: string; readonly latenciesMs: number[] }[] = [];
  readonly #stopSends = new AbortController();
  readonly #stopReads = new AbortController();
  readonly #sending: Promise<void>;
  readonly #reading: Promise<void>;
  readonly #open = new Set<Promise<void>>();
  /** Codes of sends and fetches that failed. */
  readonly failures: string[] = [];

  constructor(writer: Client, reader: Client, ratePerSecond: number) {
    this.begin("warm-up");
    this.#sending = this.#send(writer, ratePerSecond);
    this.#reading = this.#read(reader);
  }

  /** Sends of from now on belong to another phase. */
  begin(phase: string): void {
    this.#phases.push({ name: phase, latenciesMs: [] });
  }

  get phases(): readonly Phase[] {
    return this.#phases.map(({ latenciesMs, name }) => ({
      ...{ name, latenciesMs: latenciesMs.toSorted((a, b) => a - b) },
    }));
  }

  get totals(): readonly Totals[] {
    return this.#partitions.map(({ totals }) => totals);
  }

  /** Ends the sends, and resolves once everything that was acknowledged has been read. */
  async stop(): Promise<void> {
    this.#stopSends.abort();
    const endMs = performance.now() + settleMs;
    const isOver = (): boolean =>
      this.#open.size === 0 && this.#partitions.every(({ isRead }) => isRead);
    await this.#sending;
    while (!isOver() && performance.now() < endMs) await sleep(500);
    // What is there twice comes behind the rest.
    await sleep(1000);
    this.#stopReads.abort();
    await this.#reading;
  }

  async #send(client: Client, ratePerSecond: number): Promise<void> {
    const producer = client.producer({ acks: "all", deliveryTimeoutMs });
    const startMs = performance.now();
    let sent = 0;
    while (!this.#stopSends.signal.aborted) {
      const due = Math.floor(((performance.now() - startMs) / 1000) * ratePerSecond);
      for (; sent < due; sent += 1) {
        const partition = sent % partitionCount;
        const tally = this.#partitions[partition];
        const phase = this.#phases.at(-1);
        if (tally === undefined || phase === undefined) return;
        const number = tally.send();
        const atMs = performance.now();
        const value = Buffer.from(String(number).padEnd(valueBytes));
        const settled = producer.send({ topic, partition, value }).then(
          () => {
            const nowMs = performance.now();
            tally.ack(number, nowMs);
            phase.latenciesMs.push(nowMs - atMs);
          },
          (thrown) => {
            this.failures.push(`produce: ${MillraceError.from(thrown).codeName}`);
          },
        );
        this.#open.add(settled);
        void settled.finally(() => this.#open.delete(settled));
      }
      await sleep(tickMs);
    }
  }

  /** A consumer that fails is followed by another one, which goes on where it was. */
  async #read(client: Client): Promise<void> {
    const next = this.#partitions.map(() => 0n);
    while (!this.#stopReads.signal.aborted) {
      try {
        await this.#readFrom(client, next);
      } catch (thrown) {
        if (this.#stopReads.signal.aborted) return;
        this.failures.push(`fetch: ${MillraceError.from(thrown).codeName}`);
        await sleep(readAgainMs);
      }
    }
  }

  async #readFrom(client: Client, next: bigint[]): Promise<void> {
    const { signal } = this.#stopReads;
    const consumer = client.consumer();
    await untilAnswered(() =>
      consumer.assign(next.map((offset, partition) => ({ topic, partition, from: { offset } }))),
    );
    for await (const { offset, partition, value } of consumer.records({ signal })) {
      next[partition] = offset + 1n;
      this.#partitions[partition]?.read(Number(Buffer.from(value ?? []).toString()));
    }
  }
}
