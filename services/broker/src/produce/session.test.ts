import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { nodeClock } from "@millrace/env/node";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { Guarantee } from "@millrace/proto/common";
import {
  blankProduceRequest,
  type WireProduceRequest,
  type WireProduceResponse,
} from "@millrace/record";
import type { AppendCallback } from "./pending-append.ts";
import { ProduceSession } from "./session.ts";

const clock = nodeClock();
const limit = { timeout: 10_000 };

const blank: WireProduceRequest = { ...blankProduceRequest, topic: "t" };
const opening = { clientId: "c", acks: 0, windowBytes: 100, clusterId: "", requiredFeatures: [] };
const open = { ...blank, open: opening };
const batch = (requestId: number, bytes = 60): WireProduceRequest => ({
  ...blank,
  requestId,
  body: Buffer.alloc(bytes),
});

/** Ends what a test has left behind, so that a failure does not keep its process alive. */
const clients: AbortController[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.abort(new MillraceError(ErrorCode.CANCELLED, ""));
});

/** A session; the test sends requests, and answers appends. */
const setUp = () => {
  const requests: WireProduceRequest[] = [];
  const appends: AppendCallback[] = [];
  const responses: WireProduceResponse[] = [];
  let ended = false;
  const gone = new AbortController();
  clients.push(gone);
  const stream = {
    context: { signal: gone.signal },
    tryRead: () => requests.shift(),
    read: async () => {
      while (requests.length === 0 && !ended) {
        if (gone.signal.aborted) throw gone.signal.reason;
        await clock.sleep(1);
      }
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
    ...{ appends, outcome, gone, requests },
    send: (request: WireProduceRequest) => requests.push(request),
    end: () => {
      ended = true;
    },
    opened: () => responses[0]?.opened,
    answers: () => responses.flatMap(({ results }) => results.map(({ requestId }) => requestId)),
    perMessage: () => responses.slice(1).map(({ results }) => results.length),
  };
};

const done = {
  ...{ baseOffset: 0, appendTimeMs: 0, logStartOffset: 0, duplicate: false },
  guarantee: Guarantee.FSYNCED_QUORUM,
};

test("the opening is answered with what a client may have unanswered", limit, async () => {
  const { opened, outcome, end } = setUp();
  end();
  assert.equal(await outcome, "ended");
  const { windowBytes, producerBatches } = opened() ?? {};
  assert.deepEqual({ windowBytes, producerBatches }, { windowBytes: 100, producerBatches: 16 });
});

test("an answer gives its bytes back to the window", limit, async () => {
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

test("results of one turn leave in messages that a client takes", limit, async () => {
  const { appends, outcome, send, end, answers, perMessage } = setUp();
  const all = Array.from({ length: 2_500 }, (_, i) => i + 1);
  for (const requestId of all) send(batch(requestId, 0));
  end();
  await clock.sleep(10);
  for (const append of appends) append(done);
  assert.equal(await outcome, "ended");
  assert.deepEqual(answers(), all);
  assert.deepEqual(perMessage(), [1000, 1000, 500]);
});

test("requests without bytes are bounded, too", limit, async () => {
  const { appends, outcome, send, end, requests } = setUp();
  for (let requestId = 1; requestId <= 17_000; requestId += 1) send(batch(requestId, 0));
  end();
  await clock.sleep(50);
  assert.deepEqual([appends.length, requests.length], [16_385, 17_000 - 16_385]);
  for (let at = 0; at < 17_000; at += 1) {
    if (at === appends.length) await clock.sleep(5);
    appends[at]?.(done);
  }
  assert.equal(await outcome, "ended");
});

test(
  "one request may exceed an empty window, and the next is not read before it is answered",
  limit,
  async () => {
    const { appends, outcome, send, end, answers, requests } = setUp();
    send(batch(1, 500));
    send(batch(2, 1));
    await clock.sleep(10);
    assert.deepEqual([appends.length, requests.length], [1, 1]);
    appends[0]?.(done);
    await clock.sleep(5);
    assert.deepEqual([appends.length, requests.length], [2, 0]);
    appends[1]?.(done);
    end();
    assert.equal(await outcome, "ended");
    assert.deepEqual(answers(), [1, 2]);
  },
);

test(
  "a client that does not count is read as its window allows, and gets every answer",
  limit,
  async () => {
    const { appends, outcome, send, end, answers } = setUp();
    const count = 20;
    for (let requestId = 1; requestId <= count; requestId += 1) send(batch(requestId, 40));
    end();
    for (let answered = 0; answered < count; answered += 1) {
      await clock.sleep(3);
      // 40 and 80 bytes are within the window of 100; the third request is the one beyond it.
      assert.equal(appends.length, Math.min(count, answered + 3));
      appends[answered]?.(done);
    }
    assert.equal(await outcome, "ended");
    assert.equal(answers().length, count);
  },
);

test("requests that fail give their bytes back, too", limit, async () => {
  const { appends, outcome, send, end } = setUp();
  for (let requestId = 1; requestId <= 3; requestId += 1) send(batch(requestId, 200));
  end();
  for (let i = 0; i < 3; i += 1) {
    await clock.sleep(3);
    appends[i]?.({ error: new MillraceError(ErrorCode.DISK_FULL, "full") });
  }
  assert.equal(await outcome, "ended");
});

test("a client that leaves while its window is full ends the stream", limit, async () => {
  const { outcome, send, gone } = setUp();
  send(batch(1, 500));
  await clock.sleep(5);
  gone.abort(new MillraceError(ErrorCode.CANCELLED, "gone"));
  assert.ok(hasCode(await outcome, ErrorCode.CANCELLED));
});

test("after a half-close every request is answered before the stream ends", limit, async () => {
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
