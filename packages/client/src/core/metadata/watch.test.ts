/** How a client follows the metadata, and what it does when the watch breaks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { type FakeBroker, testEnv } from "../../testing/fake-broker.ts";
import { numbered, setUp, text, until, withoutWatch } from "../../testing/set-up.ts";

const limit = { timeout: 10_000 };

/** Servers that were asked to watch, in order. */
const watched = ({ watches }: FakeBroker): string[] =>
  watches.requests.map(({ endpoint }) => endpoint);

const two = { bootstrap: ["fake:1", "fake:2"] };
const record = { topic: "events", partition: 0, value: "v" };

test("one stream is opened when a topic is first needed, and serves everybody", limit, async () => {
  const { broker, client } = setUp(2);
  await client.admin.cluster();
  assert.deepEqual(watched(broker), []);
  await client.producer().send(record);
  await client.producer().send(record);
  assert.equal(
    (await client.admin.listOffset({ topic: "events", partition: 1, at: "latest" }))?.offset,
    0n,
  );
  assert.deepEqual(watched(broker), ["fake:1"]);
  const [first] = broker.watches.requests;
  assert.deepEqual(first?.request.topics, ["events"]);
  assert.equal(first?.request.afterRevision, 0n);
  assert.equal(broker.asked.length, 1, "nothing is asked for what the watch tells");
});

test("a leader that moved is known without a question", limit, async () => {
  const { broker, client } = setUp(1);
  broker.checksLeaders = true;
  const producer = client.producer();
  await producer.send(record);
  broker.epochs.set(0, 1);
  broker.lead(0, 2);
  await sleep(50);
  await producer.send(record);
  assert.deepEqual(
    broker.seen.map(({ endpoint }) => endpoint),
    ["fake:1", "fake:2"],
    "the old leader is not asked",
  );
  assert.deepEqual([broker.asked.length, watched(broker).length], [0, 1]);
});

test("a batch that waits for a leader goes when there is one", limit, async () => {
  const { broker, client } = setUp(1);
  const producer = client.producer();
  await producer.send(record);
  broker.listed = [];
  broker.revision += 1n;
  await sleep(50);
  const sent = producer.send(record);
  await sleep(1_500);
  broker.listed = [1, 2];
  broker.revision += 1n;
  const startedMs = performance.now();
  await sent;
  assert.ok(performance.now() - startedMs < 200, "it does not wait for the end of a pause");
  assert.deepEqual([broker.asked.length, watched(broker).length], [0, 1]);
});

test("a reader goes on at the new leader although the old one says nothing", limit, async () => {
  const { broker, client } = setUp(1, { bootstrap: ["fake:2", "fake:1"] });
  const consumer = client.consumer();
  await consumer.assign([{ topic: "events", partition: 0, from: "earliest" }]);
  const records = consumer.records();
  await client.producer().send({ ...record, value: "a" });
  assert.equal(text((await records.next()).value?.value ?? null), "a");
  broker.silent.add("fake:1");
  broker.epochs.set(0, 1);
  broker.lead(0, 2);
  await sleep(50);
  await client.producer().send({ ...record, value: "b" });
  assert.equal(text((await records.next()).value?.value ?? null), "b");
});

test("topics that are added share a new stream, and the old one ends", limit, async () => {
  const { broker, client } = setUp(1);
  await client.producer().send(record);
  const missing = ["x", "y"].map((topic) => client.producer().send({ ...record, topic }));
  await until(() => watched(broker).length === 2);
  assert.deepEqual(broker.watches.requests[1]?.request.topics, ["events", "x", "y"]);
  assert.equal(broker.watches.requests[1]?.request.afterRevision, 0n, "nothing is known of these");
  await until(() => broker.watches.open === 1);
  for (const one of await Promise.allSettled(missing)) assert.equal(one.status, "rejected");
  await client.producer().send(record);
  assert.equal(watched(broker).length, 2);
});

test("a topic that is added while the stream opens is followed, too", limit, async () => {
  const { broker, client } = setUp(1);
  broker.others = ["more"];
  broker.watches.muted = true;
  const sent = client.producer().send(record);
  await until(() => watched(broker).length === 1);
  assert.equal(await client.partitionCount("more"), 1);
  await sleep(30);
  broker.watches.muted = false;
  await sent;
  await until(() => watched(broker).length === 2);
  assert.deepEqual(broker.watches.requests[1]?.request.topics, ["events", "more"]);
});

test("a topic that is created while it is waited for is found by the watch", limit, async () => {
  // Pauses are as long as they may be: 50, 100 and 200 ms, and the rest of 700 ms.
  const random = { float: () => 1, below: () => 0, bytes: (n: number) => new Uint8Array(n) };
  const { broker, client } = setUp(1, { env: { ...testEnv(), random } });
  broker.exists = false;
  const sent = client.producer().send(record);
  await sleep(450);
  broker.exists = true;
  broker.revision += 1n;
  const startedMs = performance.now();
  await sent;
  assert.ok(performance.now() - startedMs < 150, "it does not wait for the end of a pause");
  assert.deepEqual([broker.asked.length, watched(broker).length], [0, 1]);
});

test(
  "a broken watch is resumed at another server, from the revision that it reached",
  limit,
  async () => {
    const { broker, client } = setUp(1, two);
    broker.revision = 5n;
    const producer = client.producer();
    await producer.send(record);
    broker.watches.cut();
    broker.epochs.set(0, 1);
    broker.lead(0, 2);
    await until(() => broker.watches.requests.length === 2);
    await producer.send(record);
    await sleep(50);
    await producer.send(record);
    assert.equal(broker.seen.at(-1)?.endpoint, "fake:2");
    assert.deepEqual(watched(broker), ["fake:1", "fake:2"]);
    const { afterRevision, generation } = broker.watches.requests[1]?.request ?? {};
    assert.equal(afterRevision, 5n);
    assert.deepEqual(generation, broker.generation);
    assert.equal(broker.asked.length, 0);
  },
);

test("a server that no longer knows what changed lists everything", limit, async () => {
  const { broker, client } = setUp(2);
  const producer = client.producer();
  await producer.send(record);
  broker.watches.cut();
  broker.watches.forget();
  broker.recreate(1);
  await until(() => broker.watches.open === 1);
  await sleep(50);
  await assert.rejects(producer.send({ ...record, partition: 1 }), (thrown) =>
    hasCode(thrown, ErrorCode.INVALID_REQUEST),
  );
  await producer.send(record);
});

test(
  "changes that do not fit what is known are answered by asking for everything",
  limit,
  async () => {
    const { broker, client } = setUp(1, two);
    const producer = client.producer();
    await producer.send(record);
    const partition = { partition: 7, leaderEpoch: 1 };
    broker.watches.tell({ revision: 2n, routes: [{ topicId: broker.topicId, partition }] });
    await until(() => broker.watches.requests.length === 2);
    assert.equal(broker.watches.requests[1]?.request.afterRevision, 0n);
    await producer.send(record);
  },
);

test("a server that falls silent for three intervals is replaced", limit, async () => {
  const { broker, client } = setUp(1, two);
  broker.watches.heartbeatIntervalMs = 100;
  const producer = client.producer();
  await producer.send(record);
  await sleep(500);
  assert.deepEqual(watched(broker), ["fake:1"], "heartbeats keep the stream");
  broker.silent.add("fake:1");
  const startedMs = performance.now();
  await until(() => broker.watches.requests.length === 2);
  const waitedMs = performance.now() - startedMs;
  assert.ok(waitedMs > 150 && waitedMs < 500, `${waitedMs}`);
  assert.deepEqual(watched(broker), ["fake:1", "fake:2"], "the silent one is not asked first");
});

test("hung and refusing servers do not delay the watch", limit, async () => {
  const { broker, client } = setUp(1, { bootstrap: ["fake:9", "fake:8", "fake:1"] });
  broker.silent.add("fake:9");
  const refusal = new MillraceError(ErrorCode.UNAVAILABLE, "refused");
  broker.watches.fault = (endpoint) => (endpoint === "fake:8" ? refusal : undefined);
  const startedMs = performance.now();
  await client.producer().send(record);
  const waitedMs = performance.now() - startedMs;
  assert.ok(waitedMs < 450, `${waitedMs}`);
  assert.deepEqual(watched(broker), ["fake:9", "fake:8", "fake:1"]);
  await until(() => broker.watches.open === 1);
});

test(
  "a newer generation replaces everything, and an older one is refused from then on",
  limit,
  async () => {
    const { broker, client } = setUp(3, two);
    broker.revision = 100n;
    const producer = client.producer();
    await producer.send(record);
    const old = broker.generation;
    broker.generation = new Uint8Array(16).fill(2);
    broker.revision = 3n;
    broker.logs.pop();
    await until(() => broker.watches.open === 1 && broker.watches.requests.length === 2);
    await sleep(50);
    const lacking = { ...record, partition: 2 };
    await assert.rejects(producer.send(lacking), (thrown) =>
      hasCode(thrown, ErrorCode.INVALID_REQUEST),
    );
    // A server that is left behind in the old generation.
    broker.generation = old;
    broker.revision = 101n;
    broker.leaders.set(0, 2);
    await until(() => broker.watches.requests.length >= 4);
    await assert.rejects(client.admin.cluster(), (thrown) =>
      hasCode(thrown, ErrorCode.METADATA_STALE),
    );
    await producer.send(record);
    assert.equal(broker.seen.at(-1)?.endpoint, "fake:1");
    await assert.rejects(producer.send(lacking));
  },
);

test("a generation that an answer shows first makes the watch begin anew", limit, async () => {
  const { broker, client } = setUp(1, two);
  await client.producer().send(record);
  // The server of the watch does not notice.
  broker.silent.add("fake:1");
  broker.generation = new Uint8Array(16).fill(2);
  await client.admin.cluster();
  await until(() => broker.watches.requests.length >= 2);
  const { request } = broker.watches.requests.at(-1) ?? {};
  assert.equal(request?.afterRevision, 0n);
  broker.silent.clear();
  await client.producer().send(record);
});

test("servers without WatchMetadata are asked on demand, and at a maximum age", limit, async () => {
  const { broker, client } = setUp(1, { metadataMaxAgeMs: 200 });
  broker.checksLeaders = true;
  withoutWatch(broker);
  const producer = client.producer();
  await producer.send(record);
  assert.deepEqual([watched(broker).length, broker.asked.length], [1, 1]);
  broker.lead(0, 2);
  await producer.send(record);
  assert.equal(broker.seen.at(-1)?.endpoint, "fake:2");
  assert.ok(broker.asked.length >= 2);
  await sleep(450);
  assert.ok(broker.asked.length >= 4);
  broker.watches.fault = () => undefined;
  await until(() => broker.watches.open === 1);
  const asked = broker.asked.length;
  await sleep(450);
  assert.equal(broker.asked.length, asked, "once servers have it, it is used");
});

test("servers without WatchMetadata are not asked for it in vain", limit, async () => {
  const { broker, client } = setUp(1);
  withoutWatch(broker);
  const producer = client.producer();
  await producer.send(record);
  await sleep(300);
  await producer.send(record);
  assert.deepEqual([watched(broker).length, broker.asked.length], [1, 1]);
});

test("one server without WatchMetadata does not keep the client from another", limit, async () => {
  const { broker, client } = setUp(1, two);
  const lacks = new MillraceError(ErrorCode.UNSUPPORTED_OPERATION, "not served");
  broker.watches.fault = (endpoint) => (endpoint === "fake:1" ? lacks : undefined);
  await client.producer().send(record);
  assert.deepEqual([broker.watches.open, broker.asked.length], [1, 0]);
});

test("errors of the watch fail nothing that can go on by what is known", limit, async () => {
  const { broker, client } = setUp(1, two);
  const producer = client.producer();
  await producer.send(record);
  broker.watches.fault = () => new MillraceError(ErrorCode.INTERNAL, "the watch is broken");
  broker.watches.cut();
  await sleep(100);
  for (const value of numbered("v", 20)) await producer.send({ ...record, value });
  assert.equal(broker.asked.length, 0);
  broker.fault = (n) => (n === 22 ? ErrorCode.NOT_LEADER : undefined);
  await producer.send(record);
  // And a topic that is new is looked for by GetMetadata.
  const other = setUp(1);
  other.broker.watches.fault = () => new MillraceError(ErrorCode.INTERNAL, "the watch is broken");
  await other.client.producer().send(record);
});

test("attempts to watch are paused longer and longer", limit, async () => {
  const { broker, client } = setUp(1);
  broker.listed = [1];
  const producer = client.producer();
  await producer.send(record);
  broker.watches.fault = () => new MillraceError(ErrorCode.UNAVAILABLE, "down");
  broker.watches.cut();
  await sleep(1_500);
  // Nominal pauses are 50, 50, 100, 200, 400 and 800 ms, of which at least half is kept.
  assert.ok(watched(broker).length <= 9, `${watched(broker).length}`);
});

test("a server that ends every watch at once is not asked in a loop", limit, async () => {
  const { broker, client } = setUp(1);
  const producer = client.producer();
  await producer.send(record);
  const stopAt = performance.now() + 1_500;
  while (performance.now() < stopAt) {
    broker.watches.cut();
    await sleep(5);
  }
  assert.ok(watched(broker).length <= 10, `${watched(broker).length}`);
  await producer.send(record);
});

test("a hint counts only when its revision is newer than what the watch told", limit, async () => {
  const { broker, client } = setUp(1);
  broker.revision = 10n;
  const producer = client.producer();
  await producer.send(record);
  const endpoint = { host: "fake", port: 2, listener: "", tls: false, authority: "" };
  broker.leaderHint = { brokerId: 2, leaderEpoch: 1, metadataRevision: 10, endpoint };
  broker.fault = (n) => (n === 2 || n === 4 ? ErrorCode.NOT_LEADER : undefined);
  await producer.send(record);
  assert.equal(broker.seen.at(-1)?.endpoint, "fake:1");
  broker.leaderHint = { ...broker.leaderHint, metadataRevision: 11 };
  await producer.send(record);
  assert.equal(broker.seen.at(-1)?.endpoint, "fake:2");
});

test("closing the client ends the watch", limit, async () => {
  const { broker, client } = setUp(1);
  await client.producer().send(record);
  await client.close();
  await until(() => broker.watches.open === 0);
  await sleep(200);
  assert.equal(watched(broker).length, 1);
});
