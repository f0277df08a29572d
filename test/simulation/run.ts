/**
 * One run under a seed: a broker, producers and a consumer that reads along, while processes and
 * machines crash and the network misbehaves. In the end everything that was promised is there.
 */
import assert from "node:assert/strict";
import type { Client } from "@millrace/client/core";
import { ErrorCode, hasCode } from "@millrace/errors";
import { type Marks, SeededRandom } from "@millrace/sim";
import { World } from "./world.ts";

const partitions = 3;
const everything = Array.from({ length: partitions }, (_, partition) => ({
  ...{ topic: "t", partition, from: "earliest" as const },
}));

interface Sent {
  readonly producer: number;
  readonly partition: number;
  readonly number: number;
}

/** What was promised and seen. */
class History {
  readonly acked = new Map<string, string>();
  readonly read = new Map<string, string>();
  readonly sent = new Map<string, Sent>();
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
    this.read.set(place, value);
  }
}

/** Calls again while the broker cannot be reached. */
const untilReached = async (call: () => Promise<void>): Promise<void> => {
  for (;;) {
    try {
      await call();
      return;
    } catch (thrown) {
      const silent = hasCode(thrown, ErrorCode.DEADLINE_EXCEEDED);
      if (!silent && !hasCode(thrown, ErrorCode.UNAVAILABLE)) throw thrown;
    }
  }
};

const produce = async (
  client: Client,
  producer: number,
  history: History,
  random: SeededRandom,
  sleep: (ms: number) => Promise<void>,
): Promise<void> => {
  const sender = client.producer({ requestTimeoutMs: 3000, deliveryTimeoutMs: 60_000 });
  const open: Promise<void>[] = [];
  for (let number = 0; number < 120; number += 1) {
    const partition = random.below(partitions);
    const value = `p${producer}-${number}-${"x".repeat(random.below(200))}`;
    history.sent.set(value, { producer, partition, number });
    open.push(
      sender.send({ topic: "t", partition, value }).then(
        (done) => history.ack(value, done.partition, done.offset),
        () => {},
      ),
    );
    if (random.chance(0.5)) await sleep(random.float() * 60);
  }
  await Promise.all(open);
};

/** Reads along until told to stop. */
const follow = async (client: Client, history: History, signal: AbortSignal): Promise<void> => {
  const consumer = client.consumer();
  await untilReached(() => consumer.assign(everything));
  const next = new Map<number, bigint>();
  try {
    for await (const { partition, offset, value } of consumer.records({ signal })) {
      const expected = next.get(partition) ?? 0n;
      assert.equal(offset, expected, `partition ${partition} skips or repeats`);
      next.set(partition, offset + 1n);
      history.see(Buffer.from(value ?? []).toString(), partition, offset);
    }
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
  }
};

const finalLog = async (client: Client): Promise<Map<string, string>> => {
  const found = new Map<string, string>();
  const consumer = client.consumer({ untilEnd: true });
  await untilReached(() => consumer.assign(everything));
  for await (const { partition, offset, value } of consumer.records()) {
    found.set(`${partition}@${offset}`, Buffer.from(value ?? []).toString());
  }
  return found;
};

/** Creates the topic, whatever the network makes of it. */
const makeTopic = (client: Client, configs: Record<string, string>): Promise<void> =>
  untilReached(async () => {
    try {
      await client.admin.createTopic({ name: "t", partitionCount: partitions, configs });
    } catch (thrown) {
      if (!hasCode(thrown, ErrorCode.TOPIC_ALREADY_EXISTS)) throw thrown;
    }
  });

/** What a run did. */
export interface RunReport {
  readonly traceHash: number;
  readonly events: number;
  readonly simulatedMs: number;
  readonly acked: number;
  readonly read: number;
  readonly marks: ReadonlyMap<string, number>;
}

/** Trouble that explains why little was acknowledged, ms. */
const disturbedLongMs = 20_000;

/** Holds the log that is left against what was promised. */
const check = (
  history: History,
  found: ReadonlyMap<string, string>,
  { disturbedMs }: World,
): void => {
  for (const [place, value] of history.acked) {
    assert.equal(found.get(place), value, `acknowledged ${place} is not there`);
  }
  for (const [place, value] of history.read) {
    assert.equal(found.get(place), value, `${place} was read and is not there`);
  }
  for (const [place, value] of found) {
    const sent = history.sent.get(value);
    assert.ok(sent !== undefined, `${place} holds ${value}, which nobody sent`);
    assert.equal(`${sent.partition}`, place.split("@")[0], `${value} is in the wrong partition`);
  }
  // A delivery is given up after a minute, which a long partition may take most of.
  const enough = history.acked.size > 100 || disturbedMs > disturbedLongMs;
  assert.ok(enough, `only ${history.acked.size} were acknowledged`);
};

/** Crashes the broker, and starts it again. */
const crash = async (world: World, random: SeededRandom, working: () => boolean): Promise<void> => {
  while (working()) {
    await world.sleep(100 + random.float() * 2000);
    if (!working()) return;
    world.crash(random.chance(0.6) ? "power" : "process");
    await world.sleep(random.float() * 500);
    // A second crash may hit the recovery.
    const booting = world.boot();
    if (random.chance(0.3)) {
      await world.sleep(random.float() * 20);
      world.crash("power");
      await world.boot();
    } else await booting;
  }
};

const simulate = async (world: World, random: SeededRandom): Promise<History> => {
  const { kernel } = world;
  await kernel.run(world.boot());
  const admin = world.client("admin");
  const configs = { "segment.bytes": "4096", "index.interval.bytes": "256" };
  await kernel.run(makeTopic(admin, configs));
  const history = new History(kernel.marks);
  const sleep = (ms: number): Promise<void> => world.sleep(ms);
  let working = true;
  const failures: unknown[] = [];
  const stop = new AbortController();
  const readers = follow(world.client("reader"), history, stop.signal).catch((thrown: unknown) => {
    failures.push(thrown);
  });
  const writers = Promise.all(
    [1, 2].map((producer) =>
      produce(world.client(`w${producer}`), producer, history, random, sleep),
    ),
  )
    .catch((thrown: unknown) => failures.push(thrown))
    .finally(() => {
      working = false;
    });
  const isWorking = (): boolean => working;
  const trouble = Promise.all([crash(world, random, isWorking), world.disturb(isWorking)]);
  await kernel.run(writers);
  world.heal();
  await kernel.run(trouble);
  const found = await kernel.run(finalLog(world.client("checker")));
  stop.abort();
  await kernel.run(readers);
  if (failures.length > 0) throw failures[0];
  check(history, found, world);
  kernel.trace([...found].join());
  return history;
};

/**
 * One run. `onTrace` gets every line of its trace. A failure names the seed and the step at which
 * it was seen.
 */
export const run = async (seed: number, onTrace?: (line: string) => void): Promise<RunReport> => {
  const world = new World(seed);
  const { kernel } = world;
  if (onTrace !== undefined) kernel.onTrace = onTrace;
  try {
    const { acked, read } = await simulate(world, new SeededRandom(seed ^ 0x68bc21eb));
    return {
      traceHash: kernel.traceHash,
      events: kernel.events,
      simulatedMs: kernel.nowMs,
      acked: acked.size,
      read: read.size,
      marks: kernel.marks.reached,
    };
  } catch (thrown) {
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    const where = `seed ${seed}, step ${kernel.events}, ${kernel.nowMs.toFixed(3)} ms`;
    throw new Error(`${where}: ${text}`, { cause: thrown });
  }
};
