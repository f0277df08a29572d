/**
 * A broker and its clients in one process, under a seed: crashes, power cuts, resets, half-open
 * connections, delays.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Client } from "@millrace/client/core";
import { ErrorCode, hasCode } from "@millrace/errors";
import { bugs } from "@millrace/log";
import { SeededRandom } from "@millrace/sim";
import { World } from "./world.ts";

const [firstSeed = 1, seedCount = 60] = (process.env["MILLRACE_SIM_SEEDS"] ?? "")
  .split(":")
  .filter((text) => text !== "")
  .map(Number);

const totals = { acked: 0, read: 0, crashes: 0, events: 0 };
const partitions = 3;

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
  /** The first promise that was broken. */
  problem: string | undefined;
  readonly #lastAcked = new Map<string, bigint>();

  /** An acknowledgement; those of a producer and partition come in the order of its sends. */
  ack(value: string, partition: number, offset: bigint): void {
    const place = `${partition}@${offset}`;
    if (this.acked.has(place)) this.problem ??= `${place} was acknowledged twice`;
    this.acked.set(place, value);
    const sender = `${this.sent.get(value)?.producer}/${partition}`;
    const before = this.#lastAcked.get(sender);
    if (before !== undefined && before >= offset) {
      this.problem ??= `${value} at ${offset} overtook the one before it at ${before}`;
    }
    this.#lastAcked.set(sender, offset);
  }

  see(value: string, partition: number, offset: bigint): void {
    const place = `${partition}@${offset}`;
    const before = this.read.get(place);
    assert.ok(
      before === undefined || before === value,
      `${place} changed from ${before} to ${value}`,
    );
    this.read.set(place, value);
  }
}

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
  const all = Array.from({ length: partitions }, (_, partition) => partition);
  await consumer.assign(all.map((partition) => ({ topic: "t", partition, from: "earliest" })));
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
  const all = Array.from({ length: partitions }, (_, partition) => partition);
  await consumer.assign(all.map((partition) => ({ topic: "t", partition, from: "earliest" })));
  for await (const { partition, offset, value } of consumer.records()) {
    found.set(`${partition}@${offset}`, Buffer.from(value ?? []).toString());
  }
  return found;
};

/** Creates the topic, whatever the network makes of it. */
const makeTopic = async (client: Client, configs: Record<string, string>): Promise<void> => {
  for (;;) {
    try {
      await client.admin.createTopic({ name: "t", partitionCount: partitions, configs });
      return;
    } catch (thrown) {
      if (hasCode(thrown, ErrorCode.TOPIC_ALREADY_EXISTS)) return;
      if (!hasCode(thrown, ErrorCode.UNAVAILABLE)) throw thrown;
    }
  }
};

/** One run; returns the hash of its trace. */
const run = async (seed: number): Promise<number> => {
  const world = new World(seed);
  const { kernel } = world;
  const random = new SeededRandom(seed ^ 0x68bc21eb);
  await kernel.run(world.boot());
  const admin = world.client("admin");
  const configs = { "segment.bytes": "4096", "index.interval.bytes": "256" };
  await kernel.run(makeTopic(admin, configs));
  const history = new History();
  const sleep = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      kernel.schedule(ms, resolve);
    });
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
  const chaos = async (): Promise<void> => {
    while (working) {
      await sleep(100 + random.float() * 2000);
      if (!working) return;
      world.crash(random.chance(0.6) ? "power" : "process");
      totals.crashes += 1;
      await sleep(random.float() * 500);
      // A second crash may hit the recovery.
      const booting = world.boot();
      if (random.chance(0.3)) {
        await sleep(random.float() * 20);
        world.crash("power");
        totals.crashes += 1;
        await world.boot();
      } else await booting;
    }
  };
  const disorder = chaos();
  await kernel.run(writers);
  world.heal();
  await kernel.run(disorder);
  const found = await kernel.run(finalLog(world.client("checker")));
  stop.abort();
  await kernel.run(readers);
  if (failures.length > 0) throw failures[0];
  assert.equal(history.problem, undefined);
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
  assert.ok(history.acked.size > 100, `only ${history.acked.size} were acknowledged`);
  totals.acked += history.acked.size;
  totals.read += history.read.size;
  totals.events += kernel.events;
  kernel.trace([...found].join());
  return kernel.traceHash;
};

for (let seed = firstSeed; seed < firstSeed + seedCount; seed += 1) {
  test(`seed ${seed}: nothing acknowledged or read is lost`, async () => {
    await run(seed);
  });
}

test("the same seed gives the same run", async () => {
  assert.equal(await run(4242), await run(4242));
});

for (const name of ["ackBeforeFsync"] as const) {
  test(`the simulation finds the seeded bug ${name}`, async () => {
    bugs[name] = true;
    let found: unknown;
    try {
      for (let seed = 1; seed <= 400 && found === undefined; seed += 1) {
        await run(seed).catch((thrown: unknown) => {
          found = thrown;
        });
      }
    } finally {
      bugs[name] = false;
    }
    assert.ok(found !== undefined, `${name} was not found`);
  });
}

after(() => {
  const { acked, read, crashes, events } = totals;
  console.log(
    `simulation: ${events} events, ${crashes} crashes, ${acked} acknowledged, ${read} read along`,
  );
});
