import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type AllocateProducerIdsRequest,
  AllocateProducerIdsResponseSchema,
} from "@millrace/proto/controller";
import { ProducerIds } from "./producer-ids.ts";

/** Broker 3 under epoch 5, and a controller that answers when the test says so. */
const setUp = () => {
  const calls: { request: AllocateProducerIdsRequest; answer: PromiseWithResolvers<unknown> }[] =
    [];
  const controller = {
    call: (_: unknown, request: unknown): Promise<never> => {
      const answer = Promise.withResolvers<unknown>();
      calls.push({ request: request as AllocateProducerIdsRequest, answer });
      return answer.promise as Promise<never>;
    },
  };
  const ids = new ProducerIds({ brokerId: 3, brokerEpoch: () => 5, controller });
  const give = async (first: number, producerIdCount = 20): Promise<void> => {
    const fields = { firstProducerId: BigInt(first), producerIdCount };
    calls.at(-1)?.answer.resolve(create(AllocateProducerIdsResponseSchema, fields));
    await new Promise(setImmediate);
  };
  const fail = async (code: ErrorCode): Promise<void> => {
    calls.at(-1)?.answer.reject(new MillraceError(code, "the controller is away"));
    await new Promise(setImmediate);
  };
  const take = (count: number): Promise<number[]> =>
    Promise.all(Array.from({ length: count }, () => ids.next()));
  return { calls, ids, give, fail, take };
};

const away = (thrown: unknown): boolean => {
  const { code, spec } = MillraceError.from(thrown);
  return code === ErrorCode.NOT_CONTROLLER && spec.retriable;
};

test("requests that come together share one call, and get an id each", async () => {
  const { calls, give, take } = setUp();
  const taken = take(5);
  assert.equal(calls.length, 1);
  const { brokerId, brokerEpoch } = calls[0]?.request ?? assert.fail();
  assert.deepEqual([brokerId, brokerEpoch], [3, 5n]);
  await give(1000);
  assert.deepEqual(await taken, [1000, 1001, 1002, 1003, 1004]);
});

test("the next block is fetched when a tenth of one is left, and nobody waits for it", async () => {
  const { calls, give, take } = setUp();
  const first = take(1);
  await give(0);
  await first;
  await take(16);
  assert.equal(calls.length, 1, "three are left");
  await take(1);
  assert.equal(calls.length, 2, "two are left");
  assert.deepEqual(await take(1), [18]);
  await give(100);
  assert.deepEqual(await take(3), [19, 100, 101]);
  assert.equal(calls.length, 2);
});

test("more requests than a block has ids take several", async () => {
  const { calls, give, take } = setUp();
  const taken = take(25);
  await give(0);
  assert.equal(calls.length, 2);
  await give(500);
  const ids = await taken;
  assert.equal(new Set(ids).size, 25);
  assert.deepEqual([ids[0], ids[19], ids[20], ids[24]], [0, 19, 500, 504]);
});

test("a controller that is away fails those who have no id, and only them", async () => {
  const { calls, ids, give, fail, take } = setUp();
  const nobody = Promise.allSettled([ids.next(), ids.next()]);
  await fail(ErrorCode.NOT_CONTROLLER);
  for (const one of await nobody) assert.ok(one.status === "rejected" && away(one.reason));
  const first = take(1);
  await give(0);
  await first;
  await take(17);
  assert.equal(calls.length, 3);
  await fail(ErrorCode.NOT_CONTROLLER);
  assert.deepEqual(await take(1), [18], "a fetch ahead of need fails nobody");
  await fail(ErrorCode.NOT_CONTROLLER);
  assert.deepEqual(await take(1), [19]);
  await fail(ErrorCode.NOT_CONTROLLER);
  const none = assert.rejects(ids.next(), away);
  await fail(ErrorCode.NOT_CONTROLLER);
  await none;
});

test("a block that no client can use is refused", async () => {
  for (const [first, count] of [
    [0, 0],
    [Number.MAX_SAFE_INTEGER, 1],
  ] as const) {
    const { give, ids } = setUp();
    const refused = assert.rejects(ids.next(), { code: ErrorCode.INTERNAL });
    await give(first, count);
    await refused;
  }
});

test("a controller of an earlier version is waited for", async () => {
  const { fail, ids } = setUp();
  const told = assert.rejects(ids.next(), (thrown) => {
    const { code, message, spec } = MillraceError.from(thrown);
    return code === ErrorCode.UNAVAILABLE && spec.retriable && message.includes("controllers");
  });
  await fail(ErrorCode.UNSUPPORTED_OPERATION);
  await told;
});
