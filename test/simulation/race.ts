/**
 * Writers that race for the end of one partition: each send expects where the log ends. What must
 * hold of them, whoever leads: a record is at the offset that it expected or nowhere, of those that
 * expected one offset at most one is acknowledged, and where a loser was told that the log ends,
 * it can read.
 */
import assert from "node:assert/strict";
import type { Client, Producer } from "@millrace/client/core";
import { MillraceError } from "@millrace/errors";
import { type Marks, SeededRandom } from "@millrace/sim";
import { makeTopic, untilReached } from "./history.ts";

const topic = "race";
const partition = 0;
const rounds = 25;
const pausesMsMax = [60, 400, 1500] as const;

/** How many a writer sends at once. */
const sendsAtOnce = [1, 1, 2, 3] as const;

/** Part of the seeds in which there is a race. */
const chanceOfRace = 0.5;
const racerNames = ["r1", "r2", "r3"] as const;

/** What a race is run in. */
export interface Track {
  readonly marks: Marks;
  readonly client: (name: string) => Client;
  readonly sleep: (ms: number) => Promise<void>;
}

/** What was promised to the writers, and who they are. */
export class Race {
  readonly #track: Track;
  /** Its own: the other clients of a seed do the same with it and without. */
  readonly #random: SeededRandom;
  readonly #isOn: boolean;
  #racers: readonly Client[] = [];
  /** What each value expected. */
  readonly #expected = new Map<string, number>();
  /** By offset. */
  readonly #acked = new Map<number, string>();
  /** Values that failed, and are said not to have been written. */
  readonly #unwritten = new Set<string>();
  /** Highest end that a loser was told. */
  #toldEnd = 0;

  /** Of a seed: it decides whether there is one. */
  constructor(seed: number, track: Track) {
    this.#track = track;
    this.#random = new SeededRandom(seed ^ 0x7f4a7c15);
    this.#isOn = this.#random.chance(chanceOfRace);
  }

  /** Makes its topic, and its clients, which know their cluster then. */
  async begin(configs: Record<string, string>): Promise<void> {
    if (!this.#isOn) return;
    const { client } = this.#track;
    await makeTopic(client("starter"), configs, { name: topic, partitions: 1 });
    this.#racers = racerNames.map(client);
    for (const one of this.#racers) {
      await untilReached(async () => void (await one.admin.cluster()));
    }
  }

  async run(): Promise<void> {
    const pauseMsMax = this.#random.pick(pausesMsMax);
    const all = this.#racers.map((client, i) => this.#compete(client, `r${i}`, pauseMsMax));
    await Promise.all(all);
  }

  /** As many sends at once as requests to a server may share a producer. */
  async #compete(client: Client, name: string, pauseMsMax: number): Promise<void> {
    const random = new SeededRandom(this.#random.below(2 ** 31));
    const producer = client.producer({
      ...{ requestTimeoutMs: 3000, deliveryTimeoutMs: 60_000 },
      idempotence: random.chance(0.7),
      // Those that the broker has to inflate wait there.
      compression: random.pick(["none", "zstd"]),
    });
    let end = 0;
    for (let round = 0; round < rounds; round += 1) {
      const count = random.pick(sendsAtOnce);
      // In a row each expects the end that the one before makes; or all are rivals.
      const step = random.chance(0.5) ? 1 : 0;
      const sends = Array.from({ length: count }, (_, i) =>
        this.#send(producer, `${name}-${round}-${i}`, end + i * step),
      );
      for (const next of await Promise.all(sends)) end = Math.max(end, next ?? 0);
      if (random.chance(0.7)) await this.#track.sleep(random.float() * pauseMsMax);
    }
  }

  /** Returns where the log ends, as far as it was told. */
  async #send(producer: Producer, value: string, expected: number): Promise<number | undefined> {
    this.sends(value, expected);
    try {
      const record = { topic, partition, value, expectedEndOffset: expected };
      const { offset } = await producer.send(record);
      this.wins(value, Number(offset));
      return Number(offset) + 1;
    } catch (thrown) {
      return this.loses(value, thrown);
    }
  }

  sends(value: string, expected: number): void {
    this.#expected.set(value, expected);
  }

  wins(value: string, offset: number): void {
    const expected = this.#expected.get(value);
    this.#track.marks.always(
      expected === offset,
      `${value} is at ${offset} and expected ${expected}`,
    );
    const rival = this.#acked.get(offset);
    this.#track.marks.always(rival === undefined, `${value} and ${rival} have both won ${offset}`);
    this.#acked.set(offset, value);
    this.#track.marks.sometimes("race: won");
  }

  /** Returns where the log ended, if the failure tells that. */
  loses(value: string, thrown: unknown): number | undefined {
    const { actualEndOffset, codeName, spec } = MillraceError.from(thrown);
    this.#track.marks.sometimes(`race: ${codeName}`);
    if (!spec.sideEffects) this.#unwritten.add(value);
    if (actualEndOffset === undefined) return undefined;
    this.#toldEnd = Math.max(this.#toldEnd, Number(actualEndOffset));
    return Number(actualEndOffset);
  }

  /** Reads it all, and holds that against what was promised. */
  async finish(): Promise<void> {
    if (!this.#isOn) return;
    const found: string[] = [];
    const consumer = this.#track.client("judge").consumer({ untilEnd: true });
    await untilReached(() => consumer.assign([{ topic, partition, from: "earliest" }]));
    for await (const { offset, value } of consumer.records()) {
      assert.equal(Number(offset), found.length, "the race skips or repeats");
      found.push(Buffer.from(value ?? []).toString());
    }
    this.check(found);
  }

  /** Of the values that are there in the end, in the order of their offsets. */
  check(found: readonly string[]): void {
    const places = new Map<string, number>();
    for (const [offset, value] of found.entries()) {
      const expected = this.#expected.get(value);
      assert.equal(offset, expected, `${value} is at ${offset} of the race`);
      assert.equal(places.get(value), undefined, `${value} is there twice`);
      assert.ok(!this.#unwritten.has(value), `${value} at ${offset} was said not to be written`);
      places.set(value, offset);
    }
    for (const [offset, value] of this.#acked) {
      assert.equal(found[offset], value, `acknowledged ${offset} of the race is not there`);
    }
    assert.ok(this.#toldEnd <= found.length, `it ends at ${found.length}, not ${this.#toldEnd}`);
  }
}
