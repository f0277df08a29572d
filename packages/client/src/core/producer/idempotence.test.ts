/** Batches that are sent again: written once, in order, or reported. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { FakeBroker } from "../../testing/fake-broker.ts";
import { fastClock, testEnv } from "../../testing/fake-broker.ts";
import { numbered, readAll, setUp, until } from "../../testing/set-up.ts";

/** Numbers below 1, the same for the same seed (mulberry32). */
const dice = (seed: number): (() => number) => {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
};

const limit = { timeout: 20_000 };
const topic = "events";

/** `id/epoch/sequence` of every request as it arrived. */
const stamps = ({ seen }: FakeBroker): string[] =>
  seen.map(({ info }) => `${info.producerId}/${info.producerEpoch}/${info.baseSequence}`);

const failure = (outcome: Promise<unknown>): Promise<MillraceError> =>
  outcome.then(
    () => assert.fail("it was written"),
    (thrown: unknown) => MillraceError.from(thrown),
  );

test(
  "the id is asked for once, at the first send, and sequences count records",
  limit,
  async () => {
    const { broker, client } = setUp(2);
    const producer = client.producer({ lingerMs: 5 });
    assert.equal(broker.producers.nextId, 0);
    for (const partition of [0, 0, 1, 0]) void producer.send({ topic, partition, value: "v" });
    await producer.flush();
    await producer.send({ topic, partition: 0, value: "v" });
    assert.deepEqual(stamps(broker).toSorted(), ["0/0/0", "0/0/0", "0/0/3"]);
    await client.producer().send({ topic, partition: 0, value: "v" });
    assert.equal(stamps(broker).at(-1), "1/0/0", "another producer has another id");
  },
);

test("a batch whose answer is lost is sent again as it was, and is there once", limit, async () => {
  for (const compression of ["none", "zstd"] as const) {
    const { broker, client } = setUp();
    broker.fault = (n) => (n === 2 ? "reset" : undefined);
    const producer = client.producer({ batchBytesMax: 100, compression });
    const values = numbered("value of a record ", 20);
    const sent = values.map((value) => producer.send({ topic, value }));
    const offsets = (await Promise.all(sent)).map(({ offset }) => Number(offset));
    assert.deepEqual(offsets, [...values.keys()]);
    assert.deepEqual(await readAll(client), values);
    const again = stamps(broker).filter((stamp, i, all) => all.indexOf(stamp) !== i);
    assert.ok(again.length > 0);
    assert.equal(broker.producers.duplicates, 1);
  }
});

test("no more batches are in flight than the server recognises", limit, async () => {
  for (const [batchesKept, most] of [
    [3, 3],
    [0, 1],
  ] as const) {
    const { broker, client } = setUp();
    broker.producers.batchesKept = batchesKept;
    broker.hold = true;
    const producer = client.producer({ batchBytesMax: 50 });
    const sent = numbered("v", 20).map((value) => producer.send({ topic, value }));
    await until(() => broker.requests > 0);
    await sleep(50);
    assert.equal(broker.requests, most);
    broker.release();
    await Promise.all(sent);
  }
});

test("acks all is idempotent by default, other acks are not, and cannot be", limit, async () => {
  const { broker, client } = setUp();
  for (const acks of ["leader", "none"] as const) {
    await client.producer({ acks }).send({ topic, value: "v" });
    assert.throws(() => client.producer({ acks, idempotence: true }), {
      code: ErrorCode.INVALID_REQUEST,
      message: /idempotence needs acks "all"/,
    });
  }
  await client.producer({ idempotence: false }).send({ topic, value: "v" });
  assert.deepEqual(stamps(broker), ["-1/-1/-1", "-1/-1/-1", "-1/-1/-1"]);
  await client.producer({ idempotence: true }).send({ topic, value: "v" });
  assert.equal(stamps(broker).at(-1), "0/0/0");
});

test("a server without producer ids fails the records, and says what to do", limit, async () => {
  const { broker, client } = setUp();
  broker.callFault = (path) =>
    path.endsWith("/InitProducerId")
      ? new MillraceError(ErrorCode.UNSUPPORTED_OPERATION, "unknown method")
      : undefined;
  const producer = client.producer();
  const error = await failure(producer.send({ topic, value: "v" }));
  assert.equal(error.code, ErrorCode.UNSUPPORTED_OPERATION);
  assert.match(error.message, /update it, or make the producer with idempotence: false/);
  assert.equal(producer.bufferedBytes, 0);
  broker.callFault = () => undefined;
  await producer.send({ topic, value: "v" });
});

test("while no id can be had, records wait, and their deadline says why", limit, async () => {
  const { broker, client } = setUp();
  broker.callFault = (path) =>
    path.endsWith("/InitProducerId")
      ? new MillraceError(ErrorCode.NOT_CONTROLLER, "no controller is active")
      : undefined;
  const late = client.producer({ deliveryTimeoutMs: 200 }).send({ topic, value: "late" });
  const sent = client.producer().send({ topic, value: "in time" });
  assert.match((await failure(late)).message, /NOT_CONTROLLER: no controller is active/);
  broker.callFault = () => undefined;
  assert.equal((await sent).offset, 0n);
});

test(
  "after a batch that failed for good, the others begin anew in the next epoch",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer({ batchBytesMax: 50, lingerMs: 0 });
    await producer.send({ topic, value: "first" });
    broker.fault = (n) => (n === 2 ? ErrorCode.INVALID_TIMESTAMP : undefined);
    const sent = ["bad", "good", "better"].map((value) => producer.send({ topic, value }));
    assert.equal((await failure(sent[0] ?? assert.fail())).code, ErrorCode.INVALID_TIMESTAMP);
    await Promise.all(sent.slice(1));
    assert.deepEqual(await readAll(client), ["first", "good", "better"]);
    assert.deepEqual(stamps(broker).slice(-2), ["0/1/0", "0/1/1"]);
    assert.deepEqual(broker.producers.refusals, []);
    await producer.send({ topic, value: "last" });
    assert.equal(stamps(broker).at(-1), "0/1/2");
  },
);

test("what may have been written keeps its sequences, or fails and says so", limit, async () => {
  const { broker, client } = setUp(1, { env: testEnv(fastClock(10)) });
  const producer = client.producer({ batchBytesMax: 50, lingerMs: 0, deliveryTimeoutMs: 6_000 });
  await producer.send({ topic, value: "first" });
  broker.fault = () => "lost";
  const expired = failure(producer.send({ topic, value: "expires" }));
  await sleep(400);
  const behind = failure(producer.send({ topic, value: "behind" }));
  await until(() => stamps(broker).includes("0/0/2"));
  assert.equal((await expired).code, ErrorCode.DEADLINE_EXCEEDED);
  const fresh = producer.send({ topic, value: "fresh" });
  broker.fault = () => undefined;
  const error = await behind;
  assert.deepEqual([error.codeName, error.spec.sideEffects], ["UNAVAILABLE", true]);
  assert.match(error.message, /OUT_OF_ORDER_SEQUENCE/);
  assert.equal((await fresh).offset, 1n);
  assert.deepEqual(await readAll(client), ["first", "fresh"]);
  assert.equal(stamps(broker).at(-1), "0/1/0");
});

for (const fault of ["reset", "uncertain"] as const) {
  test(
    `what was written before the batch before it failed is recognised (${fault})`,
    limit,
    async () => {
      const { broker, client } = setUp(1, { env: testEnv(fastClock(10)) });
      const producer = client.producer({
        batchBytesMax: 50,
        lingerMs: 0,
        deliveryTimeoutMs: 6_000,
      });
      await producer.send({ topic, value: "first" });
      // Both are written, and neither is acknowledged until the first of them has expired.
      broker.fault = () => fault;
      const expired = failure(producer.send({ topic, value: "expires" }));
      await sleep(400);
      const behind = producer.send({ topic, value: "behind" });
      await expired;
      broker.fault = () => undefined;
      assert.equal((await behind).offset, 2n);
      await producer.send({ topic, value: "last" });
      assert.deepEqual(await readAll(client), ["first", "expires", "behind", "last"]);
    },
  );
}

test("nothing is renumbered while a request of the partition is in flight", limit, async () => {
  const { broker, client } = setUp();
  const options = { batchBytesMax: 50, lingerMs: 0, inFlightPerPartitionMax: 2 };
  const producer = client.producer(options);
  await producer.send({ topic, value: "first" });
  broker.hold = true;
  broker.fault = (n) => (n === 2 ? ErrorCode.INVALID_TIMESTAMP : undefined);
  const values = ["bad", "behind it", "waits"].map((value) => `${value} `.padEnd(40, "."));
  const [bad, ...good] = values.map((value) => producer.send({ topic, value }));
  await until(() => broker.requests === 3);
  const failed = failure(bad ?? assert.fail());
  broker.releaseOne();
  await failed;
  await sleep(50);
  assert.equal(broker.requests, 3, "one is unanswered");
  broker.release();
  await Promise.all(good);
  assert.deepEqual(await readAll(client), ["first", ...values.slice(1)]);
  assert.deepEqual(stamps(broker).slice(-2), ["0/1/0", "0/1/1"]);
});

test("an epoch that is somebody else's makes the producer take another id", limit, async () => {
  const { broker, client } = setUp();
  const producer = client.producer();
  await producer.send({ topic, value: "a" });
  broker.fault = (n) => (n === 2 ? ErrorCode.INVALID_PRODUCER_EPOCH : undefined);
  await producer.send({ topic, value: "b" });
  assert.deepEqual(stamps(broker), ["0/0/0", "0/0/1", "1/0/0"]);
  assert.deepEqual(await readAll(client), ["a", "b"]);
});

test(
  "a batch whose error left open whether it was written is not sent as another",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer();
    await producer.send({ topic, value: "a" });
    broker.fault = (n) => {
      if (n === 2) return "uncertain";
      return n === 3 ? ErrorCode.OUT_OF_ORDER_SEQUENCE : undefined;
    };
    const error = await failure(producer.send({ topic, value: "b" }));
    assert.ok(error.spec.sideEffects);
    assert.deepEqual(await readAll(client), ["a", "b"]);
  },
);

test("a partition that has lost what it knew of the producer is begun anew", limit, async () => {
  const { broker, client } = setUp();
  const producer = client.producer();
  await producer.send({ topic, value: "a" });
  broker.fault = (n) => (n === 2 ? ErrorCode.OUT_OF_ORDER_SEQUENCE : undefined);
  await producer.send({ topic, value: "b" });
  assert.deepEqual(stamps(broker), ["0/0/0", "0/0/1", "0/1/0"]);
  broker.producers.forget();
  await producer.send({ topic, value: "c" });
  assert.deepEqual(await readAll(client), ["a", "b", "c"]);
});

test("a batch that is split after its answer was lost is not there twice", limit, async () => {
  const { broker, client } = setUp();
  const producer = client.producer({ lingerMs: 20, deliveryTimeoutMs: 2_000 });
  await producer.send({ topic, value: "first" });
  broker.fault = (n) => {
    if (n !== 2) return undefined;
    broker.bodyBytesMax = 400;
    return "reset";
  };
  const values = numbered("some value of a record ", 20);
  const sent = await Promise.allSettled(values.map((value) => producer.send({ topic, value })));
  for (const one of sent) {
    assert.ok(one.status === "rejected" && MillraceError.from(one.reason).spec.sideEffects);
  }
  await producer.send({ topic, value: "last" });
  assert.deepEqual(await readAll(client), ["first", ...values, "last"]);
});

test("whatever breaks, records are there once, in order, or are reported", limit, async () => {
  const faults = [
    ...(["reset", "lost", "uncertain"] as const),
    ...[ErrorCode.NOT_LEADER, ErrorCode.UNAVAILABLE, ErrorCode.INVALID_TIMESTAMP],
  ];
  for (let seed = 1; seed <= 30; seed += 1) {
    const roll = dice(seed);
    const below = (end: number): number => Math.floor(roll() * end);
    const env = testEnv(fastClock(20));
    const { broker, client } = setUp(1, { env });
    broker.producers.batchesKept = 4 + below(13);
    let calm = false;
    broker.fault = () => (calm || roll() > 0.2 ? undefined : faults[below(faults.length)]);
    const compression = roll() < 0.5 ? "none" : "zstd";
    const producer = client.producer({ batchBytesMax: 120, compression, deliveryTimeoutMs: 3_000 });
    const sent = [];
    for (const value of numbered(`seed ${seed} value `, 150)) {
      const outcome = producer.send({ topic, value });
      outcome.catch(() => {});
      sent.push({ value, outcome });
      if (roll() < 0.2) await sleep(below(4));
      if (roll() < 0.02) broker.bodyBytesMax = 100 + below(200);
    }
    const outcomes = await Promise.allSettled(sent.map(({ outcome }) => outcome));
    calm = true;
    const read = await readAll(client);
    assert.equal(new Set(read).size, read.length, `seed ${seed}: a duplicate`);
    const order = sent.map(({ value }) => value).filter((value) => read.includes(value));
    assert.deepEqual(read, order, `seed ${seed}: order`);
    for (const [i, outcome] of outcomes.entries()) {
      const value: string = sent[i]?.value ?? "";
      if (outcome.status === "fulfilled") {
        assert.equal(read[Number(outcome.value.offset)], value, `seed ${seed}: ${value}`);
      } else if (read.includes(value)) {
        const { spec } = MillraceError.from(outcome.reason);
        assert.ok(spec.sideEffects, `seed ${seed}: ${value} is there, and was said not to be`);
      }
    }
    await producer.close().catch((thrown) => assert.ok(hasCode(thrown, ErrorCode.CANCELLED)));
  }
});
