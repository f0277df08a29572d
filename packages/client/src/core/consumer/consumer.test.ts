/** What a consumer hands out, and that it hands out each record once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { within } from "@millrace/env/testing";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { type FakeBroker, testEnv } from "../../testing/fake-broker.ts";
import { another, numbered, setUp, text, until, writeBatch } from "../../testing/set-up.ts";
import type { Client } from "../client.ts";
import type { ConsumerOptions, Position } from "../types.ts";
import type { Consumer } from "./consumer.ts";

const limit = { timeout: 8_000 };

const reading = async (
  client: Client,
  partitions: readonly number[],
  from: Position,
  options: ConsumerOptions = {},
): Promise<Consumer> => {
  const consumer = client.consumer(options);
  await consumer.assign(partitions.map((partition) => ({ topic: "events", partition, from })));
  return consumer;
};

/** Reads on until the iteration ends. */
const drain = async (consumer: Consumer): Promise<string[]> => {
  const values: string[] = [];
  for await (const { value } of consumer.records()) values.push(text(value));
  return values;
};

const isOutOfRange = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.OFFSET_OUT_OF_RANGE);

for (const how of ["break", "throw", "abort"] as const) {
  test(`leaving an iteration inside a batch by ${how} loses nothing`, limit, async () => {
    const { client } = setUp();
    await writeBatch(client, numbered("a", 10));
    await writeBatch(client, numbered("b", 10));
    const consumer = await reading(client, [0], "earliest", { untilEnd: true });
    const values: string[] = [];
    const controller = new AbortController();
    try {
      for await (const { value } of consumer.records({ signal: controller.signal })) {
        values.push(text(value));
        if (values.length < 3) continue;
        if (how === "break") break;
        if (how === "throw") throw new Error("processing failed");
        controller.abort();
      }
    } catch {
      assert.notEqual(how, "break");
    }
    assert.equal(consumer.positions()[0]?.offset, 3n);
    assert.deepEqual(
      [...values, ...(await drain(consumer))],
      [...numbered("a", 10), ...numbered("b", 10)],
    );
    await client.close();
  });
}

test("a batch that records() left is finished by batches()", limit, async () => {
  const { client } = setUp();
  await writeBatch(client, numbered("a", 5));
  const consumer = await reading(client, [0], "earliest", { untilEnd: true });
  for await (const record of consumer.records()) if (record.offset === 1n) break;
  const sizes: number[] = [];
  for await (const batch of consumer.batches()) {
    assert.equal(batch.records[0]?.offset, 2n);
    assert.equal(batch.nextOffset, 5n);
    assert.equal(batch.highWatermark, 5n);
    sizes.push(batch.records.length);
    break;
  }
  assert.deepEqual(sizes, [3]);
  assert.deepEqual(await drain(consumer), []);
  await client.close();
});

test(
  "a pause inside a batch takes effect at once, and its rest comes after resume",
  limit,
  async () => {
    const { client } = setUp(2);
    await writeBatch(client, numbered("a", 4), 0);
    await writeBatch(client, numbered("b", 4), 1);
    const consumer = await reading(client, [0, 1], "earliest", { untilEnd: true });
    const values: string[] = [];
    for await (const { value } of consumer.records()) {
      values.push(text(value));
      if (text(value) === "a1") consumer.pause({ topic: "events", partition: 0 });
      if (text(value) === "b3") consumer.resume({ topic: "events", partition: 0 });
    }
    assert.deepEqual(
      values.filter((value) => value.startsWith("a")),
      numbered("a", 4),
    );
    assert.ok(values.indexOf("b3") < values.indexOf("a2"), values.join());
    await client.close();
  },
);

test("a seek inside a batch takes effect at once", limit, async () => {
  const { client } = setUp();
  await writeBatch(client, numbered("a", 6));
  const consumer = await reading(client, [0], "earliest", { untilEnd: true });
  const values: string[] = [];
  for await (const { value } of consumer.records()) {
    if (values.push(text(value)) === 2)
      await consumer.seek({ topic: "events", partition: 0, to: { offset: 5 } });
  }
  assert.deepEqual(values, ["a0", "a1", "a5"]);
  await client.close();
});

test(
  "bytes count as buffered until their records are taken, and only what is free is granted",
  limit,
  async () => {
    const { broker, client } = setUp();
    for (let i = 0; i < 20; i += 1) await writeBatch(client, ["x".repeat(200)]);
    const stored = broker.logs[0]?.reduce((sum, { bytes }) => sum + bytes.length, 0) ?? 0;
    const consumer = await reading(client, [0], "earliest", {
      untilEnd: true,
      bufferBytesMax: 1024,
    });
    let taken = 0;
    for await (const _ of consumer.records()) {
      taken += stored / 20;
      await sleep(2);
      const slack = stored / 20;
      assert.ok(broker.grantedBytes <= taken + 1024 + slack, `${broker.grantedBytes} at ${taken}`);
      assert.ok(consumer.bufferedBytes <= 1024 + slack, `${consumer.bufferedBytes}`);
    }
    assert.equal(consumer.bufferedBytes, 0);
    // The last batch may begin within its grant and end behind it.
    assert.ok(broker.grantedBytes > stored - stored / 20);
    await client.close();
  },
);

test("bytes that were granted are not granted again before they arrived", limit, async () => {
  const { broker, client } = setUp();
  const consumer = await reading(client, [0], "earliest", { bufferBytesMax: 1024 });
  const records = consumer.records();
  for (let i = 0; i < 10; i += 1) {
    await writeBatch(client, [`${i}`]);
    assert.equal(text((await records.next()).value?.value ?? null), `${i}`);
    await sleep(2);
  }
  const stored = broker.logs[0]?.reduce((sum, { bytes }) => sum + bytes.length, 0) ?? 0;
  assert.ok(broker.grantedBytes <= 1024 + stored, `${broker.grantedBytes}`);
});

test("nothing is granted to a paused partition", limit, async () => {
  const { broker, client } = setUp();
  const consumer = await reading(client, [0], "latest");
  consumer.pause({ topic: "events", partition: 0 });
  await sleep(20);
  const before = { bytes: broker.grantedBytes, streams: broker.streams };
  broker.drain();
  await sleep(300);
  assert.ok(broker.streams > before.streams, "the partition is on a new stream");
  await writeBatch(client, ["a"]);
  await sleep(20);
  assert.equal(broker.grantedBytes, before.bytes);
  consumer.resume({ topic: "events", partition: 0 });
  assert.equal(text((await consumer.records().next()).value?.value ?? null), "a");
  await client.close();
});

test(
  "a partition that failed tells it again until it is well, and then goes on",
  limit,
  async () => {
    const { broker, client } = setUp(2);
    await writeBatch(client, numbered("a", 2), 0);
    await writeBatch(client, numbered("b", 2), 1);
    broker.fetchFault = (partition) => (partition === 0 ? ErrorCode.PARTITION_OFFLINE : undefined);
    const consumer = await reading(client, [0, 1], "earliest", { untilEnd: true });
    const values: string[] = [];
    let errors = 0;
    for (let attempt = 0; attempt < 9; attempt += 1) {
      try {
        for await (const { value } of consumer.records()) values.push(text(value));
        break;
      } catch (thrown) {
        assert.ok(hasCode(thrown, ErrorCode.PARTITION_OFFLINE));
        errors += 1;
        if (errors === 3) broker.fetchFault = () => undefined;
      }
    }
    assert.equal(errors, 3);
    assert.deepEqual(values.toSorted(), ["a0", "a1", "b0", "b1"]);
    await client.close();
  },
);

test(
  "a position before the log's start is told with every iteration, until a seek",
  limit,
  async () => {
    const { broker, client } = setUp();
    await writeBatch(client, numbered("a", 2));
    await writeBatch(client, numbered("b", 2));
    broker.starts.set(0, 2);
    const consumer = await reading(client, [0], { offset: 0 }, { untilEnd: true });
    await assert.rejects(drain(consumer), isOutOfRange);
    await assert.rejects(drain(consumer), isOutOfRange);
    await consumer.seek({ topic: "events", partition: 0, to: "earliest" });
    assert.deepEqual(await drain(consumer), ["b0", "b1"]);
    await client.close();
  },
);

test(
  "damaged bytes are told with every iteration, and can be passed by a seek",
  limit,
  async () => {
    const { broker, client } = setUp();
    await writeBatch(client, ["good"]);
    await writeBatch(client, ["damaged"]);
    await writeBatch(client, ["after"]);
    const bytes = broker.logs[0]?.[1]?.bytes;
    bytes?.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
    const consumer = await reading(client, [0], "earliest", { untilEnd: true });
    const isDamage = (thrown: unknown) => hasCode(thrown, ErrorCode.CORRUPT_MESSAGE);
    const values: string[] = [];
    const collect = async () => {
      for await (const { value } of consumer.records()) values.push(text(value));
    };
    await assert.rejects(collect(), isDamage);
    await assert.rejects(collect(), isDamage);
    await consumer.seek({ topic: "events", partition: 0, to: { offset: 2 } });
    await collect();
    assert.deepEqual(values, ["good", "after"]);
    await client.close();
  },
);

test(
  "a batch that cannot be inflated is told with its place and the real reason",
  limit,
  async () => {
    const reasons: readonly [Error, ErrorCode, RegExp][] = [
      [new RangeError("past"), ErrorCode.MESSAGE_TOO_LARGE, /inflates to more than 64 MiB/],
      [new Error("no frame"), ErrorCode.CORRUPT_MESSAGE, /damaged batch \(no frame\)/],
      [
        new MillraceError(ErrorCode.UNSUPPORTED_COMPRESSION, "the window is too large"),
        ErrorCode.UNSUPPORTED_COMPRESSION,
        /the window is too large/,
      ],
    ];
    for (const [reason, code, pattern] of reasons) {
      const env = testEnv();
      const compressor = { ...env.compressor, decompress: () => Promise.reject(reason) };
      const { client } = setUp(1, { env: { ...env, compressor } });
      await client.producer({ compression: "zstd" }).send({ topic: "events", value: "a" });
      const consumer = await reading(client, [0], "earliest", { untilEnd: true });
      await assert.rejects(drain(consumer), (thrown) => {
        assert.ok(hasCode(thrown, code));
        assert.match(thrown.message, /^events-0 at or after offset 0/);
        return pattern.test(thrown.message);
      });
    }
  },
);

test(
  "a topic made again is an error for its old offsets, with every iteration",
  limit,
  async () => {
    const { broker, client } = setUp();
    await writeBatch(client, numbered("old", 5));
    const consumer = await reading(client, [0], "earliest");
    const records = consumer.records();
    assert.equal(text((await records.next()).value?.value ?? null), "old0");
    broker.recreate();
    await writeBatch(client, numbered("new", 20));
    const values: string[] = [];
    const collect = async () => {
      for await (const { value } of consumer.records()) values.push(text(value));
    };
    await records.return();
    await assert.rejects(collect(), (thrown) => {
      assert.ok(hasCode(thrown, ErrorCode.OFFSET_OUT_OF_RANGE));
      return /"events" was deleted and created again/.test(thrown.message);
    });
    assert.deepEqual(
      values,
      ["old1", "old2", "old3", "old4"],
      "what was fetched is handed out first",
    );
    await assert.rejects(collect(), isOutOfRange);
    await consumer.seek({ topic: "events", partition: 0, to: { offset: 18 } });
    const again = consumer.records();
    assert.equal(text((await again.next()).value?.value ?? null), "new18");
    await client.close();
  },
);

test("a topic made again is read from where onOutOfRange says", limit, async () => {
  const { broker, client } = setUp();
  await writeBatch(client, numbered("old", 5));
  const options = { onOutOfRange: "earliest", untilEnd: true } as const;
  const consumer = await reading(client, [0], "earliest", options);
  const values: string[] = [];
  for await (const { value } of consumer.records()) {
    if (values.push(text(value)) > 1) continue;
    broker.recreate();
    await writeBatch(client, numbered("new", 3));
  }
  // The rest of the old topic was fetched before, and the end is that of the assignment.
  assert.deepEqual(values, numbered("old", 5));
  const follower = await reading(client, [0], { offset: 3 }, { onOutOfRange: "earliest" });
  broker.recreate();
  await writeBatch(client, numbered("newer", 2));
  const records = follower.records();
  for (const value of numbered("newer", 2)) {
    const { value: record } = await within(records.next(), `record ${value} of the new topic`);
    assert.equal(text(record?.value ?? null), value);
  }
  await client.close();
});

test("an assignment is of the topic as it is now, whatever the client knew", limit, async () => {
  const { broker, client } = setUp();
  await writeBatch(client, numbered("old", 5));
  broker.recreate();
  const consumer = await reading(client, [0], { offset: 0 });
  await writeBatch(client, ["new"]);
  assert.equal(text((await consumer.records().next()).value?.value ?? null), "new");
  await client.close();
});

test("a partition that a topic made again does not have is an error", limit, async () => {
  const { broker, client } = setUp(2);
  const consumer = await reading(client, [1], "latest", { onOutOfRange: "earliest" });
  broker.recreate(1);
  await assert.rejects(consumer.records().next(), (thrown) =>
    hasCode(thrown, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
  );
  await client.close();
});

test("partitions that others add can be assigned, and come with a whole topic", limit, async () => {
  const { broker, client } = setUp(1, { metadataMaxAgeMs: 100 });
  await writeBatch(client, ["a"]);
  const whole = client.consumer();
  await whole.assign([{ topic: "events", from: "earliest" }]);
  const records = whole.records();
  assert.equal(text((await records.next()).value?.value ?? null), "a");
  broker.watches.held = true;
  broker.addPartitions(2);
  // By somebody else, before this client knows of the partition.
  await writeBatch(another(broker), numbered("new", 3), 2);
  broker.watches.held = false;
  const single = await reading(client, [2], "earliest");
  const got = [await records.next(), await records.next(), await records.next()];
  assert.deepEqual(
    got.map(({ value }) => text(value?.value ?? null)),
    numbered("new", 3),
  );
  assert.equal(whole.positions().length, 3);
  assert.equal(text((await single.records().next()).value?.value ?? null), "new0");
  assert.equal(await client.partitionCount("events"), 3);
  await client.close();
});

test("an added partition that cannot be read yet is tried again", limit, async () => {
  const { broker, client } = setUp();
  await writeBatch(client, ["a"]);
  const consumer = client.consumer();
  await consumer.assign([{ topic: "events", from: "earliest" }]);
  const failure = new MillraceError(ErrorCode.INVALID_REQUEST, "not yet");
  broker.callFault = (path) => (path.endsWith("/ListOffsets") ? failure : undefined);
  broker.addPartitions(1);
  await sleep(300);
  assert.equal(consumer.positions().length, 1);
  broker.callFault = () => undefined;
  await until(() => consumer.positions().length === 2);
});

test("until the end means the partitions of now", limit, async () => {
  const { broker, client } = setUp(1, { metadataMaxAgeMs: 100 });
  await writeBatch(client, ["a"]);
  const consumer = client.consumer({ untilEnd: true });
  await consumer.assign([{ topic: "events", from: "earliest" }]);
  broker.watches.held = true;
  broker.addPartitions(1);
  await writeBatch(another(broker), ["b"], 1);
  broker.watches.held = false;
  await sleep(250);
  assert.deepEqual(await drain(consumer), ["a"]);
  await client.close();
});

test("until the end ends although the log was cut below it", limit, async () => {
  const { broker, client } = setUp();
  for (const name of ["a", "b", "c"]) await writeBatch(client, [name]);
  const capped = await reading(client, [0], "earliest", { untilEnd: true });
  broker.truncate(0, 2);
  assert.deepEqual((await drain(capped)).slice(0, 1), ["a"]);
  await writeBatch(client, ["b"]);
  const past = { untilEnd: true, onOutOfRange: "latest" } as const;
  const beyond = await reading(client, [0], { offset: 2 }, past);
  broker.truncate(0, 1);
  assert.deepEqual(await drain(beyond), []);
  await client.close();
});

test("a start past the end is an error also when reading until the end", limit, async () => {
  const { client } = setUp();
  await writeBatch(client, ["a"]);
  const consumer = await reading(client, [0], { offset: 99 }, { untilEnd: true });
  await assert.rejects(drain(consumer), isOutOfRange);
  await assert.rejects(drain(consumer), isOutOfRange);
  await client.close();
});

test("a seek past the end of an iteration ends it for the partition", limit, async () => {
  const { client } = setUp();
  await writeBatch(client, ["a"]);
  const consumer = await reading(client, [0], "earliest", { untilEnd: true });
  await writeBatch(client, ["b", "c", "d"]);
  await consumer.seek({ topic: "events", partition: 0, to: { offset: 2 } });
  assert.deepEqual(await drain(consumer), []);
  await consumer.seek({ topic: "events", partition: 0, to: { offset: 0 } });
  assert.deepEqual((await drain(consumer)).slice(0, 1), ["a"]);
  await client.close();
});

test("options and assignments are checked", limit, async () => {
  const { client } = setUp();
  const wrong = (options: object) =>
    assert.throws(
      () => client.consumer(options),
      (thrown) => hasCode(thrown, ErrorCode.INVALID_REQUEST),
    );
  wrong({ onOutOfRange: "never" });
  wrong({ isolation: "serializable" });
  wrong({ bufferBytesMax: 1 });
  const twice = client.consumer();
  await assert.rejects(
    twice.assign([{ topic: "events" }, { topic: "events", partition: 0 }]),
    (thrown) => hasCode(thrown, ErrorCode.INVALID_REQUEST),
  );
  await client.close();
});

/** Makes the consumer open a new stream, and tells what it says of the partition then. */
const reopened = async (broker: FakeBroker): Promise<readonly (number | undefined)[]> => {
  const before = broker.added.length;
  broker.drain();
  while (broker.added.length === before) await sleep(5);
  const { offset, lastFetchedEpoch } = broker.added.at(-1) ?? {};
  return [offset, lastFetchedEpoch];
};

test(
  "a cursor tells the epoch of the last batch it read, not that of the partition",
  limit,
  async () => {
    const { broker, client } = setUp();
    broker.epochs.set(0, 3);
    await writeBatch(client, numbered("a", 2));
    broker.epochs.set(0, 4);
    await writeBatch(client, numbered("b", 2));
    // An election that nothing was appended after.
    broker.epochs.set(0, 9);
    const consumer = await reading(client, [0], "earliest");
    const records = consumer.records();
    await records.next();
    assert.deepEqual([broker.added[0]?.offset, broker.added[0]?.lastFetchedEpoch], [0, undefined]);
    assert.deepEqual(await reopened(broker), [4, 4], "what is buffered counts");
    for (let i = 1; i < 4; i += 1) await records.next();
    assert.deepEqual(await reopened(broker), [4, 4], "and what was handed out");
    const next = records.next();
    await writeBatch(client, ["c"]);
    assert.equal(text((await next).value?.value ?? null), "c");
    assert.deepEqual(await reopened(broker), [5, 9]);
    await consumer.seek({ topic: "events", partition: 0, to: { offset: 1 } });
    await sleep(20);
    const sought = broker.added.at(-1);
    assert.deepEqual([sought?.offset, sought?.lastFetchedEpoch], [1, undefined]);
  },
);

test("a position of a topic that was made again has no epoch of the old one", limit, async () => {
  const { broker, client } = setUp();
  broker.epochs.set(0, 3);
  await writeBatch(client, ["a"]);
  const consumer = await reading(client, [0], "earliest", { onOutOfRange: "earliest" });
  const records = consumer.records();
  await records.next();
  broker.epochs.set(0, 1);
  broker.recreate();
  const next = records.next();
  await until(() => broker.added.at(-1)?.offset === 0 && broker.added.length >= 2);
  assert.equal(broker.added.at(-1)?.lastFetchedEpoch, undefined);
  await writeBatch(another(broker), ["b"]);
  const { value: record } = await within(next, "record of the new topic");
  assert.equal(text(record?.value ?? null), "b");
});
