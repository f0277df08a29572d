import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeClock } from "@millrace/env/node";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { Guarantee } from "@millrace/proto/common";
import {
  blankProduceRequest,
  type WireProduceRequest,
  type WireProduceResponse,
} from "@millrace/record";
import type { AppendCallback } from "./appender.ts";
import { ProduceSession } from "./session.ts";

const clock = nodeClock();

const blank: WireProduceRequest = { ...blankProduceRequest, topic: "t" };
const opening = { clientId: "c", acks: 0, windowBytes: 100, clusterId: "", requiredFeatures: [] };
const open = { ...blank, open: opening };
const batch = (requestId: number, bytes = 60): WireProduceRequest => ({
  ...blank,
  requestId,
  body: Buffer.alloc(bytes),
});

/** A session; the test sends requests, and answers appends. */
const setUp = () => {
  const requests: WireProduceRequest[] = [];
  const appends: AppendCallback[] = [];
  const responses: WireProduceResponse[] = [];
  let ended = false;
  const stream = {
    context: {},
    tryRead: () => requests.shift(),
    read: async () => {
      while (requests.length === 0 && !ended) await clock.sleep(1);
      return requests.shift();
    },
    write: (response: WireProduceResponse) => {
      responses.push(response);
      return true;
    },
    drained: () => Promise.resolve(),
  };
  const appender = {
    clock,
    identity: { clusterId: "c", brokerId: 0 },
    checkClient: () => {},
    onDrain: () => () => {},
    waitForCapacity: () => undefined,
    append: (_target: unknown, _body: unknown, _acks: unknown, done: AppendCallback) =>
      appends.push(done),
  };
  requests.push(open);
  const run = new ProduceSession(stream as never, appender as never).run();
  const outcome = run.then(
    () => "ended",
    (thrown: unknown) => MillraceError.from(thrown),
  );
  return {
    ...{ appends, outcome },
    send: (request: WireProduceRequest) => requests.push(request),
    end: () => {
      ended = true;
    },
    answers: () => responses.flatMap(({ results }) => results.map(({ requestId }) => requestId)),
  };
};

const done = {
  ...{ baseOffset: 0, appendTimeMs: 0, logStartOffset: 0, duplicate: false },
  guarantee: Guarantee.FSYNCED_QUORUM,
};

test("an answer gives its bytes back to the window", async () => {
  const { appends, outcome, send, end, answers } = setUp();
  for (let requestId = 1; requestId <= 5; requestId += 1) {
    send(batch(requestId));
    await clock.sleep(5);
    assert.equal(appends.length, requestId);
    appends.at(-1)?.(done);
    await clock.sleep(1);
  }
  end();
  assert.equal(await outcome, "ended");
  assert.deepEqual(answers(), [1, 2, 3, 4, 5]);
});

test("one request may exceed an empty window, two may not exceed it together", async () => {
  const { appends, outcome, send } = setUp();
  send(batch(1, 500));
  await clock.sleep(5);
  assert.equal(appends.length, 1);
  send(batch(2, 1));
  const error = await outcome;
  assert.ok(hasCode(error, ErrorCode.STREAM_PROTOCOL_VIOLATION));
  assert.match(error.message, /more than the window of 100 bytes/);
});

test("after a half-close every request is answered before the stream ends", async () => {
  const { appends, outcome, send, end, answers } = setUp();
  send(batch(1, 10));
  send(batch(2, 10));
  end();
  await clock.sleep(10);
  assert.deepEqual(answers(), []);
  appends[1]?.(done);
  await clock.sleep(5);
  assert.equal(await Promise.race([outcome, clock.sleep(5).then(() => "open")]), "open");
  appends[0]?.({ error: new MillraceError(ErrorCode.DISK_FULL, "full") });
  assert.equal(await outcome, "ended");
  assert.deepEqual(answers(), [2, 1]);
});
