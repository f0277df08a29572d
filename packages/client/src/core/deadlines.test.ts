/** How soon a leader is left that hangs: it takes connections and requests, and says nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { FakeBroker } from "../testing/fake-broker.ts";
import { fastClock, testEnv } from "../testing/fake-broker.ts";
import { setUp, text, until, withoutWatch, writeBatch } from "../testing/set-up.ts";
import type { Client } from "./client.ts";
import { fetchSilentMs, leaderSilentMs, replacedSilentMs } from "./deadlines.ts";

const limit = { timeout: 10_000 };
const factor = 5;
/** What the way to the new leader takes, and what timers of a busy machine add, milliseconds. */
const slackMs = 4_000;
const record = { topic: "events", partition: 0, value: "v" };

/** Two brokers, of which the first leads; time passes five times as fast. */
const hurried = (first = 1): { broker: FakeBroker; client: Client } => {
  const bootstrap = first === 1 ? ["fake:1", "fake:2"] : ["fake:2", "fake:1"];
  const made = setUp(1, { env: testEnv(fastClock(factor)), bootstrap });
  made.broker.factor = factor;
  made.broker.watches.beatMs = 5_000 / factor;
  made.broker.checksLeaders = true;
  return made;
};

/** The leader hangs, and another one is elected. */
const hang = (broker: FakeBroker): void => {
  broker.silent.add("fake:1");
  broker.epochs.set(0, 1);
  broker.lead(0, 2);
};

/** Time that passed for the client, milliseconds. */
const timed = async (action: () => Promise<unknown>): Promise<number> => {
  const startedMs = performance.now();
  await action();
  return (performance.now() - startedMs) * factor;
};

const within = (ms: number): void => {
  assert.ok(ms > 2_000, `${ms}: the leader hangs`);
  assert.ok(ms < 10_000 + slackMs, `${ms}`);
};

/** Less than the nine seconds that an answer is waited for where the leader is still the same. */
const soon = (ms: number): void => assert.ok(ms < leaderSilentMs - 500, `${ms}`);

test("a producer leaves a leader that hangs, and the watch that it served", limit, async () => {
  const { broker, client } = hurried();
  // By itself the watch would count as dead after 16.5 s.
  broker.watches.heartbeatIntervalMs = 5_500;
  broker.watches.beatMs = 50;
  const producer = client.producer();
  await producer.send(record);
  broker.silent.add("fake:1");
  const sent = producer.send(record);
  await sleep(5);
  hang(broker);
  soon(await timed(() => sent));
  assert.equal(broker.seen.at(-1)?.endpoint, "fake:2");
  assert.deepEqual(
    broker.watches.requests.map(({ endpoint }) => endpoint),
    ["fake:1", "fake:2"],
  );
});

test("a silent leader is left once another leads", limit, async () => {
  const { broker, client } = hurried(2);
  const producer = client.producer();
  await producer.send(record);
  broker.silent.add("fake:1");
  const sent = producer.send(record);
  await sleep(replacedSilentMs / factor + 50);
  hang(broker);
  assert.ok((await timed(() => sent)) < leaderSilentMs - replacedSilentMs - 500);
});

test("a leader that was replaced has a while to answer", limit, async () => {
  const { broker, client } = hurried(2);
  const producer = client.producer();
  await producer.send(record);
  broker.silent.add("fake:1");
  const sent = producer.send(record);
  await sleep(5);
  hang(broker);
  const ms = await timed(() => sent);
  assert.ok(ms > replacedSilentMs - 100, `${ms}`);
  soon(ms);
});

test("a batch that a silent leader had is sent again, in its place", limit, async () => {
  const { broker, client } = hurried(2);
  const producer = client.producer();
  await producer.send({ ...record, value: "0" });
  broker.hold = true;
  const sent = [producer.send({ ...record, value: "1" })];
  await sleep(20);
  sent.push(producer.send({ ...record, value: "2" }));
  await sleep(20);
  assert.equal(broker.requests, 3, "the leader has them, and does not say so");
  broker.hold = false;
  hang(broker);
  within(await timed(() => Promise.all(sent)));
  const again = broker.seen.slice(3);
  assert.ok(again.every(({ endpoint, orderEpoch }) => endpoint === "fake:2" && orderEpoch > 1));
  const offsets = (await Promise.all(sent)).map(({ offset }) => Number(offset));
  assert.deepEqual(
    offsets,
    [...offsets].sort((a, b) => a - b),
  );
});

test("without a watch a batch is sent again where it waits for long", limit, async () => {
  const { broker, client } = hurried(2);
  withoutWatch(broker);
  const producer = client.producer();
  await producer.send(record);
  broker.silent.add("fake:1");
  const sent = producer.send(record);
  await sleep(5);
  hang(broker);
  within(await timed(() => sent));
});

test("a watch that is overdue is left when a stream to its server breaks", limit, async () => {
  const { broker, client } = hurried();
  const producer = client.producer();
  await producer.send(record);
  broker.silent.add("fake:1");
  // By itself the watch would count as dead after 15 s.
  await sleep(9_000 / factor);
  hang(broker);
  broker.cutProduce();
  const ms = await timed(() => producer.send(record));
  assert.ok(ms < replacedSilentMs - 500, `${ms}`);
  assert.deepEqual(
    broker.watches.requests.map(({ endpoint }) => endpoint),
    ["fake:1", "fake:2"],
  );
});

test("a produce stream that a leader does not open is given up", limit, async () => {
  const { broker, client } = hurried(2);
  await client.partitionCount("events");
  broker.silent.add("fake:1");
  const sent = client.producer().send(record);
  await sleep(20);
  withoutWatch(broker);
  broker.watches.cut();
  await sleep(100);
  hang(broker);
  within(await timed(() => sent));
});

for (const heartbeatMs of [0, 5_000]) {
  const which = heartbeatMs === 0 ? "does not open it" : "hangs";
  test(`a reader leaves the stream to a leader that ${which}`, limit, async () => {
    const { broker, client } = hurried(2);
    withoutWatch(broker);
    broker.fetchHeartbeatMs = heartbeatMs;
    await writeBatch(client, ["a"]);
    const consumer = client.consumer();
    await consumer.assign([{ topic: "events", partition: 0, from: "earliest" }]);
    const records = consumer.records();
    if (heartbeatMs === 0) broker.silent.add("fake:1");
    else assert.equal(text((await records.next()).value?.value ?? null), "a");
    const before = broker.added.length;
    hang(broker);
    within(await timed(() => until(() => broker.added.length > before)));
    await client.producer().send({ ...record, value: "b" });
    const want = heartbeatMs === 0 ? "a" : "b";
    assert.equal(text((await records.next()).value?.value ?? null), want);
  });
}

test("a call to a leader that hangs is made again at the new one", limit, async () => {
  const { broker, client } = hurried(2);
  await client.producer().send(record);
  broker.silent.add("fake:1");
  const found = client.admin.listOffset({ topic: "events", partition: 0, at: "latest" });
  await sleep(5);
  hang(broker);
  within(await timed(() => found));
  assert.equal((await found)?.offset, 1n);
});

test("all records are those of now, also when the call is made again", limit, async () => {
  const { broker, client } = hurried(2);
  await writeBatch(client, ["a", "b"]);
  let calls = 0;
  const lost = new MillraceError(ErrorCode.UNAVAILABLE, "the connection broke");
  broker.callFault = (path) => {
    if (!path.endsWith("/DeleteRecords") || calls > 0) return undefined;
    calls += 1;
    return lost;
  };
  const deleted = client.admin.deleteRecords({ topic: "events", partition: 0 });
  await until(() => calls === 1);
  await writeBatch(client, ["c"]);
  await deleted;
  assert.deepEqual(broker.deletedBefore, [2n]);
  await client.admin.deleteRecords({ topic: "events", partition: 0, beforeOffset: 1n });
  assert.deepEqual(broker.deletedBefore, [2n, 1n]);
});

test("silence is told from rare heartbeats", () => {
  assert.equal(leaderSilentMs, 9_000);
  assert.equal(fetchSilentMs(0), 0, "no heartbeats are promised");
  assert.equal(fetchSilentMs(1_000), 3_000);
  assert.equal(fetchSilentMs(5_000), 9_000);
  assert.equal(fetchSilentMs(20_000), 31_000, "the latest heartbeat in time comes after 30 s");
});
