/** Sends that expect which record is the last one of their key. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceError } from "@millrace/errors";
import { another, setUp, until } from "../../testing/set-up.ts";
import { LastOffsetMismatchError } from "../failures.ts";
import type { ProducerRecord } from "../types.ts";

const topic = "events";
const limit = { timeout: 20_000 };

/** `at OFFSET`, or the code of the failure, and which record is the last one. */
const outcomeOf = async (sent: Promise<{ offset: bigint }>): Promise<string> => {
  try {
    return `at ${(await sent).offset}`;
  } catch (thrown) {
    const { actualLastOffsetForKey: actual, codeName, spec } = MillraceError.from(thrown);
    assert.equal(thrown instanceof LastOffsetMismatchError, actual !== undefined);
    const last = actual === undefined ? "" : ` ${actual}`;
    return `${codeName}${last}${spec.sideEffects ? ", or written" : ""}`;
  }
};

const record = (key: string, expectedLastOffsetForKey?: bigint | number): ProducerRecord => ({
  ...{ topic, partition: 0, key, value: "v", expectedLastOffsetForKey },
});

test(
  "a record is written behind the one that its sender expects, or not at all",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer();
    const send = (key: string, last?: bigint | number) =>
      outcomeOf(producer.send(record(key, last)));
    assert.equal(await send("a", -1n), "at 0");
    assert.equal(await send("a", -1), "LAST_OFFSET_MISMATCH 0");
    assert.equal(await send("b", 0), "LAST_OFFSET_MISMATCH -1");
    assert.equal(await send("b"), "at 1");
    assert.equal(await send("a", 0n), "at 2");
    assert.deepEqual(broker.required, ["latest-by-key", ""]);
    const byKey = await client
      .partitionCount(topic)
      .then(() => producer.send({ ...record("x", -1), partition: undefined }));
    assert.equal(byKey.offset >= 0n, true, "the partition may be that of the key");
  },
);

test("conditions on keys stand for themselves, however many are on their way", limit, async () => {
  const { client } = setUp();
  const producer = client.producer();
  const row = [record("a", -1), record("b", 7), record("c", -1), record("a", 0), record("d", -1)];
  const outcomes = await Promise.all(row.map((one) => outcomeOf(producer.send(one))));
  assert.deepEqual(outcomes, ["at 0", "LAST_OFFSET_MISMATCH -1", "at 1", "at 2", "at 3"]);
});

test("an answer that was lost makes nobody else the winner", limit, async () => {
  const { broker, client } = setUp();
  const producer = client.producer();
  let number = 0;
  broker.fault = () => {
    number += 1;
    return number === 1 ? "reset" : undefined;
  };
  assert.equal(await outcomeOf(producer.send(record("a", -1))), "at 0");
  assert.equal(broker.producers.duplicates, 1);
  // Not written, and another one comes before it is sent again.
  number = 0;
  broker.fault = () => {
    number += 1;
    if (number > 1) return undefined;
    void another(broker).producer().send(record("a"));
    return "lost";
  };
  const lost = outcomeOf(producer.send(record("a", 0)));
  await until(() => broker.endOf(0) === 2);
  assert.equal(await lost, "LAST_OFFSET_MISMATCH 1", "a later record proves that it was not");
  number = 0;
  broker.fault = () => {
    number += 1;
    // The records before it are lost with it, as by an unclean election.
    if (number === 1) broker.truncate(0, 2);
    return number === 1 ? "lost" : undefined;
  };
  const expectsTooMuch = outcomeOf(producer.send(record("a", 1)));
  assert.equal(await expectsTooMuch, "UNAVAILABLE, or written", "an earlier one proves nothing");
});

test("an old server refuses the stream, and other sends and conditions go on", limit, async () => {
  const { broker, client } = setUp();
  broker.isOld = true;
  const producer = client.producer();
  const old = producer.send(record("a", -1));
  const plain = producer.send(record("b"));
  assert.equal(await outcomeOf(old), "UNSUPPORTED_OPERATION");
  assert.equal(await outcomeOf(plain), "at 0");
  broker.isOld = false;
  const { key, ...rest } = record("c");
  const byEnd = producer.send({ ...rest, key, expectedEndOffset: 1 });
  assert.equal(await outcomeOf(byEnd), "at 1");
  assert.deepEqual(broker.required, ["latest-by-key", "", "conditional-append"]);
});

test("a condition that cannot hold is refused before anything is sent", limit, async () => {
  const { broker, client } = setUp();
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ expectedLastOffsetForKey: -2 }, /is -2: give an offset, .* or -1 for a key without/],
    [{ expectedLastOffsetForKey: null }, /is null: give an offset/],
    [{ expectedLastOffsetForKey: 2n ** 53n }, /is 9007199254740992/],
    [{ key: null }, /needs the key whose record it is/],
    [{ expectedEndOffset: 0 }, /give one of them/],
  ];
  for (const [change, text] of wrong) {
    const given = { ...record("a", 0), ...change } as ProducerRecord;
    await assert.rejects(client.producer().send(given), {
      codeName: "INVALID_REQUEST",
      message: text,
    });
  }
  assert.throws(() => client.producer().write(record("a", 0)), /is for send/);
  const leader = client.producer({ acks: "leader" });
  await assert.rejects(leader.send(record("a", 0)), /needs acks "all", not "leader"/);
  assert.equal(broker.endOf(0), 0);
});
