/** Errors of a server that is newer than this client. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { numbered, readAll, setUp, until, withoutWatch, writeBatch } from "../testing/set-up.ts";
import { fromWire } from "./failures.ts";

const limit = { timeout: 8_000 };
const future = 9_999 as ErrorCode;
const transient = { retriable: true, refreshMetadata: false, sideEffects: false };
const final = { retriable: false, refreshMetadata: false, sideEffects: false };

/** The error of a call, as a carrier makes it from the status of a newer server. */
const statusOf = (advice: typeof transient): MillraceError =>
  new MillraceError(ErrorCode.UNSPECIFIED, "not today", {
    spec: { name: "FROM_THE_FUTURE", grpcCode: 9, ...advice },
  });

test("what a code from the future means is told with it, and known codes mean what they meant", () => {
  const wire = { code: future, message: "m", ...transient, refreshMetadata: true };
  const error = fromWire(wire);
  assert.deepEqual(error.spec, {
    ...{ name: "UNKNOWN_9999", grpcCode: 2 },
    ...{ retriable: true, refreshMetadata: true, sideEffects: false },
  });
  // A server cannot redefine what both sides know.
  const known = fromWire({ ...wire, code: ErrorCode.INVALID_REQUEST });
  assert.equal(known.spec.retriable, false);
  assert.equal(known.codeName, "INVALID_REQUEST");
});

test("a batch that fails with an unknown code is sent again if that may help", limit, async () => {
  const { broker, client } = setUp();
  broker.advice = transient;
  broker.fault = (n) => (n <= 2 ? future : undefined);
  const { offset } = await client.producer().send({ topic: "events", value: "v" });
  assert.equal(offset, 0n);
  assert.equal(broker.requests, 3);
});

test("a batch that fails with an unknown code for good fails at once", limit, async () => {
  const { broker, client } = setUp();
  broker.advice = final;
  broker.fault = () => future;
  const producer = client.producer();
  await assert.rejects(producer.send({ topic: "events", value: "v" }), (thrown) => {
    assert.ok(thrown instanceof MillraceError);
    assert.equal(thrown.codeName, "UNKNOWN_9999");
    return true;
  });
  assert.equal(broker.requests, 1);
});

test("an unknown code that wants fresh metadata gets them", limit, async () => {
  const { broker, client } = setUp();
  withoutWatch(broker);
  const producer = client.producer();
  await producer.send({ topic: "events", value: "v" });
  const before = broker.asked.length;
  broker.advice = { ...transient, refreshMetadata: true };
  broker.fault = (n) => (n === 2 ? future : undefined);
  await producer.send({ topic: "events", value: "v" });
  assert.ok(broker.asked.length > before);
});

test("a partition that fails with an unknown code is read on if that may help", limit, async () => {
  const { broker, client } = setUp();
  await writeBatch(client, numbered("v", 3));
  let faults = 2;
  broker.advice = transient;
  broker.fetchFault = () => (faults-- > 0 ? future : undefined);
  assert.deepEqual(await readAll(client), ["v0", "v1", "v2"]);
  broker.advice = final;
  broker.fetchFault = () => future;
  await assert.rejects(readAll(client), /injected/);
});

test("a call that fails with an unknown code is repeated if that may help", limit, async () => {
  const { broker, client } = setUp();
  await writeBatch(client, numbered("v", 3));
  let calls = 0;
  const answer = (advice: typeof transient, times: number) => (path: string) => {
    if (!path.endsWith("/ListOffsets")) return undefined;
    calls += 1;
    return calls <= times ? statusOf(advice) : undefined;
  };
  broker.callFault = answer(transient, 2);
  assert.equal(
    (await client.admin.listOffset({ topic: "events", partition: 0, at: "latest" }))?.offset,
    3n,
  );
  assert.equal(calls, 3);
  calls = 0;
  broker.callFault = answer(final, 2);
  await assert.rejects(
    client.admin.listOffset({ topic: "events", partition: 0, at: "latest" }),
    (thrown) => {
      assert.ok(thrown instanceof MillraceError);
      return thrown.codeName === "FROM_THE_FUTURE";
    },
  );
  assert.equal(calls, 1);
});

test(
  "an Admin call is not repeated after an unknown code that may have had an effect",
  limit,
  async () => {
    const { broker, client } = setUp();
    let calls = 0;
    broker.callFault = (path) => {
      if (!path.endsWith("/CreateTopic")) return undefined;
      calls += 1;
      return statusOf({ ...transient, sideEffects: true });
    };
    await assert.rejects(client.admin.createTopic({ name: "t" }), /not today/);
    assert.equal(calls, 1);
  },
);

/** Fails calls of one name: `times` times with a code, and then for good with another. */
const failing = (name: string, times: number, code: ErrorCode) => {
  const state = { calls: 0 };
  const fault = (path: string): MillraceError | undefined => {
    if (!path.endsWith(`/${name}`)) return undefined;
    state.calls += 1;
    if (state.calls <= times) return new MillraceError(code, "not now");
    return new MillraceError(ErrorCode.INVALID_REQUEST, "asked again");
  };
  return { fault, state };
};

test("an Admin call leaves a controller that is gone", limit, async () => {
  const { broker, client } = setUp();
  await client.admin.cluster();
  const { fault, state } = failing("CreateTopic", 1, ErrorCode.UNAVAILABLE);
  broker.callFault = fault;
  const asked = broker.asked.length;
  await assert.rejects(client.admin.createTopic({ name: "t" }), { code: ErrorCode.UNAVAILABLE });
  assert.equal(state.calls, 1, "it may have had an effect");
  await until(() => broker.asked.length > asked);
});

test("a read-only Admin call is repeated whatever it did", limit, async () => {
  const { broker, client } = setUp();
  const { fault, state } = failing("DescribeTopics", 2, ErrorCode.UNAVAILABLE);
  broker.callFault = fault;
  await assert.rejects(client.admin.describeTopics({ names: ["t"] }), /asked again/);
  assert.equal(state.calls, 3);
});

test("an Admin call waits while no controller is known", limit, async () => {
  const { broker, client } = setUp();
  // A broker does not know the call.
  const { fault, state } = failing("CreateTopic", 2, ErrorCode.UNSUPPORTED_OPERATION);
  broker.callFault = fault;
  await assert.rejects(client.admin.createTopic({ name: "t" }), /asked again/);
  assert.equal(state.calls, 3);
});

test(
  "an Admin call that a broker got is repeated, though the controller is known since",
  limit,
  async () => {
    const { broker, client } = setUp();
    await client.admin.cluster();
    const { fault, state } = failing("CreateTopic", 1, ErrorCode.UNSUPPORTED_OPERATION);
    broker.callFault = fault;
    broker.latencyMs = 20;
    broker.controllerAt = 1;
    const told = client.admin.cluster();
    await assert.rejects(client.admin.createTopic({ name: "t" }), /asked again/);
    await told;
    assert.equal(state.calls, 2);
  },
);

test("an Admin call that the controller does not know is not repeated", limit, async () => {
  const { broker, client } = setUp();
  broker.controllerAt = 1;
  await client.admin.cluster();
  const { fault, state } = failing("CreateTopic", 1, ErrorCode.UNSUPPORTED_OPERATION);
  broker.callFault = fault;
  await assert.rejects(client.admin.createTopic({ name: "t" }), {
    code: ErrorCode.UNSUPPORTED_OPERATION,
  });
  assert.equal(state.calls, 1);
});

test("an Admin call that no controller answered in time may be tried again", limit, async () => {
  const { broker, client } = setUp(1, { adminTimeoutMs: 300 });
  broker.callFault = failing("CreateTopic", 1000, ErrorCode.UNSUPPORTED_OPERATION).fault;
  await assert.rejects(client.admin.createTopic({ name: "t" }), {
    code: ErrorCode.NOT_CONTROLLER,
    message: /no controller of the cluster was active for 300 ms/,
  });
});
