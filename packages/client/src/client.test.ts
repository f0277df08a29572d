import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { createClient } from "./core/client.ts";
import { testEnv } from "./testing/fake-broker.ts";
import { readAll, setUp, text } from "./testing/set-up.ts";

test("what is sent comes back, with keys, headers and times", { timeout: 10_000 }, async () => {
  const { client } = setUp();
  await using producer = client.producer();
  const sent = await producer.send({
    topic: "events",
    key: "k",
    value: "v",
    headers: [{ name: "h", value: "x" }],
    timestampMs: 42,
  });
  assert.deepEqual(sent, {
    topic: "events",
    partition: 0,
    offset: 0n,
    timestampMs: 42,
    guarantee: "fsynced_quorum",
  });
  const consumer = client.consumer({ untilEnd: true });
  await consumer.assign([{ topic: "events", partition: 0, from: "earliest" }]);
  for await (const record of consumer.records()) {
    assert.equal(text(record.key), "k");
    assert.equal(text(record.headers[0]?.value ?? null), "x");
    assert.equal(record.timestampMs, 42);
  }
  assert.deepEqual(consumer.positions(), [{ topic: "events", partition: 0, offset: 1n }]);
  await client.close();
});

for (const compression of ["none", "gzip", "zstd", "lz4"] as const) {
  test(`order holds under refusals, ${compression}`, { timeout: 20_000 }, async () => {
    const { broker, client } = setUp();
    broker.fault = (n) => (n % 3 === 1 ? ErrorCode.NOT_ENOUGH_REPLICAS : undefined);
    const producer = client.producer({ compression, batchBytesMax: 500 });
    const values = Array.from({ length: 60 }, (_, i) => `value ${i}`);
    const acks = await Promise.all(
      values.map((value) => producer.send({ topic: "events", value })),
    );
    assert.deepEqual(
      acks.map(({ offset }) => Number(offset)),
      values.map((_, i) => i),
    );
    assert.deepEqual(await readAll(client), values);
    await client.close();
  });
}

test("a refused batch is not overtaken by those that were on the way with it", async () => {
  const { broker, client } = setUp();
  broker.hold = true;
  broker.fault = (n) => (n === 2 || n === 9 ? ErrorCode.NOT_ENOUGH_REPLICAS : undefined);
  const producer = client.producer({ batchBytesMax: 100, lingerMs: 0 });
  const values = Array.from({ length: 40 }, (_, i) => `value ${i}`);
  const acks = values.map((value) => producer.send({ topic: "events", value }));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(broker.requests > 4, "several were on the way at once");
  broker.release();
  await Promise.all(acks);
  assert.deepEqual(await readAll(client), values);
  await client.close();
});

test("a broken connection loses nothing, and repeats nothing", async () => {
  const { broker, client } = setUp();
  broker.fault = (n) => (n % 5 === 2 ? "reset" : undefined);
  const producer = client.producer({ batchBytesMax: 300 });
  const values = Array.from({ length: 300 }, (_, i) => `value ${i}`);
  const sent = values.map((value) => producer.send({ topic: "events", value }));
  const offsets = (await Promise.all(sent)).map(({ offset }) => Number(offset));
  assert.deepEqual(await readAll(client), values);
  assert.deepEqual(offsets, [...values.keys()]);
  assert.ok(broker.producers.duplicates > 0, "batches were sent again that were there");
  await client.close();
});

test("without idempotence a broken connection repeats, and keeps first arrivals in order", async () => {
  const { broker, client } = setUp();
  broker.fault = (n) => (n === 2 ? "reset" : undefined);
  const producer = client.producer({ batchBytesMax: 300, idempotence: false });
  const values = Array.from({ length: 30 }, (_, i) => `value ${i}`);
  await Promise.all(values.map((value) => producer.send({ topic: "events", value })));
  const read = await readAll(client);
  assert.ok(read.length > values.length, "the batch of the broken stream is there twice");
  assert.deepEqual([...new Set(read)], values);
  await client.close();
});

test("the buffer and the byte window are bounds", { timeout: 10_000 }, async () => {
  const { broker, client } = setUp(4);
  broker.windowBytes = 1000;
  broker.hold = true;
  const producer = client.producer({ bufferBytesMax: 4096, batchBytesMax: 200 });
  const value = "x".repeat(60);
  let taken = 0;
  do taken += 1;
  while (producer.write({ topic: "events", value }));
  assert.ok(taken > 10 && producer.bufferedBytes <= 4096);
  broker.release();
  for (; taken < 500; taken += 1) {
    if (!producer.write({ topic: "events", value })) await producer.drained();
    assert.ok(producer.bufferedBytes <= 4096);
  }
  await producer.flush();
  assert.equal(producer.bufferedBytes, 0);
  assert.ok(broker.peakInFlightBytes <= 1000, `${broker.peakInFlightBytes}`);
  assert.equal((await readAll(client, 4)).length, 500);
  await client.close();
});

test("records batch while the broker is busy; lingerMs makes one batch", async () => {
  const { broker, client } = setUp();
  const producer = client.producer({ lingerMs: 50 });
  const sends = [];
  for (let i = 0; i < 20; i += 1) {
    sends.push(producer.send({ topic: "events", value: `${i}` }));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(sends);
  assert.equal(broker.requests, 1);
  await client.close();
});

test("failures that no retry helps reject, and reach onError or flush", async () => {
  const { broker, client } = setUp();
  broker.fault = () => ErrorCode.INVALID_TIMESTAMP;
  const seen: number[] = [];
  const loud = client.producer({ onError: (_, { recordCount }) => seen.push(recordCount) });
  const failing = loud.send({ topic: "events", value: "a" });
  loud.write({ topic: "events", value: "b" });
  await assert.rejects(failing, (e) => hasCode(e, ErrorCode.INVALID_TIMESTAMP));
  await loud.flush();
  assert.deepEqual(seen, [1]);
  const quiet = client.producer();
  quiet.write({ topic: "events", value: "c" });
  await assert.rejects(quiet.flush(), (e) => hasCode(e, ErrorCode.INVALID_TIMESTAMP));
  await assert.rejects(quiet.send({ topic: "missing", value: "d" }), (e) =>
    hasCode(e, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
  );
  await client.close();
});

const soon = { timeout: 30_000 };

test("a batch that is never acknowledged fails at its deadline", soon, async () => {
  const { broker, client } = setUp();
  broker.fault = () => ErrorCode.NOT_ENOUGH_REPLICAS;
  const producer = client.producer({ deliveryTimeoutMs: 300 });
  await assert.rejects(producer.send({ topic: "events", value: "a" }), (e) =>
    hasCode(e, ErrorCode.DEADLINE_EXCEEDED),
  );
  await client.close();
});

test("fetched bytes stay within the buffer until the application takes them", async () => {
  const { client } = setUp();
  const producer = client.producer({ batchBytesMax: 200 });
  const value = "x".repeat(100);
  await Promise.all(Array.from({ length: 200 }, () => producer.send({ topic: "events", value })));
  const consumer = client.consumer({ untilEnd: true, bufferBytesMax: 1024 });
  await consumer.assign([{ topic: "events", partition: 0, from: "earliest" }]);
  let records = 0;
  for await (const batch of consumer.batches()) {
    records += batch.records.length;
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(consumer.bufferedBytes <= 1024 + 400, `${consumer.bufferedBytes}`);
  }
  assert.equal(records, 200);
  await client.close();
});

test("seek drops what was fetched; offsets, times and tails are found", async () => {
  const { client } = setUp();
  const producer = client.producer();
  for (let i = 0; i < 10; i += 1) {
    await producer.send({ topic: "events", value: `${i}`, timestampMs: 1000 + i });
  }
  const consumer = client.consumer();
  await consumer.assign([{ topic: "events", partition: 0, from: { offset: 5n } }]);
  const records = consumer.records();
  const next = async () => text((await records.next()).value?.value ?? null);
  assert.equal(await next(), "5");
  await consumer.seek({ topic: "events", partition: 0, to: "earliest" });
  assert.equal(await next(), "0");
  await consumer.seek({ topic: "events", partition: 0, to: { timestampMs: 1007 } });
  assert.equal(await next(), "7");
  await consumer.seek({ topic: "events", partition: 0, to: { tail: 1 } });
  assert.equal(await next(), "9");
  await client.close();
});

test("a client that has not seen the topic starts at a given offset", {
  timeout: 10_000,
}, async () => {
  const { client, broker } = setUp();
  const producer = client.producer();
  for (let i = 0; i < 3; i += 1) await producer.send({ topic: "events", value: `${i}` });
  const fresh = createClient({ dialer: broker, env: testEnv(), bootstrap: ["fake:1"] });
  const consumer = fresh.consumer();
  await consumer.assign([{ topic: "events", partition: 0, from: { offset: 2n } }]);
  assert.equal(text((await consumer.records().next()).value?.value ?? null), "2");
  await Promise.all([client.close(), fresh.close()]);
});

test("a position past the end is an error, or goes where onOutOfRange says", async () => {
  const { client } = setUp();
  await client.producer().send({ topic: "events", value: "a" });
  const strict = client.consumer();
  await strict.assign([{ topic: "events", partition: 0, from: { offset: 99 } }]);
  await assert.rejects(strict.records().next(), (e) => hasCode(e, ErrorCode.OFFSET_OUT_OF_RANGE));
  const lenient = client.consumer({ onOutOfRange: "earliest" });
  await lenient.assign([{ topic: "events", partition: 0, from: { offset: 99 } }]);
  assert.equal(text((await lenient.records().next()).value?.value ?? null), "a");
  await client.close();
});

test("an aborted iteration throws CANCELLED", async () => {
  const { client } = setUp();
  const consumer = client.consumer();
  await consumer.assign([{ topic: "events", partition: 0 }]);
  const controller = new AbortController();
  const waiting = consumer.records({ signal: controller.signal }).next();
  setImmediate(() => controller.abort());
  await assert.rejects(waiting, (e) => hasCode(e, ErrorCode.CANCELLED));
  await client.close();
});

test("a drain ends the streams without loss, repeat or failure", { timeout: 10_000 }, async () => {
  const { broker, client } = setUp();
  const producer = client.producer({ batchBytesMax: 200 });
  const consumer = client.consumer();
  await consumer.assign([{ topic: "events", partition: 0, from: "earliest" }]);
  const read: string[] = [];
  const reading = (async () => {
    for await (const { value } of consumer.records()) if (read.push(text(value)) === 40) return;
  })();
  const values = Array.from({ length: 40 }, (_, i) => `value ${i}`);
  const send = (some: string[]) =>
    Promise.all(some.map((value) => producer.send({ topic: "events", value })));
  await send(values.slice(0, 10));
  const rest = send(values.slice(10));
  broker.drain();
  await rest;
  await reading;
  assert.deepEqual(read, values);
  assert.equal(broker.endOf(0), 40);
  assert.ok(broker.streams >= 4);
  await client.close();
});

test("a paused partition gives nothing until it is resumed", async () => {
  const { client } = setUp(2);
  const producer = client.producer();
  for (const partition of [0, 1]) {
    await producer.send({ topic: "events", partition, value: `${partition}` });
  }
  const consumer = client.consumer();
  const from = "earliest" as const;
  await consumer.assign([0, 1].map((partition) => ({ topic: "events", partition, from })));
  consumer.pause({ topic: "events", partition: 0 });
  const records = consumer.records();
  assert.equal((await records.next()).value?.partition, 1);
  const second = records.next();
  await new Promise((resolve) => setTimeout(resolve, 20));
  consumer.resume({ topic: "events", partition: 0 });
  assert.equal((await second).value?.partition, 0);
  await client.close();
});

test("what waits for room keeps its order; closing fails what is not acknowledged", async () => {
  const { broker, client } = setUp();
  broker.hold = true;
  const producer = client.producer({ bufferBytesMax: 1024, batchBytesMax: 200 });
  const values = Array.from({ length: 30 }, (_, i) => `value ${i}`);
  const sends = values.map((value) => producer.send({ topic: "events", value }));
  await assert.rejects(producer.send({ topic: "events", value: "x".repeat(900) }), (e) =>
    hasCode(e, ErrorCode.ADMISSION_REJECTED),
  );
  await new Promise((resolve) => setTimeout(resolve, 10));
  broker.release();
  await Promise.all(sends);
  assert.deepEqual(await readAll(client), values);
  broker.hold = true;
  const lost = producer.send({ topic: "events", value: "lost" });
  producer.abort();
  await assert.rejects(lost, (e) => hasCode(e, ErrorCode.CANCELLED));
  await client.close();
});
