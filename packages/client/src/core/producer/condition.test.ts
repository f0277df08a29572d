/** Sends that expect where the log ends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { another, readAll, setUp, until } from "../../testing/set-up.ts";
import { EndOffsetMismatchError } from "../failures.ts";

const topic = "events";
const limit = { timeout: 20_000 };
const partition = 0;

/** `at OFFSET`, or the code of the failure, and where the log ended. */
const outcomeOf = async (sent: Promise<{ offset: bigint }>): Promise<string> => {
  try {
    return `at ${(await sent).offset}`;
  } catch (thrown) {
    const { actualEndOffset, codeName, spec } = MillraceError.from(thrown);
    assert.equal(thrown instanceof EndOffsetMismatchError, actualEndOffset !== undefined);
    const end = actualEndOffset === undefined ? "" : ` ${actualEndOffset}`;
    return `${codeName}${end}${spec.sideEffects ? ", or written" : ""}`;
  }
};

test(
  "a record is written where the sender expects the log to end, or not at all",
  limit,
  async () => {
    const { client } = setUp();
    const producer = client.producer();
    const send = (expectedEndOffset: bigint | number, value: string) =>
      outcomeOf(producer.send({ topic, partition, value, expectedEndOffset }));
    assert.equal(await send(0n, "a"), "at 0");
    assert.equal(await send(0n, "b"), "END_OFFSET_MISMATCH 1");
    assert.equal(await send(2, "c"), "END_OFFSET_MISMATCH 1");
    assert.equal(await send(1, "d"), "at 1");
    assert.equal(await outcomeOf(producer.send({ topic, partition, value: "e" })), "at 2");
    const error = await producer
      .send({ topic, partition, value: "f", expectedEndOffset: 2n })
      .catch((thrown: unknown) => thrown);
    assert.ok(error instanceof EndOffsetMismatchError);
    assert.deepEqual([error.actualEndOffset, error.codeName], [3n, "END_OFFSET_MISMATCH"]);
    assert.equal(error.name, "MillraceError [END_OFFSET_MISMATCH]");
    assert.deepEqual(await readAll(client), ["a", "d", "e"]);
  },
);

test("it has a batch of its own, in the order of the calls", limit, async () => {
  const { broker, client } = setUp();
  const producer = client.producer({ lingerMs: 20 });
  const sent = ["a", "b", "c", "d"].map((value, i) =>
    producer.send({ topic, partition, value, ...(i === 2 ? { expectedEndOffset: 2n } : {}) }),
  );
  assert.deepEqual(await Promise.all(sent.map(outcomeOf)), ["at 0", "at 1", "at 2", "at 3"]);
  assert.deepEqual(
    broker.seen.map(({ info }) => info.recordCount),
    [2, 1, 1],
  );
  assert.deepEqual(broker.required, ["", "conditional-append"]);
});

test(
  "what is expected stays with a record that waits: for its topic, for room, to be sent again",
  limit,
  async () => {
    const { broker, client } = setUp();
    broker.latencyMs = 20;
    const serializer = (value: string) => value;
    const producer = client.producer({ bufferBytesMax: 1024, valueSerializer: serializer });
    const first = producer.send({ topic, partition, value: "x".repeat(700), expectedEndOffset: 0 });
    const late = producer.send({ topic, partition, value: "y".repeat(700), expectedEndOffset: 0 });
    assert.equal(await outcomeOf(first), "at 0");
    assert.equal(await outcomeOf(late), "END_OFFSET_MISMATCH 1");
    let refusals = 0;
    broker.fault = () => {
      refusals += 1;
      return refusals <= 2 ? ErrorCode.NOT_ENOUGH_REPLICAS : undefined;
    };
    const again = producer.send({ topic, partition, value: "z", expectedEndOffset: 1n });
    assert.equal(await outcomeOf(again), "at 1");
    assert.equal(refusals, 3);
  },
);

test(
  "after a lost answer it is sent again: written once, and a mismatch is one",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer();
    let number = 0;
    broker.fault = () => {
      number += 1;
      return number === 1 ? "reset" : undefined;
    };
    const value = "a";
    const sent = producer.send({ topic, partition, value, expectedEndOffset: 0n });
    assert.equal(await outcomeOf(sent), "at 0");
    assert.equal(broker.producers.duplicates, 1);
    // Not written, and another one takes the place before it comes again.
    number = 0;
    broker.fault = () => {
      number += 1;
      if (number > 1) return undefined;
      void another(broker).producer().send({ topic, partition, value: "rival" });
      return "lost";
    };
    await until(() => broker.endOf(0) === 1);
    const lost = outcomeOf(producer.send({ topic, partition, value: "b", expectedEndOffset: 1n }));
    await until(() => broker.endOf(0) === 2);
    assert.equal(await lost, "END_OFFSET_MISMATCH 2");
    assert.deepEqual(await readAll(client), ["a", "rival"]);
  },
);

test(
  "without idempotence the own record may be what moved the end: the error says so",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer({ idempotence: false });
    broker.fault = (request) => (request === 1 ? "reset" : undefined);
    const sent = producer.send({ topic, partition, value: "a", expectedEndOffset: 0n });
    assert.equal(await outcomeOf(sent), "UNAVAILABLE, or written");
    const next = producer.send({ topic, partition, value: "b", expectedEndOffset: 0n });
    assert.equal(await outcomeOf(next), "END_OFFSET_MISMATCH 1", "its first attempt was not");
  },
);

test(
  "an end that is still to come proves nothing of an attempt that may be on its way",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer();
    await producer.send({ topic, partition, value: "first" });
    let number = 0;
    broker.fault = () => {
      number += 1;
      // The records before it are lost with it, as by an unclean election.
      if (number === 1) broker.truncate(0, 1);
      return number === 1 ? "lost" : undefined;
    };
    const sent = producer.send({ topic, partition, value: "a", expectedEndOffset: 1n });
    assert.equal(await outcomeOf(sent), "UNAVAILABLE, or written");
  },
);

test(
  "sends in a row expect the ends that they make, and fail behind one that fails",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer();
    const row = (from: number, count: number) =>
      Array.from({ length: count }, (_, i) =>
        outcomeOf(producer.send({ topic, partition, value: `${i}`, expectedEndOffset: from + i })),
      );
    assert.deepEqual(await Promise.all(row(0, 3)), ["at 0", "at 1", "at 2"]);
    await another(broker).producer().send({ topic, partition, value: "rival" });
    // The second expects just what the rival's record makes of the log, and must not follow that.
    const failed = await Promise.all(row(3, 3));
    const preceding = "PRECEDING_REQUEST_FAILED";
    assert.deepEqual(failed, ["END_OFFSET_MISMATCH 4", preceding, preceding]);
    assert.equal(
      await outcomeOf(producer.send({ topic, partition, value: "v", expectedEndOffset: 4 })),
      "at 4",
    );
  },
);

test(
  "those behind one that failed fail however they come back, and others are sent again",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer();
    await producer.send({ topic, partition, value: "first" });
    broker.hold = true;
    broker.refusesAtOnce = true;
    const sends = [0n, 1n, 2n].map((expectedEndOffset) =>
      outcomeOf(
        producer.send({ topic, partition, value: `${expectedEndOffset}`, expectedEndOffset }),
      ),
    );
    const plain = outcomeOf(producer.send({ topic, partition, value: "plain" }));
    await sleep(30);
    broker.release();
    const preceding = "PRECEDING_REQUEST_FAILED";
    assert.deepEqual(await Promise.all(sends), ["END_OFFSET_MISMATCH 1", preceding, preceding]);
    assert.equal(await plain, "at 1");
    assert.deepEqual(await readAll(client), ["first", "plain"]);
  },
);

test(
  "a server that does not know conditions refuses the stream, and other sends go on",
  limit,
  async () => {
    const { broker, client } = setUp();
    broker.isOld = true;
    const producer = client.producer();
    const old = producer.send({ topic, partition, value: "a", expectedEndOffset: 0n });
    const plain = producer.send({ topic, partition, value: "b" });
    assert.equal(await outcomeOf(old), "UNSUPPORTED_OPERATION");
    assert.equal(await outcomeOf(plain), "at 0");
    assert.deepEqual(broker.required, ["conditional-append", ""]);
    broker.isOld = false;
    const value = "c";
    assert.equal(
      await outcomeOf(producer.send({ topic, partition, value, expectedEndOffset: 1 })),
      "at 1",
    );
  },
);

test("a condition that cannot hold is refused before anything is sent", limit, async () => {
  const { broker, client } = setUp();
  const good = { topic, partition, value: "v", expectedEndOffset: 0n };
  const producer = client.producer();
  const refused: readonly (readonly [object, RegExp])[] = [
    [{ expectedEndOffset: -1n }, /expectedEndOffset of a record is -1/],
    [{ expectedEndOffset: 2n ** 53n }, /expectedEndOffset of a record is 9007199254740992/],
    [{ expectedEndOffset: 0.5 }, /is 0.5: give an offset/],
    [{ expectedEndOffset: "0" }, /is "0": give an offset/],
    [{ expectedEndOffset: null }, /is null: give an offset/],
    [{ partition: undefined }, /needs the partition whose end it is/],
  ];
  for (const [wrong, message] of refused) {
    const record = { ...good, ...wrong };
    await assert.rejects(producer.send(record as never), {
      code: ErrorCode.INVALID_REQUEST,
      message,
    });
  }
  await assert.rejects(producer.send({ ...good, expectedEndOfset: 1 } as never), {
    code: ErrorCode.INVALID_RECORD,
    message: /did you mean "expectedEndOffset"/,
  });
  assert.throws(() => producer.write(good), {
    code: ErrorCode.INVALID_REQUEST,
    message: /for send/,
  });
  for (const acks of ["leader", "none"] as const) {
    await assert.rejects(client.producer({ acks }).send(good), {
      code: ErrorCode.INVALID_REQUEST,
      message: /needs acks "all"/,
    });
  }
  assert.equal(broker.requests, 0);
});

test("who loses needs no new epoch, and what is appended later is in order", limit, async () => {
  const { broker, client } = setUp();
  const producer = client.producer();
  const rival = another(broker).producer();
  for (let end = 0; end < 6; end += 2) {
    await producer.send({ topic, partition, value: "v", expectedEndOffset: end });
    await rival.send({ topic, partition, value: "rival" });
    const late = producer.send({ topic, partition, value: "late", expectedEndOffset: end + 1 });
    assert.equal(await outcomeOf(late), `END_OFFSET_MISMATCH ${end + 2}`);
  }
  const own = broker.seen.filter(({ info }) => info.producerId === 0);
  assert.deepEqual(
    own.map(({ info }) => `${info.producerEpoch}/${info.baseSequence}`),
    ["0/0", "0/1", "0/1", "0/2", "0/2", "0/3"],
  );
  assert.deepEqual(broker.producers.refusals, []);
});
