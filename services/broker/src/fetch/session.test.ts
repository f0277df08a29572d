import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { within } from "@millrace/env/testing";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { FetchOnceRequestSchema } from "@millrace/proto/broker";
import type { WireFetchRequest, WireFetchResponse } from "@millrace/record";
import type { CallContext } from "@millrace/rpc";
import { fetchOnce } from "../fetch-once.ts";
import { topicOf } from "../testing/fake-view.ts";
import { noMeter, TopicMeters } from "../topic-meters.ts";
import { addedPerTurn, FetchSession } from "./session.ts";
import { TurnLimiter } from "./turn-limiter.ts";

const clock = nodeClock();
const noBytes = new Uint8Array(0);
const nothing: WireFetchRequest = { open: undefined, remove: [], add: [], grants: [] };
const endOffset = 20;

/** A stream whose client sends `requests`, a turn apart, and half-closes after `enough` batches. */
const streamOf = (requests: WireFetchRequest[], enough: number) => {
  const responses: WireFetchResponse[] = [];
  const done = Promise.withResolvers<void>();
  const stream = {
    context: { signal: new AbortController().signal },
    tryRead: () => undefined,
    read: async () => {
      await clock.sleep(1);
      const next = requests.shift();
      if (next === undefined && enough > 0) await done.promise;
      return next;
    },
    write: (response: WireFetchResponse) => {
      responses.push(response);
      if (responses.filter(({ batches }) => batches.length > 0).length >= enough) done.resolve();
      return true;
    },
    drained: () => Promise.resolve(),
  };
  return { stream, responses };
};

/** A replica whose reads take a while: one record of 100 bytes each. */
const slowReplica = {
  requireLeader() {
    return { epoch: 1, log: this.log };
  },
  onceProgress: () => () => {},
  meter: noMeter,
  log: {
    highWatermark: endOffset,
    logStartOffset: 0,
    tryReadTail: () => undefined,
    read: async (offset: number): Promise<unknown> => {
      await clock.sleep(3);
      const rest = { highWatermark: endOffset, logStartOffset: 0 };
      if (offset >= endOffset) return { chunks: [], bytes: 0, nextOffset: offset, ...rest };
      return { chunks: [Buffer.alloc(100)], bytes: 100, nextOffset: offset + 1, ...rest };
    },
  },
};

/** What a session takes from the broker, over one replica. */
const contextOf = (replica: unknown) => ({
  replicas: { find: () => replica },
  appender: {
    clock,
    identity: { clusterId: "c", brokerId: 0 },
    checkClient: () => {},
    onDrain: () => () => {},
  },
  random: nodeRandom(),
  compressor: undefined,
  turnLimiter: new TurnLimiter(addedPerTurn, (run) => clock.defer(run)),
  metrics: { onFetch: () => {}, onError: () => {} },
});

const open = {
  clientId: "c",
  messageBytesMax: 0,
  clusterId: "",
  isolation: 0,
  requiredFeatures: [],
};
const cursorAt = (cursorId: number, offset: number, grantBytes: number) => ({
  ...{ cursorId, topicId: noBytes, topic: "t", partition: 0, offset, grantBytes },
  ...{ leaderEpoch: undefined, lastFetchedEpoch: undefined },
});

const endsOf = (responses: readonly WireFetchResponse[], cursorId = 1) =>
  responses.flatMap((response) =>
    response.batches.length > 0 && response.cursorId === cursorId ? [response.nextOffset] : [],
  );

test("grants that come while a cursor is read do not send its batches twice", async () => {
  const grant = { ...nothing, grants: [{ cursorId: 1, bytes: 100 }] };
  const grants = Array.from({ length: endOffset - 1 }, () => grant);
  const first = { ...nothing, open, add: [cursorAt(1, 0, 100)] };
  const { stream, responses } = streamOf([first, ...grants], endOffset);
  await new FetchSession(stream as never, contextOf(slowReplica) as never).run();
  assert.deepEqual(
    endsOf(responses),
    Array.from({ length: endOffset }, (_, i) => i + 1),
  );
});

test("what is sent counts for its topic, and a cursor that fails as an error of it", async () => {
  const meters = new TopicMeters({ topicsMax: 1, partitionsMax: 0 });
  const meter = meters.open(topicOf("t", []).id, "t", 0);
  const metered = { ...slowReplica, meter };
  const totals = () => [...meters.topics()][0]?.totals ?? assert.fail();
  const { stream } = streamOf([{ ...nothing, open, add: [cursorAt(1, 17, 10_000)] }], 0);
  await new FetchSession(stream as never, contextOf(metered) as never).run();
  const { fetchedRecords, fetchedBytes, errors } = totals();
  assert.deepEqual([fetchedRecords, fetchedBytes, errors], [3, 300, 0]);

  const fails = () => Promise.reject(new MillraceError(ErrorCode.OFFSET_OUT_OF_RANGE, "no"));
  const broken = { ...metered, log: { ...slowReplica.log, read: fails } };
  const again = streamOf([{ ...nothing, open, add: [cursorAt(1, 17, 10_000)] }], 0);
  await new FetchSession(again.stream as never, contextOf(broken) as never).run();
  assert.equal(totals().errors, 1);
  const deposed = {
    ...metered,
    requireLeader: () => {
      throw new MillraceError(ErrorCode.NOT_LEADER, "no");
    },
  };
  const third = streamOf([{ ...nothing, open, add: [cursorAt(1, 17, 10_000)] }], 0);
  await new FetchSession(third.stream as never, contextOf(deposed) as never).run();
  assert.equal(totals().errors, 2);

  const call = { signal: new AbortController().signal, draining: new AbortController().signal };
  const once = (replica: unknown) =>
    fetchOnce(
      contextOf(replica) as never,
      create(FetchOnceRequestSchema, { offset: 19n, decode: true }),
      call as CallContext,
    );
  // The batch of this log is none: it is counted as sent, and fails after that.
  await assert.rejects(once(metered));
  assert.deepEqual([totals().fetchedRecords, totals().fetchedBytes], [4, 400]);
  assert.equal(totals().errors, 3);
});

test("after a half-close, each cursor sends what it may and can, and the stream ends", async () => {
  const add = [cursorAt(1, 17, 10_000), cursorAt(2, 0, 250), cursorAt(3, endOffset, 100)];
  const { stream, responses } = streamOf([{ ...nothing, open, add }], 0);
  await new FetchSession(stream as never, contextOf(slowReplica) as never).run();
  assert.deepEqual(endsOf(responses, 1), [18, 19, 20]);
  assert.deepEqual(endsOf(responses, 2), [1, 2, 3]);
  assert.deepEqual(endsOf(responses, 3), []);
  const watermarks = responses.filter(({ cursorId }) => cursorId === 3);
  assert.deepEqual(
    watermarks.map(({ highWatermark, nextOffset }) => [highWatermark, nextOffset]),
    [[endOffset, endOffset]],
  );
});

test("after a half-close, new records do not keep the stream open", async () => {
  let end = 2;
  const growing = {
    ...slowReplica,
    // A record arrives right after a cursor has caught up: the two cursors never wait together.
    onceProgress: (wake: () => void) => {
      let stopped = false;
      queueMicrotask(() => {
        end += 1;
        if (!stopped) wake();
      });
      return () => {
        stopped = true;
      };
    },
    log: {
      ...slowReplica.log,
      get highWatermark() {
        return end;
      },
      read: async (offset: number) => {
        await clock.sleep(1);
        const bytes = offset < end ? 100 : 0;
        const rest = { highWatermark: end, logStartOffset: 0 };
        const chunks = bytes === 0 ? [] : [Buffer.alloc(bytes)];
        return { chunks, bytes, nextOffset: offset + Number(bytes > 0), ...rest };
      },
    },
  };
  const add = [cursorAt(1, 0, 1_000_000), cursorAt(2, 0, 1_000_000)];
  const { stream, responses } = streamOf([{ ...nothing, open, add }], 0);
  const run = new FetchSession(stream as never, contextOf(growing) as never).run();
  assert.equal(await Promise.race([run.then(() => "ended"), clock.sleep(2000)]), "ended");
  assert.ok(endsOf(responses).length >= 2 && endsOf(responses).length < 10);
});

test("a record that arrives while the log is read is sent, without another event", async () => {
  let end = 0;
  const quiet = {
    ...slowReplica,
    log: {
      ...slowReplica.log,
      get highWatermark() {
        return end;
      },
      read: async (offset: number) => {
        const highWatermark = end;
        end = 1;
        const chunks = offset < highWatermark ? [Buffer.alloc(100)] : [];
        const bytes = 100 * chunks.length;
        const rest = { highWatermark, logStartOffset: 0 };
        return { chunks, bytes, nextOffset: offset + chunks.length, ...rest };
      },
    },
  };
  const { stream, responses } = streamOf([{ ...nothing, open, add: [cursorAt(1, 0, 500)] }], 1);
  const run = new FetchSession(stream as never, contextOf(quiet) as never).run();
  assert.equal(await Promise.race([run.then(() => "ended"), clock.sleep(2000)]), "ended");
  assert.deepEqual(endsOf(responses), [1]);
});

test("after a half-close, a client that goes away ends the stream", async (context) => {
  const gone = new AbortController();
  const { promise, reject } = Promise.withResolvers<never>();
  // A stream that goes on has a heartbeat, which keeps the process from its end.
  context.after(() => reject(new Error("the test is over")));
  const stuck = { ...slowReplica, log: { ...slowReplica.log, read: () => promise } };
  const { stream } = streamOf([{ ...nothing, open, add: [cursorAt(1, 0, 100)] }], 0);
  stream.context = { signal: gone.signal };
  const run = new FetchSession(stream as never, contextOf(stuck) as never).run();
  await clock.sleep(20);
  gone.abort();
  await within(run, "end of the stream");
});

test("a removed cursor sends nothing more, and its id may be used again", async () => {
  const first = { ...nothing, open, add: [cursorAt(1, 0, 500)] };
  const seek = { ...nothing, remove: [1], add: [cursorAt(1, 10, 200)] };
  const { stream, responses } = streamOf([first, seek], 2);
  await new FetchSession(stream as never, contextOf(slowReplica) as never).run();
  assert.deepEqual(endsOf(responses).slice(-2), [11, 12]);
});
