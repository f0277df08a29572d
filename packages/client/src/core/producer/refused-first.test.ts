/** A refusal does not wait for the answers of batches that are appended, not acknowledged yet. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { fastClock, testEnv } from "../../testing/fake-broker.ts";
import { numbered, readAll, setUp, until } from "../../testing/set-up.ts";

const topic = "events";
const limit = { timeout: 20_000 };
const single = { batchBytesMax: 50, lingerMs: 0 };
const padded = (...names: string[]): string[] => names.map((name) => `${name} `.padEnd(40, "."));

test(
  "a batch whose answer is lost keeps its sequences when one behind it is refused",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer(single);
    await producer.send({ topic, value: "first" });
    broker.hold = true;
    broker.refusesAtOnce = true;
    broker.fault = (request) => (request === 3 ? ErrorCode.INVALID_TIMESTAMP : undefined);
    const [appended = "", refused = ""] = padded("appended", "refused");
    const good = producer.send({ topic, value: appended });
    await assert.rejects(producer.send({ topic, value: refused }), {
      code: ErrorCode.INVALID_TIMESTAMP,
    });
    broker.cutProduce();
    await good;
    assert.deepEqual(await readAll(client), ["first", appended]);
  },
);

test("an error says that a batch may be there when its first answer was lost", limit, async () => {
  const { broker, client } = setUp();
  const producer = client.producer(single);
  await producer.send({ topic, value: "first" });
  broker.hold = true;
  broker.refusesAtOnce = true;
  broker.fault = (request) => (request === 3 ? ErrorCode.DISK_FULL : undefined);
  const sent = padded("appended", "refused").map((value) => producer.send({ topic, value }));
  const ends = Promise.allSettled(sent);
  await until(() => broker.requests === 3);
  await sleep(20);
  broker.fault = () => ErrorCode.POLICY_VIOLATION;
  broker.cutProduce();
  const [first, second] = (await ends).map((end) =>
    end.status === "rejected" ? MillraceError.from(end.reason).spec.sideEffects : "acknowledged",
  );
  assert.deepEqual([first, second], [true, false]);
});

test("too few replicas in sync for longer than a delivery may take", limit, async () => {
  const { broker, client } = setUp(1, { env: testEnv(fastClock(10)) });
  const timeouts = { deliveryTimeoutMs: 8_000, requestTimeoutMs: 9_000 };
  const producer = client.producer({ ...single, ...timeouts });
  await producer.send({ topic, value: "first" });
  // Followers are gone: what is appended waits, and what comes later is refused at once.
  broker.hold = true;
  broker.refusesAtOnce = true;
  const values = padded("0", "1", "2");
  const [one = "", two = "", three = ""] = values;
  const expires = assert.rejects(producer.send({ topic, value: one }), {
    code: ErrorCode.DEADLINE_EXCEEDED,
  });
  await sleep(300);
  const later = [producer.send({ topic, value: two })];
  await until(() => broker.requests === 3);
  broker.fault = () => ErrorCode.NOT_ENOUGH_REPLICAS;
  later.push(producer.send({ topic, value: three }));
  await until(() => broker.requests === 4);
  await sleep(20);
  broker.cutProduce();
  await expires;
  broker.fault = () => undefined;
  await Promise.all(later);
  assert.deepEqual(await readAll(client), ["first", ...values]);
});

test(
  "the parts of a split batch keep their order when the second is refused first",
  limit,
  async () => {
    const { broker, client } = setUp();
    const producer = client.producer({ lingerMs: 20 });
    await producer.send({ topic, value: "first" });
    let firstPart = 0;
    broker.fault = (request) => {
      if (request === 2) return ErrorCode.MESSAGE_TOO_LARGE;
      if (firstPart > 0) return request === firstPart + 1 ? ErrorCode.DISK_FULL : undefined;
      firstPart = request;
      broker.hold = true;
      broker.refusesAtOnce = true;
      return "lost";
    };
    const values = numbered("some value of a record ", 4);
    const sent = values.map((value) => producer.send({ topic, value }));
    await until(() => firstPart > 0 && broker.requests > firstPart);
    await sleep(10);
    broker.cutProduce();
    await Promise.allSettled(sent);
    assert.deepEqual(await readAll(client), ["first", ...values]);
  },
);
