/** Where records go, in what order, and what happens to those that are refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode, hasCode } from "@millrace/errors";
import { numbered, readAll, setUp } from "../../testing/set-up.ts";

const limit = { timeout: 8_000 };

const isTooLarge = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.MESSAGE_TOO_LARGE);
const isUnknown = (thrown: unknown): boolean =>
  hasCode(thrown, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);

test("partitions that others add are reached by number and by key", limit, async () => {
  const { broker, client } = setUp();
  const producer = client.producer();
  await producer.send({ topic: "events", key: "k", value: "x" });
  broker.addPartitions(7);
  const { partition } = await producer.send({ topic: "events", partition: 7, value: "x" });
  assert.equal(partition, 7);
  const other = client.producer();
  assert.equal((await other.send({ topic: "events", partition: 6, value: "x" })).partition, 6);
  const used = new Set<number>();
  for (const key of numbered("key", 40)) {
    const mine = await producer.send({ topic: "events", key, value: "x" });
    const theirs = await other.send({ topic: "events", key, value: "x" });
    assert.equal(mine.partition, theirs.partition, key);
    used.add(mine.partition);
  }
  assert.ok(used.size > 4, [...used].join());
  await client.close();
});

test("keyless records use added partitions too", limit, async () => {
  const { broker, client } = setUp(1, { metadataMaxAgeMs: 100 });
  const producer = client.producer();
  await producer.send({ topic: "events", value: "x" });
  broker.addPartitions(9);
  await sleep(250);
  const used = new Set<number>();
  for (let i = 0; i < 40; i += 1) {
    used.add((await producer.send({ topic: "events", value: "x" })).partition);
  }
  assert.ok(used.size > 4, [...used].join());
});

test("a partition that does not exist fails its record alone", limit, async () => {
  const { client } = setUp();
  const producer = client.producer();
  const wrong = { topic: "events", partition: 3, value: "wrong" };
  const sent = [
    producer.send({ topic: "events", value: "a" }),
    producer.send(wrong),
    producer.send({ topic: "events", value: "b" }),
  ];
  const outcomes = await Promise.allSettled(sent);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  await assert.rejects(producer.send(wrong), (thrown) =>
    hasCode(thrown, ErrorCode.INVALID_REQUEST),
  );
  producer.write(wrong);
  await assert.rejects(producer.flush(), (thrown) => hasCode(thrown, ErrorCode.INVALID_REQUEST));
  assert.deepEqual(await readAll(client), ["a", "b"]);
  assert.equal(producer.bufferedBytes, 0);
});

test(
  "a topic made again with fewer partitions takes keyed records where they belong",
  limit,
  async () => {
    const { broker, client } = setUp(8);
    const producer = client.producer();
    for (const key of numbered("k", 20)) producer.write({ topic: "events", key, value: "x" });
    await producer.flush();
    broker.recreate(1);
    await client.partitionCount("events");
    for (const key of numbered("k", 20)) {
      assert.equal((await producer.send({ topic: "events", key, value: "x" })).partition, 0);
    }
  },
);

test(
  "records of a partition that is gone fail, and do not wait for their deadline",
  limit,
  async () => {
    const { broker, client } = setUp(2);
    const producer = client.producer({ lingerMs: 100, batchBytesMax: 100 });
    await producer.send({ topic: "events", partition: 1, value: "x" });
    const sent = numbered("late", 5).map((value) =>
      producer.send({ topic: "events", partition: 1, value }),
    );
    broker.recreate(1);
    for (const outcome of await Promise.allSettled(sent)) {
      assert.ok(outcome.status === "rejected" && isUnknown(outcome.reason));
    }
  },
);

for (const compression of ["none", "zstd"] as const) {
  test(
    `batches above the topic's limit are split, in order, and remembered (${compression})`,
    limit,
    async () => {
      const { broker, client } = setUp();
      broker.bodyBytesMax = compression === "none" ? 1000 : 300;
      const producer = client.producer({ lingerMs: 20, compression });
      const values = numbered("some longer value of a record ", 200);
      const sent = values.map((value) => producer.send({ topic: "events", value }));
      const quiet = values.map((value) => producer.write({ topic: "events", value: `q${value}` }));
      assert.ok(quiet.every((taken) => taken));
      await producer.flush();
      const acks = await Promise.all(sent);
      assert.deepEqual(
        acks.map(({ offset }) => Number(offset)),
        values.map((_, i) => i),
      );
      assert.equal(producer.bufferedBytes, 0);
      assert.deepEqual(await readAll(client), [...values, ...values.map((value) => `q${value}`)]);
      const before = broker.requests;
      for (const value of values) producer.write({ topic: "events", value });
      await producer.flush();
      const stored = broker.logs[0]?.length ?? 0;
      assert.ok(broker.requests - before <= stored, "later batches are not refused again");
      assert.equal(
        (broker.seen.at(-1)?.info.recordCount ?? 0) > 1,
        true,
        "later batches have company",
      );
      const accepted = broker.seen
        .slice(before)
        .reduce((sum, one) => sum + one.info.recordCount, 0);
      assert.equal(accepted, 200);
    },
  );
}

test("one record that is too large fails alone", limit, async () => {
  const { broker, client } = setUp();
  broker.bodyBytesMax = 2000;
  const producer = client.producer({ lingerMs: 20 });
  const values = numbered("small", 21);
  values[10] = "L".repeat(3000);
  const outcomes = await Promise.allSettled(
    values.map((value) => producer.send({ topic: "events", value })),
  );
  for (const [i, outcome] of outcomes.entries()) {
    if (i === 10) assert.ok(outcome.status === "rejected" && isTooLarge(outcome.reason));
    else assert.ok(outcome.status === "fulfilled", `${i}`);
  }
  assert.deepEqual(
    await readAll(client),
    values.filter((_, i) => i !== 10),
  );
});

test("nothing overtakes a batch above the server's own limit", limit, async () => {
  const { broker, client } = setUp();
  broker.messageBytesMax = 2000;
  const producer = client.producer({ batchBytesMax: 4000, lingerMs: 0 });
  const values = ["L", "M", "N", "s", "t", "u"].map((letter) => letter.repeat(1200));
  await Promise.all([...values, "last"].map((value) => producer.send({ topic: "events", value })));
  assert.deepEqual(await readAll(client), [...values, "last"]);
  assert.deepEqual(broker.producers.refusals, []);
});

test("a batch above the server's own limit is split without being sent", limit, async () => {
  const { broker, client } = setUp();
  broker.messageBytesMax = 2000;
  const producer = client.producer({ lingerMs: 20 });
  const values = numbered("some longer value ", 200);
  await Promise.all(values.map((value) => producer.send({ topic: "events", value })));
  assert.deepEqual(await readAll(client), values);
  await assert.rejects(producer.send({ topic: "events", value: "L".repeat(3000) }), isTooLarge);
});

test(
  "records wait for the old leader's answers before they go to a new leader",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer();
    await producer.send({ topic: "events", value: "first" });
    broker.hold = true;
    const held = producer.send({ topic: "events", value: "held" });
    await sleep(20);
    broker.lead(0, 2);
    await client.admin.cluster();
    const next = producer.send({ topic: "events", value: "next" });
    await sleep(50);
    assert.deepEqual(
      broker.seen.map(({ endpoint }) => endpoint),
      ["fake:1", "fake:1"],
    );
    broker.release();
    assert.equal((await held).offset, 1n);
    assert.equal((await next).offset, 2n);
    assert.equal(broker.seen.at(-1)?.endpoint, "fake:2");
  },
);

test("at most inFlightPerPartitionMax batches of a partition are on the way", limit, async () => {
  const { broker, client } = setUp();
  const producer = client.producer({ inFlightPerPartitionMax: 3, batchBytesMax: 50, lingerMs: 0 });
  await producer.send({ topic: "events", value: "first" });
  broker.hold = true;
  const sent = numbered("a longer value ", 20).map((value) =>
    producer.send({ topic: "events", value }),
  );
  await sleep(50);
  assert.equal(broker.requests, 4);
  broker.release();
  await Promise.all(sent);
});

test("behind a failed batch nothing is sent that the broker would refuse", limit, async () => {
  const { broker, client } = setUp();
  broker.fault = (n) => (n === 2 ? ErrorCode.NOT_ENOUGH_REPLICAS : undefined);
  const producer = client.producer({ inFlightPerPartitionMax: 4, batchBytesMax: 50, lingerMs: 0 });
  const values = numbered("a longer value ", 60);
  await Promise.all(values.map((value) => producer.send({ topic: "events", value })));
  const stored = broker.logs[0]?.length ?? 0;
  assert.ok(stored > 20 && broker.requests <= stored + 8, `${broker.requests} for ${stored}`);
  assert.deepEqual(await readAll(client), values);
});

test("a retry waits, and raises the order epoch of its partition", limit, async () => {
  const { broker, client } = setUp();
  const times: number[] = [];
  broker.fault = (n) => {
    times.push(performance.now());
    return n <= 3 ? ErrorCode.NOT_ENOUGH_REPLICAS : undefined;
  };
  const producer = client.producer();
  await producer.send({ topic: "events", value: "a" });
  assert.deepEqual(
    broker.seen.map(({ orderEpoch }) => orderEpoch),
    [1, 2, 3, 4],
  );
  const pauses = times.slice(1).map((ms, i) => ms - (times[i] ?? 0));
  // Nominal pauses are 50, 100 and 200 ms, of which at least half is kept.
  assert.ok((pauses[0] ?? 0) >= 24 && (pauses[1] ?? 0) >= 49 && (pauses[2] ?? 0) >= 99);
});

test(
  "a broker that does not answer loses its stream, and the batch is sent again",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer({ requestTimeoutMs: 200, deliveryTimeoutMs: 10_000 });
    await producer.send({ topic: "events", value: "first" });
    const before = broker.streams;
    broker.hold = true;
    const sent = producer.send({ topic: "events", value: "a" });
    await sleep(1500);
    broker.hold = false;
    await sent;
    assert.ok(broker.streams > before);
  },
);

test("the bodies in flight to a broker fit its window", limit, async () => {
  const { broker, client } = setUp(4);
  // Between five and six batches of some 165 bytes, so that one too many is always over it.
  broker.windowBytes = 920;
  const producer = client.producer({ batchBytesMax: 200, lingerMs: 0 });
  await producer.send({ topic: "events", value: "first" });
  broker.hold = true;
  const sent = numbered("x".repeat(60), 100).map((value, i) =>
    producer.send({ topic: "events", partition: i % 4, value }),
  );
  // Held until the sender has sent what it will: one that heeds no window goes on.
  for (let peak = -1; peak <= 700 || peak < broker.peakInFlightBytes; await sleep(50))
    peak = broker.peakInFlightBytes;
  broker.release();
  await Promise.all(sent);
  assert.ok(broker.peakInFlightBytes <= 920, `${broker.peakInFlightBytes}`);
});

test("keyless records share a partition until their batch closes", limit, async () => {
  const { broker, client } = setUp(16);
  const producer = client.producer({ lingerMs: 20 });
  const sent = numbered("v", 50).map((value) => producer.send({ topic: "events", value }));
  const partitions = new Set((await Promise.all(sent)).map(({ partition }) => partition));
  assert.equal(partitions.size, 1);
  assert.equal(broker.requests, 1);
});

test("a partitioner decides, and is told when it decides wrongly", limit, async () => {
  const { client } = setUp(4);
  const producer = client.producer({
    partitioner: ({ value }, count) => (value === "wrong" ? count : count - 1),
  });
  assert.equal((await producer.send({ topic: "events", value: "x" })).partition, 3);
  assert.throws(
    () => producer.write({ topic: "events", value: "wrong" }),
    (thrown) => hasCode(thrown, ErrorCode.INVALID_REQUEST),
  );
});
