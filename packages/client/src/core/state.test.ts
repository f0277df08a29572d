/** What `onState` tells, and when. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode } from "@millrace/errors";
import { Outages } from "../testing/outages.ts";
import { setUp, until } from "../testing/set-up.ts";
import type { ConsumerState } from "./types.ts";

const limit = { timeout: 20_000 };

interface Told {
  readonly states: ConsumerState[];
  readonly onState: (state: ConsumerState) => void;
  /** Types as they were told, without repetitions. */
  types(): string[];
  has(type: ConsumerState["type"]): boolean;
}

const listener = (): Told => {
  const states: ConsumerState[] = [];
  return {
    states,
    onState: (state) => states.push(state),
    types: () => states.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1]),
    has: (type) => states.some((state) => state.type === type),
  };
};

/** A client whose servers can go down. */
const broken = () => {
  const { broker } = setUp();
  const outages = new Outages(broker);
  const { client } = setUp(1, { dialer: outages });
  return { broker, client, outages };
};

test(
  "a producer tells of a lost server, how long it waits, and that it goes on",
  limit,
  async () => {
    const { client, outages } = broken();
    const told = listener();
    const producer = client.producer({ onState: told.onState });
    await producer.send({ topic: "events", value: "before" });
    assert.equal(told.states.length, 0);
    const lostMs = performance.now();
    outages.down("fake:1");
    await until(() => told.has("connection_lost"));
    assert.ok(performance.now() - lostMs < 1_000);
    const sent = producer.send({ topic: "events", value: "meanwhile" });
    await until(() => told.states.filter(({ type }) => type === "waiting").length >= 2);
    assert.ok(performance.now() - lostMs < 3_500);
    outages.up("fake:1");
    await sent;
    await until(() => told.has("resumed"));
    assert.deepEqual(told.types(), ["connection_lost", "waiting", "resumed"]);
    const [lost, waiting, again] = told.states;
    assert.ok(lost?.type === "connection_lost" && lost.server === "fake:1");
    assert.equal(lost.error.code, ErrorCode.UNAVAILABLE);
    assert.ok(waiting?.type === "waiting" && again?.type === "waiting");
    assert.deepEqual(waiting.partitions, [{ topic: "events", partition: 0 }]);
    assert.ok(waiting.waitedMs >= 1_000 && again.waitedMs >= waiting.waitedMs + 900);
    assert.ok(Math.abs(Date.now() - waiting.waitedMs - waiting.sinceMs) < 5_000);
  },
);

test("an idle producer says that it goes on only when its server is back", limit, async () => {
  const { client, outages } = broken();
  const told = listener();
  const producer = client.producer({ onState: told.onState });
  await producer.send({ topic: "events", value: "before" });
  outages.down("fake:1");
  await until(() => told.has("waiting"));
  assert.ok(!told.has("resumed"));
  outages.up("fake:1");
  await until(() => told.has("resumed"));
});

test("a server that is stopping counts as lost, also for an idle producer", limit, async () => {
  const { broker, client, outages } = broken();
  const told = listener();
  const producer = client.producer({ onState: told.onState });
  await producer.send({ topic: "events", value: "before" });
  broker.drain();
  await until(() => told.has("connection_lost"));
  const [lost] = told.states;
  assert.ok(lost?.type === "connection_lost" && lost.error.code === ErrorCode.SHUTTING_DOWN);
  outages.up("fake:1");
  await until(() => told.has("resumed"));
});

test("a server that does not answer holds a producer up", limit, async () => {
  const { broker, client } = broken();
  const told = listener();
  const producer = client.producer({ onState: told.onState });
  await producer.send({ topic: "events", value: "before" });
  broker.hold = true;
  const sentMs = performance.now();
  const sent = producer.send({ topic: "events", value: "held" });
  await until(() => told.has("waiting"));
  const tookMs = performance.now() - sentMs;
  assert.ok(tookMs > 1_500 && tookMs < 3_500, `${tookMs}`);
  const [waiting] = told.states;
  assert.ok(waiting?.type === "waiting");
  assert.match(waiting.error.message, /fake:1 has not answered for \d\.\d s/);
  broker.release();
  await sent;
  await until(() => told.has("resumed"));
  assert.deepEqual(told.types(), ["waiting", "resumed"]);
});

test("a consumer tells of it too, and then that it waits for records", limit, async () => {
  const { client, outages } = broken();
  const told = listener();
  await client.producer().send({ topic: "events", value: "a" });
  const consumer = client.consumer({ topic: "events", from: "earliest", onState: told.onState });
  const records = consumer.records();
  assert.equal((await records.next()).value?.text(), "a");
  const next = records.next();
  await until(() => told.has("waiting_for_records"));
  await sleep(2_000);
  assert.deepEqual(told.types(), ["waiting_for_records"], "it is told once");
  outages.down("fake:1");
  await until(() => told.has("waiting"));
  outages.up("fake:1");
  await until(() => told.has("resumed"));
  await client.producer().send({ topic: "events", value: "b" });
  assert.equal((await next).value?.text(), "b");
  const after = records.next();
  await until(() => told.types().at(-1) === "waiting_for_records");
  assert.deepEqual(told.types().slice(1, 4), ["connection_lost", "waiting", "resumed"]);
  await client.close();
  await after;
});

test(
  "a consumer tells of a server that hangs within three seconds, and keeps its stream",
  limit,
  async () => {
    const { broker, client } = setUp();
    broker.fetchHeartbeatMs = 5_000;
    const told = listener();
    await client.producer().send({ topic: "events", value: "a" });
    const consumer = client.consumer({ topic: "events", from: "earliest", onState: told.onState });
    const records = consumer.records();
    await records.next();
    const next = records.next();
    await sleep(3_000);
    assert.deepEqual(told.types(), ["waiting_for_records"], "a quiet server that is there is fine");
    const { streams } = broker;
    broker.silent.add("fake:1");
    const hungMs = performance.now();
    await until(() => told.has("waiting"));
    assert.ok(performance.now() - hungMs < 3_000, `${performance.now() - hungMs}`);
    const waiting = told.states.at(-1);
    assert.ok(waiting?.type === "waiting");
    assert.match(waiting.error.message, /fake:1 has not answered for \d\.\d s/);
    broker.silent.clear();
    await until(() => told.has("resumed"));
    assert.equal(broker.streams, streams);
    // Nor does it claim to wait for records of a server that hangs.
    assert.deepEqual(told.types(), ["waiting_for_records", "waiting", "resumed"]);
    await client.close();
    await next;
  },
);

test("a leader that moves is told, and nothing waits when it moves at once", limit, async () => {
  const { broker, client } = setUp();
  const told = listener();
  const producer = client.producer({ onState: told.onState });
  await producer.send({ topic: "events", value: "a" });
  broker.lead(0, 2);
  await producer.send({ topic: "events", value: "b" });
  await until(() => told.has("leader_moved"));
  const moved = { topic: "events", partition: 0, from: "fake:1", to: "fake:2", leaderEpoch: 0 };
  assert.deepEqual(told.states, [{ type: "leader_moved", ...moved }]);
});

test("a consumer whose topic cannot be looked up says why", limit, async () => {
  const { client, outages } = broken();
  await client.admin.cluster();
  outages.down("fake:1");
  outages.down("fake:2");
  const told = listener();
  const consumer = client.consumer({ topic: "events", from: "earliest", onState: told.onState });
  const first = consumer.records().next();
  await until(() => told.has("waiting"));
  const [waiting] = told.states;
  assert.ok(waiting?.type === "waiting");
  assert.deepEqual(waiting.partitions, [{ topic: "events" }]);
  outages.up("fake:1");
  await until(() => told.has("resumed"));
  await client.close();
  assert.equal((await first).done, true);
});

test("what onState throws harms nobody", limit, async () => {
  const { client, outages } = broken();
  let calls = 0;
  const onState = (): void => {
    calls += 1;
    throw new Error("of the application");
  };
  const producer = client.producer({ onState });
  await producer.send({ topic: "events", value: "a" });
  outages.down("fake:1");
  await until(() => calls > 0);
  outages.up("fake:1");
  await producer.send({ topic: "events", value: "b" });
});
