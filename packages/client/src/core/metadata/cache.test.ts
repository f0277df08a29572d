/** Which servers are asked, and how soon. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode, hasCode } from "@millrace/errors";
import { FakeBroker } from "../../testing/fake-broker.ts";
import { setUp, withoutWatch } from "../../testing/set-up.ts";
import { backoffMs } from "../backoff.ts";
import { isEndpoint } from "../checks.ts";
import { Connections } from "../connections.ts";

const limit = { timeout: 8_000 };

test("a silent first server costs a second, and is not asked first again", limit, async () => {
  const { broker, client } = setUp(1, { bootstrap: ["fake:9", "fake:8", "fake:1"] });
  broker.silent.add("fake:9").add("fake:8");
  const startedMs = performance.now();
  await client.admin.cluster();
  assert.ok(performance.now() - startedMs < 4000);
  assert.deepEqual(broker.asked, ["fake:9", "fake:8", "fake:1"]);
  await client.admin.cluster();
  assert.equal(broker.asked[3], "fake:1");
});

test("a server that answers at once is the only one asked", limit, async () => {
  const { broker, client } = setUp(1, { bootstrap: ["fake:1", "fake:9"] });
  broker.latencyMs = 200;
  await client.admin.cluster();
  assert.deepEqual(broker.asked, ["fake:1"]);
});

test("when no server answers, the error names them within the call's deadline", limit, async () => {
  const { broker, client } = setUp(1, { bootstrap: ["fake:8", "fake:9"], adminTimeoutMs: 300 });
  broker.silent.add("fake:8").add("fake:9");
  const startedMs = performance.now();
  await assert.rejects(client.admin.cluster(), (thrown) => {
    assert.ok(hasCode(thrown, ErrorCode.UNAVAILABLE));
    return /no server answers \(fake:8: no answer in time; fake:9: no/.test(thrown.message);
  });
  assert.ok(performance.now() - startedMs < 3000);
});

test("metadata is asked for again at its maximum age", limit, async () => {
  const { broker, client } = setUp(1, { metadataMaxAgeMs: 100 });
  await client.admin.cluster();
  await sleep(350);
  assert.ok(broker.asked.length >= 3, `${broker.asked.length}`);
});

test("offsets of partitions that others add are found", limit, async () => {
  const { broker, client } = setUp();
  await client.partitionCount("events");
  broker.addPartitions(5);
  assert.equal(
    (await client.admin.listOffset({ topic: "events", partition: 5, at: "latest" }))?.offset,
    0n,
  );
  await assert.rejects(
    client.admin.listOffset({ topic: "events", partition: 6, at: "latest" }),
    (thrown) => {
      assert.ok(hasCode(thrown, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION));
      return /has no partition 6, only 6 partitions/.test(thrown.message);
    },
  );
});

test("bootstrap servers must be host:port", () => {
  for (const good of ["a:1", "host.example:65535", "127.0.0.1:7400", "[::1]:7400"]) {
    assert.ok(isEndpoint(good), good);
  }
  for (const wrong of ["", "a", ":1", "a:0", "a:65536", "a b:1", "::1:7400", "http://a:1"]) {
    assert.equal(isEndpoint(wrong), false, wrong);
    assert.throws(
      () => setUp(1, { bootstrap: ["a:1", wrong] }),
      (thrown) => hasCode(thrown, ErrorCode.INVALID_REQUEST),
    );
  }
  assert.throws(() => setUp(1, { bootstrap: [] }), /bootstrap names no server/);
  assert.throws(() => setUp(1, { metadataMaxAgeMs: 1 }), /metadataMaxAgeMs/);
});

test("pauses double up to a bound, lose at most half, and respect a floor", () => {
  const random = (float: number) => ({
    float: () => float,
    below: () => 0,
    bytes: () => new Uint8Array(),
  });
  const longest = Array.from({ length: 9 }, (_, attempt) => backoffMs(attempt, random(1)));
  assert.deepEqual(longest, [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000]);
  assert.equal(backoffMs(0, random(0)), 25);
  assert.equal(backoffMs(50, random(0)), 1000);
  assert.equal(backoffMs(0, random(0), 700), 700);
});

test("what the metadata say about an endpoint reaches the dialer", limit, async () => {
  const { broker, client } = setUp();
  broker.endpointParts = { host: "2001:db8::7", tls: true, authority: "b.example" };
  await client.producer().send({ topic: "events", value: "v" });
  assert.deepEqual(broker.dialed, [
    { endpoint: "fake:1", options: { authority: "", tls: false } },
    { endpoint: "[2001:db8::7]:1", options: { authority: "b.example", tls: true } },
  ]);
});

test(
  "the endpoint in a leader hint is dialed as it is, and one without a host is not",
  limit,
  async () => {
    const { broker, client } = setUp();
    const endpoint = { host: "::2", port: 7, listener: "l", tls: false, authority: "two" };
    const hint = { brokerId: 2, leaderEpoch: 1, metadataRevision: 2 };
    broker.leaderHint = { ...hint, endpoint };
    broker.fault = (n) => (n === 1 ? ErrorCode.NOT_LEADER : undefined);
    const producer = client.producer();
    await producer.send({ topic: "events", value: "v" });
    const dialed = broker.dialed.map((one) => one.endpoint);
    assert.deepEqual(dialed, ["fake:1", "[::2]:7"]);
    assert.equal(broker.dialed.at(-1)?.options.authority, "two");
    // Where the leader is reached is known from the metadata: no endpoint is needed.
    broker.leaderHint = {
      ...hint,
      leaderEpoch: 2,
      metadataRevision: 3,
      endpoint: { ...endpoint, host: "" },
    };
    broker.fault = (n) => (n === 3 ? ErrorCode.NOT_LEADER : undefined);
    await producer.send({ topic: "events", value: "v" });
    assert.equal(broker.seen.at(-1)?.endpoint, "[::2]:7");
  },
);

test("endpoints that differ in more than their listener have channels of their own", () => {
  const broker = new FakeBroker();
  const connections = new Connections(broker, () => "");
  const endpoint = { host: "h", port: 1, listener: "", tls: false, authority: "" };
  const one = connections.channel(endpoint);
  assert.equal(connections.channel({ ...endpoint, listener: "other name" }), one);
  const others = [{ authority: "a" }, { tls: true }, { port: 2 }, { host: "i" }];
  for (const part of others) assert.notEqual(connections.channel({ ...endpoint, ...part }), one);
  assert.equal(broker.dialed.length, 5);
});

/** Bytes of another generation than the one that fake brokers begin with. */
const restored = new Uint8Array(16).fill(2);

test(
  "an older revision changes nothing, but in another generation it replaces what is known",
  limit,
  async () => {
    const { broker, client } = setUp(3, { metadataMaxAgeMs: 60_000 });
    withoutWatch(broker);
    broker.revision = 100n;
    await client.producer().send({ topic: "events", partition: 0, value: "v" });
    broker.revision = 50n;
    broker.leaders.set(0, 2);
    broker.logs.pop();
    await client.admin.cluster();
    assert.equal(await client.partitionCount("events"), 3);
    broker.generation = restored;
    assert.equal(await client.partitionCount("events"), 2);
    await client.producer().send({ topic: "events", partition: 0, value: "v" });
    assert.equal(broker.seen.at(-1)?.endpoint, "fake:2");
    await client.admin.cluster();
    const [first, second] = broker.metadataRequests;
    assert.equal(first?.generation.length, 0);
    assert.deepEqual(second?.generation, new Uint8Array(16).fill(1));
    assert.deepEqual(broker.metadataRequests.at(-1)?.generation, restored);
  },
);

test(
  "a revision that an Admin call returned is not waited for in another generation",
  limit,
  async () => {
    const { broker, client } = setUp();
    withoutWatch(broker);
    broker.revision = 7n;
    broker.createdRevision = 1_000n;
    await client.admin.createTopic({ name: "new" });
    await assert.rejects(client.admin.cluster(), (thrown) =>
      hasCode(thrown, ErrorCode.METADATA_STALE),
    );
    broker.generation = restored;
    await client.admin.cluster();
    await client.producer().send({ topic: "events", value: "v" });
    assert.equal(broker.metadataRequests.at(-1)?.minRevision, 0n);
  },
);

test(
  "a leader epoch never falls: neither behind a hint nor in a restored generation",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer({ deliveryTimeoutMs: 3_000 });
    const endpoint = { host: "fake", port: 3, listener: "", tls: false, authority: "" };
    broker.leaderHint = { brokerId: 3, leaderEpoch: 5, metadataRevision: 9, endpoint };
    broker.fault = (n) => (n === 1 ? ErrorCode.NOT_LEADER : undefined);
    const send = async (): Promise<string | undefined> => {
      await client.admin.cluster();
      await producer.send({ topic: "events", value: "v" });
      return broker.seen.at(-1)?.endpoint;
    };
    assert.equal(await send(), "fake:3");
    // The server has not heard of the election, nor of the broker.
    broker.revision += 1n;
    assert.equal(await send(), "fake:3");
    broker.generation = restored;
    broker.revision = 1n;
    broker.epochs.set(0, 4);
    assert.equal(await send(), "fake:3");
    broker.epochs.set(0, 5);
    assert.equal(await send(), "fake:1");
    // A topic that was made again begins anew.
    broker.epochs.set(0, 1);
    broker.recreate();
    broker.leaders.set(0, 2);
    await client.partitionCount("events");
    assert.equal(await send(), "fake:2");
  },
);

test("every call names the cluster, once it is known", limit, async () => {
  const { broker, client } = setUp();
  await client.admin.cluster();
  await client.admin.cluster();
  await client.admin.createTopic({ name: "new" });
  await client.admin.listOffset({ topic: "events", partition: 0, at: "latest" });
  await client.admin.deleteRecords({ topic: "events", partition: 0 }).catch(() => {});
  await client.admin.describeLogs().catch(() => {});
  const [first, ...later] = broker.clusterIds;
  assert.equal(first, undefined);
  assert.ok(later.length >= 6);
  assert.deepEqual([...new Set(later)], ["fake"]);
});

test("a cluster id that cannot be a header is not sent as one", limit, async () => {
  const { broker, client } = setUp();
  broker.clusterId = "fähig\n";
  await client.admin.cluster();
  await client.admin.cluster();
  assert.deepEqual(broker.clusterIds, [undefined, undefined]);
});

test("a server of another cluster is passed over", limit, async () => {
  const { broker, client } = setUp();
  await client.admin.cluster();
  broker.clusterId = "another";
  await assert.rejects(client.admin.cluster(), (thrown) => {
    assert.ok(hasCode(thrown, ErrorCode.CLUSTER_ID_MISMATCH));
    return /is of cluster another, not fake/.test(thrown.message);
  });
  const startedMs = performance.now();
  await assert.rejects(
    client.admin.listOffset({ topic: "other", partition: 0, at: "latest" }),
    (thrown) => hasCode(thrown, ErrorCode.CLUSTER_ID_MISMATCH),
  );
  assert.ok(performance.now() - startedMs < 1_000, "waiting would not help");
});
