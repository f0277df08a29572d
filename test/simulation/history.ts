/** The clients of a simulation, what they were promised and saw, and what must hold of it. */
import assert from "node:assert/strict";
import type { Client } from "@millrace/client/core";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { Marks, SeededRandom } from "@millrace/sim";

export const partitions = 3;
const everything = Array.from({ length: partitions }, (_, partition) => ({
  ...{ topic: "t", partition, from: "earliest" as const },
}));

interface Sent {
  readonly producer: number;
  readonly partition: number;
  readonly number: number;
}

/** What was promised and seen. */
export class History {
  readonly acked = new Map<string, string>();
  readonly read = new Map<string, string>();
  /** Where each value was read. */
  readonly places = new Map<string, string>();
  /** Values that failed, and are said not to have been written. */
  readonly unwritten = new Set<string>();
  readonly sent = new Map<string, Sent>();
  /** By partition, how far the reader has come. */
  readonly readEnd = new Map<number, bigint>();
  /** By partition, below what records may be deleted. */
  readonly deletedBelow = new Map<number, bigint>();
  readonly #marks: Marks;
  readonly #lastAcked = new Map<string, bigint>();

  constructor(marks: Marks) {
    this.#marks = marks;
  }

  /** An acknowledgement; those of a producer and partition come in the order of its sends. */
  ack(value: string, partition: number, offset: bigint): void {
    const place = `${partition}@${offset}`;
    this.#marks.always(!this.acked.has(place), `${place} is acknowledged once`);
    this.acked.set(place, value);
    const sender = `${this.sent.get(value)?.producer}/${partition}`;
    const before = this.#lastAcked.get(sender);
    const inOrder = before === undefined || before < offset;
    this.#marks.always(inOrder, `${value} at ${offset} is behind the one before it at ${before}`);
    this.#lastAcked.set(sender, offset);
  }

  see(value: string, partition: number, offset: bigint): void {
    const place = `${partition}@${offset}`;
    const before = this.read.get(place);
    const same = before === undefined || before === value;
    this.#marks.always(same, `${place} is ${before} and stays so, also when it is ${value}`);
    const first = this.places.get(value) ?? place;
    this.#marks.always(first === place, `${value} is at ${first}, and not at ${place} too`);
    this.places.set(value, place);
    this.read.set(place, value);
    this.readEnd.set(partition, offset + 1n);
  }

  fail(value: string, thrown: unknown): void {
    if (!MillraceError.from(thrown).spec.sideEffects) this.unwritten.add(value);
  }

  /** What comes before was read, and acknowledged, too: no producer sends it again. */
  settledEnd(partition: number): bigint {
    let offset = this.deletedBelow.get(partition) ?? 0n;
    const end = this.readEnd.get(partition) ?? 0n;
    while (offset < end && this.acked.has(`${partition}@${offset}`)) offset += 1n;
    return offset;
  }

  /** Whether the log may have let go of a place. */
  mayBeDeleted(place: string): boolean {
    const [partition, offset] = place.split("@");
    return BigInt(offset ?? 0) < (this.deletedBelow.get(Number(partition)) ?? 0n);
  }
}

/** What clients are told while the store does not have what it should. */
const foreignStore: readonly ErrorCode[] = [
  ErrorCode.CLUSTER_ID_MISMATCH,
  ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
];

/** Whether clients may be told so because the store is another one for a while. */
export const isForeignStore = (thrown: unknown): boolean =>
  foreignStore.includes(MillraceError.from(thrown).code);

/** Calls again while nobody can answer. */
export const untilReached = async (call: () => Promise<void>): Promise<void> => {
  for (;;) {
    try {
      await call();
      return;
    } catch (thrown) {
      if (!MillraceError.from(thrown).spec.retriable) throw thrown;
    }
  }
};

/** Records of one producer. */
const recordsEach = 120;

export const produce = async (
  client: Client,
  producer: number,
  history: History,
  random: SeededRandom,
  sleep: (ms: number) => Promise<void>,
  { records = recordsEach, pauseMsMax = 60 } = {},
): Promise<void> => {
  const sender = client.producer({ requestTimeoutMs: 3000, deliveryTimeoutMs: 60_000 });
  const open: Promise<void>[] = [];
  for (let number = 0; number < records; number += 1) {
    const partition = random.below(partitions);
    const value = `p${producer}-${number}-${"x".repeat(random.below(200))}`;
    history.sent.set(value, { producer, partition, number });
    open.push(
      sender.send({ topic: "t", partition, value }).then(
        (done) => history.ack(value, done.partition, done.offset),
        (thrown: unknown) => history.fail(value, thrown),
      ),
    );
    if (random.chance(0.5)) await sleep(random.float() * pauseMsMax);
  }
  await Promise.all(open);
};

/**
 * As many records, by some producers one after the other: `producers` has their numbers. Each has
 * an id of its own.
 */
export const produceInTurn = async (
  client: Client,
  producers: readonly number[],
  history: History,
  by: { readonly random: SeededRandom; readonly sleep: (ms: number) => Promise<void> },
  pauseMsMax: number,
): Promise<void> => {
  const records = Math.ceil(recordsEach / producers.length);
  for (const producer of producers) {
    await produce(client, producer, history, by.random, by.sleep, { records, pauseMsMax });
  }
};

/** Reads along until told to stop, also where the topic is away for a while. */
export const follow = async (
  client: Client,
  history: History,
  signal: AbortSignal,
  mayVanish = (): boolean => false,
): Promise<void> => {
  const next = new Map<number, bigint>();
  while (!signal.aborted) {
    const consumer = client.consumer();
    const assigned = everything.map((one) => {
      const offset = next.get(one.partition);
      return offset === undefined ? one : { ...one, from: { offset } };
    });
    try {
      await untilReached(() => consumer.assign(assigned));
      for await (const { partition, offset, value } of consumer.records({ signal })) {
        const expected = next.get(partition) ?? 0n;
        assert.equal(offset, expected, `partition ${partition} skips or repeats`);
        next.set(partition, offset + 1n);
        history.see(Buffer.from(value ?? []).toString(), partition, offset);
      }
    } catch (thrown) {
      if (signal.aborted) return;
      if (!(isForeignStore(thrown) && mayVanish())) throw thrown;
      await consumer.close();
    }
  }
};

export const finalLog = async (client: Client): Promise<Map<string, string>> => {
  const found = new Map<string, string>();
  const consumer = client.consumer({ untilEnd: true });
  await untilReached(() => consumer.assign(everything));
  for await (const { partition, offset, value } of consumer.records()) {
    found.set(`${partition}@${offset}`, Buffer.from(value ?? []).toString());
  }
  return found;
};

/** Creates the topic, whatever the network makes of it. */
export const makeTopic = (
  client: Client,
  configs: Record<string, string>,
  topic = { name: "t", partitions },
): Promise<void> =>
  untilReached(async () => {
    try {
      await client.admin.createTopic({ ...topic, configs });
    } catch (thrown) {
      if (!hasCode(thrown, ErrorCode.TOPIC_ALREADY_EXISTS)) throw thrown;
    }
  });

/** Trouble that explains why little was acknowledged, ms. */
const disturbedLongMs = 20_000;

/**
 * Deletes, from time to time, what was read, until `working` says no; but nothing that a producer
 * may send again: a replica that is added or begins anew does so at the log start, and does not
 * know who had written what is deleted.
 */
export const trim = async (
  client: Client,
  history: History,
  random: SeededRandom,
  sleep: (ms: number) => Promise<void>,
  working: () => boolean,
  mayVanish: boolean,
): Promise<void> => {
  while (working()) {
    await sleep(100 + random.float() * 1500);
    const partition = random.below(partitions);
    const end = Number(history.settledEnd(partition));
    const offset = BigInt(random.chance(0.5) ? end : Math.floor(end * random.float()));
    if (offset <= (history.deletedBelow.get(partition) ?? 0n)) continue;
    history.deletedBelow.set(partition, offset);
    const deletion = { topic: "t", partition, beforeOffset: offset };
    await client.admin.deleteRecords(deletion).catch((thrown) => {
      if (mayVanish && isForeignStore(thrown)) return;
      // A leader that does not know yet that it is over knows less than was read elsewhere.
      if (hasCode(thrown, ErrorCode.OFFSET_OUT_OF_RANGE)) return;
      if (!MillraceError.from(thrown).spec.retriable) throw thrown;
    });
  }
};

/** What was read or is found, also what was deleted since, in the order of offsets. */
const everyPlace = (
  { read }: History,
  found: ReadonlyMap<string, string>,
): (readonly [string, string])[] => {
  const offsetOf = ([place]: readonly [string, string]): number => Number(place.split("@")[1]);
  return [...new Map([...read, ...found])].sort((a, b) => offsetOf(a) - offsetOf(b));
};

/** Nothing is there twice, out of order, or without having been sent, or is said to have failed. */
const checkOnce = (history: History, found: ReadonlyMap<string, string>): void => {
  const places = new Map(history.places);
  const newest = new Map<string, number>();
  for (const [place, value] of everyPlace(history, found)) {
    const sent = history.sent.get(value);
    assert.ok(sent !== undefined, `${place} holds ${value}, which nobody sent`);
    assert.equal(`${sent.partition}`, place.split("@")[0], `${value} is in the wrong partition`);
    assert.ok(!history.unwritten.has(value), `${value} at ${place} was said not to be written`);
    assert.equal(places.get(value) ?? place, place, `${value} is there twice`);
    places.set(value, place);
    const sender = `${sent.producer}/${sent.partition}`;
    const before = newest.get(sender) ?? -1;
    assert.ok(before < sent.number, `${value} at ${place} is behind number ${before}`);
    newest.set(sender, sent.number);
  }
};

/** Holds the log that is left against what was promised. */
export const check = (
  history: History,
  found: ReadonlyMap<string, string>,
  disturbedMs: number,
): void => {
  for (const [place, value] of history.acked) {
    if (!found.has(place) && history.mayBeDeleted(place)) continue;
    assert.equal(found.get(place), value, `acknowledged ${place} is not there`);
  }
  for (const [place, value] of history.read) {
    if (!found.has(place) && history.mayBeDeleted(place)) continue;
    assert.equal(found.get(place), value, `${place} was read and is not there`);
  }
  checkOnce(history, found);
  // A delivery is given up after a minute, which a long partition may take most of.
  const enough = history.acked.size > 100 || disturbedMs > disturbedLongMs;
  assert.ok(enough, `only ${history.acked.size} were acknowledged`);
};
