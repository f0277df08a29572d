import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import type { HotFetchRequest, HotFetchResponse } from "@millrace/record";
import { addedPerTurn, FetchSession } from "./session.ts";
import { Turns } from "./turn-limiter.ts";

const clock = nodeClock();
const noBytes = new Uint8Array(0);
const nothing: HotFetchRequest = { open: undefined, remove: [], add: [], grants: [] };
const endOffset = 20;

/** A stream whose client sends `requests`, a turn apart, and then waits for `enough` responses. */
const streamOf = (requests: HotFetchRequest[], enough: number) => {
  const responses: HotFetchResponse[] = [];
  const done = Promise.withResolvers<void>();
  const stream = {
    context: { signal: new AbortController().signal },
    tryRead: () => undefined,
    read: async () => {
      await clock.sleep(1);
      const next = requests.shift();
      if (next === undefined) await done.promise;
      return next;
    },
    write: (response: HotFetchResponse) => {
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
  requireLeader: () => 1,
  onceProgress: () => () => {},
  log: {
    highWatermark: endOffset,
    logStartOffset: 0,
    tryReadTail: () => undefined,
    read: async (offset: number) => {
      await clock.sleep(3);
      const rest = { highWatermark: endOffset, logStartOffset: 0 };
      return { chunks: [Buffer.alloc(100)], bytes: 100, nextOffset: offset + 1, ...rest };
    },
  },
};

test("grants that come while a cursor is read do not send its batches twice", async () => {
  const open = { clientId: "c", messageBytesMax: 0, clusterId: "", isolation: 0 };
  const cursor = { cursorId: 1, topicId: noBytes, topic: "t", partition: 0, offset: 0 };
  const add = [{ ...cursor, leaderEpoch: undefined, lastFetchedEpoch: undefined, grantBytes: 100 }];
  const grant = { ...nothing, grants: [{ cursorId: 1, bytes: 100 }] };
  const grants = Array.from({ length: endOffset - 1 }, () => grant);
  const { stream, responses } = streamOf([{ ...nothing, open, add }, ...grants], endOffset);
  const appender = {
    clock,
    identity: { clusterId: "c", brokerId: 0 },
    checkClient: () => {},
    onDrain: () => () => {},
  };
  const context = {
    replicas: { find: () => slowReplica },
    ...{ appender, random: nodeRandom(), compressor: undefined },
    turns: new Turns(addedPerTurn, (run) => clock.defer(run)),
    metrics: { onFetch: () => {}, onError: () => {} },
  };
  await new FetchSession(stream as never, context as never).run();
  const ends = responses.flatMap(({ nextOffset, batches }) =>
    batches.length > 0 ? [nextOffset] : [],
  );
  assert.deepEqual(
    ends,
    Array.from({ length: endOffset }, (_, i) => i + 1),
  );
});
