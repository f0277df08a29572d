/** What a watcher is told, and when. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import type { Clock, Random } from "@millrace/env";
import { nodeClock } from "@millrace/env/node";
import { ErrorCode, formatEndpoint, hasCode } from "@millrace/errors";
import {
  GetMetadataRequestSchema,
  WatchMetadataRequestSchema,
  type WatchMetadataResponse,
} from "@millrace/proto/metadata";
import fc from "fast-check";
import { brokerOf, FakeView, partitionOf, topicOf } from "../testing/fake-view.ts";
import { RouteHistory } from "./route-history.ts";
import { MetadataHandlers } from "./service.ts";
import type { TopicView } from "./view.ts";
import { MetadataWatch } from "./watch.ts";

/** A clock whose timers a test lets expire. */
const fakeClock = () => {
  const timers = new Set<{ readonly ms: number; readonly run: () => void }>();
  const clock: Clock = {
    ...nodeClock(),
    timer: (ms, run) => {
      const timer = { ms, run };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
  const expire = (): number => {
    const [timer] = timers;
    assert.ok(timer !== undefined && timers.size === 1, `${timers.size} timers`);
    timers.delete(timer);
    timer.run();
    return timer.ms;
  };
  return { clock, expire, timers };
};

/** A watch that is not told what it waits for hangs. */
const limit = { timeout: 10_000 };

const half: Random = { float: () => 0.5, below: () => 0, bytes: (n) => new Uint8Array(n) };

interface Wanted {
  readonly topics?: string[];
  readonly generation?: Uint8Array;
  readonly afterRevision?: bigint;
}

const watching = (view: FakeView, history: RouteHistory, wanted: Wanted = {}) => {
  const gone = new AbortController();
  const draining = new AbortController();
  const told: WatchMetadataResponse[] = [];
  let blocked = Promise.withResolvers<void>();
  blocked.resolve();
  let room = true;
  const stream = {
    context: { signal: gone.signal, draining: draining.signal },
    write: (message: WatchMetadataResponse) => {
      told.push(message);
      return room;
    },
    drained: () => blocked.promise,
  };
  const { clock, expire, timers } = fakeClock();
  const request = create(WatchMetadataRequestSchema, wanted);
  const context = { view, history, clock, random: half };
  const run = new MetadataWatch(context, request, stream as never).run();
  const outcome = run.then(
    () => "ended",
    (thrown: unknown) => thrown,
  );
  return {
    ...{ told, outcome, gone, draining, expire, timers },
    /** What came since the last call. */
    news: async () => {
      await turn();
      return told.splice(0).map(shown);
    },
    block: () => {
      room = false;
      blocked = Promise.withResolvers<void>();
    },
    unblock: () => {
      room = true;
      blocked.resolve();
    },
  };
};

const route = ({ partition, leader, leaderEpoch }: TopicView["partitions"][number]): string =>
  `${partition}:${leader ?? "none"}/${leaderEpoch}`;

/** A message in few words; what it does not say is left out. */
const shown = (message: WatchMetadataResponse) => ({
  revision: Number(message.revision),
  ...(message.snapshot && { snapshot: true }),
  ...(message.generation.length > 0 && { generation: message.generation[0] }),
  ...(message.topics.length > 0 && {
    topics: message.topics.map(
      ({ name, topicId, partitions }) =>
        `${name}#${topicId[0]} ${partitions.map((one) => route({ ...one, leader: one.leader } as never)).join(" ")}`,
    ),
  }),
  ...(message.routes.length > 0 && {
    routes: message.routes.map(
      ({ topicId, partition }) =>
        `${topicId[0]} ${route({ ...partition, leader: partition?.leader } as never)}`,
    ),
  }),
  ...(message.deletedTopics.length > 0 && { deleted: message.deletedTopics }),
  ...(message.brokers && {
    brokers: message.brokers.brokers.map(({ endpoint }) => endpoint && formatEndpoint(endpoint)),
  }),
  ...(message.controller && { controller: message.controller.host }),
});

const a = "a".charCodeAt(0);
const b = "b".charCodeAt(0);
const first = { generation: 1, brokers: ["b0:7400"], controller: "b0" };

test("first a snapshot with all that clients need to know, then what changes", limit, async () => {
  const view = new FakeView(10, [topicOf("a", [partitionOf(0), partitionOf(1)])]);
  const { news, told, gone, outcome } = watching(view, new RouteHistory(view, 100));
  await turn();
  const { clusterId, featureLevel, heartbeatIntervalMs } = told[0] ?? {};
  assert.deepEqual([clusterId, featureLevel, heartbeatIntervalMs], ["c", 4, 5000]);
  assert.deepEqual(await news(), [
    { revision: 10, snapshot: true, ...first, topics: [`a#${a} 0:0/1 1:0/1`] },
  ]);
  view.change({ put: [topicOf("a", [partitionOf(0), partitionOf(1, 1, 2)])] });
  assert.deepEqual(await news(), [{ revision: 11, routes: [`${a} 1:1/2`] }]);
  view.change({ put: [topicOf("a", [partitionOf(0, "none", 2), partitionOf(1, 1, 2)])] });
  assert.deepEqual(await news(), [{ revision: 12, routes: [`${a} 0:none/2`] }]);
  view.change({ put: [topicOf("b", [partitionOf(0)])] });
  assert.deepEqual(await news(), [{ revision: 13, topics: [`b#${b} 0:0/1`] }]);
  view.change({ put: [topicOf("b", [partitionOf(0), partitionOf(1)])] });
  assert.deepEqual(await news(), [{ revision: 14, topics: [`b#${b} 0:0/1 1:0/1`] }]);
  view.change({ put: [topicOf("b", [partitionOf(0)], 7)] });
  assert.deepEqual(await news(), [{ revision: 15, topics: ["b#7 0:0/1"] }]);
  view.change({ put: [topicOf("b", [partitionOf(0)], 8)] });
  assert.deepEqual(await news(), [{ revision: 16, topics: ["b#8 0:0/1"] }], "with the same leader");
  view.change({ remove: ["b"], brokers: [brokerOf(1), brokerOf(0)] });
  assert.deepEqual(await news(), [
    { revision: 17, deleted: ["b"], brokers: ["b0:7400", "b1:7400"] },
  ]);
  gone.abort();
  assert.equal(await outcome, "ended");
  assert.equal(view.listeners, 1, "only the history still listens");
});

test("what no client routes by is not told: ISR, configs", limit, async () => {
  const view = new FakeView(10, [topicOf("a", [partitionOf(0)])]);
  const { news, gone } = watching(view, new RouteHistory(view, 100));
  await news();
  const shrunk = { ...partitionOf(0, 0, 1, [0]), modRevision: 11 };
  view.change({ put: [topicOf("a", [shrunk])] });
  view.change({ put: [topicOf("a", [{ ...shrunk, isrBrokerEpochs: [9], modRevision: 12 }])] });
  view.change({ put: [{ ...topicOf("a", [partitionOf(0)]), configs: { "flush.ms": "1" } }] });
  assert.deepEqual(await news(), []);
  gone.abort();
});

test("a watcher of some topics hears of those alone", limit, async () => {
  const view = new FakeView(10, [topicOf("a", [partitionOf(0)]), topicOf("b", [partitionOf(0)])]);
  const { news, gone } = watching(view, new RouteHistory(view, 100), { topics: ["a", "c", "a"] });
  assert.deepEqual((await news())[0]?.topics, [`a#${a} 0:0/1`]);
  view.change({ put: [topicOf("b", [partitionOf(0, 1, 2)])] });
  assert.deepEqual(await news(), []);
  view.change({ put: [topicOf("c", [partitionOf(0)])], remove: ["b"] });
  assert.equal((await news())[0]?.topics?.length, 1);
  gone.abort();
});

test(
  "between changes come heartbeats with the revision alone, and a new controller",
  limit,
  async () => {
    const view = new FakeView(10);
    const { news, expire, gone } = watching(view, new RouteHistory(view, 100));
    await news();
    view.current = { ...view.current, revision: 25 };
    assert.equal(expire(), 5000);
    assert.deepEqual(await news(), [{ revision: 25 }]);
    view.current = { ...view.current, controller: brokerOf(3).endpoint };
    expire();
    assert.deepEqual(await news(), [{ revision: 25, controller: "b3" }]);
    view.current = { ...view.current, controller: undefined };
    expire();
    assert.deepEqual(await news(), [{ revision: 25, controller: "" }]);
    gone.abort();
  },
);

const generation = new Uint8Array(16).fill(1);

test("who comes back hears what changed since, as far as it is remembered", limit, async () => {
  const view = new FakeView(10, [topicOf("a", [partitionOf(0), partitionOf(1)])]);
  const history = new RouteHistory(view, 100);
  view.change({ put: [topicOf("a", [partitionOf(0, 1, 2), partitionOf(1)])], revision: 20 });
  view.change({ put: [topicOf("b", [partitionOf(0)])], revision: 30 });
  view.change({ brokers: [brokerOf(0), brokerOf(1)], revision: 40 });
  view.change({ put: [topicOf("b", [partitionOf(0, 1, 2)])], revision: 50 });
  view.change({ remove: ["a"], revision: 60 });
  const from = async (afterRevision: bigint, topics: string[] = []) => {
    const watch = watching(view, history, { generation, afterRevision, topics });
    const [answer, ...more] = await watch.news();
    assert.deepEqual(more, []);
    watch.gone.abort();
    return answer;
  };
  const { brokers: _, ...facts } = first;
  const start = { revision: 60, ...facts };
  assert.deepEqual(await from(60n), start);
  assert.deepEqual(await from(50n), { ...start, deleted: ["a"] });
  assert.deepEqual(await from(40n), { ...start, routes: [`${b} 0:1/2`], deleted: ["a"] });
  const brokers = ["b0:7400", "b1:7400"];
  assert.deepEqual(await from(30n, ["a"]), { ...start, deleted: ["a"], brokers });
  // Whole topics, as they are now: nobody needs the states between.
  assert.deepEqual(await from(10n), {
    ...{ ...start, brokers, deleted: ["a"] },
    topics: [`b#${b} 0:1/2`],
  });
  const everything = { ...start, snapshot: true, brokers, topics: [`b#${b} 0:1/2`] };
  assert.deepEqual(await from(9n), everything, "before this process knew anything");
  assert.deepEqual(await from(0n), everything);
});

test(
  "between two revisions that a listing showed as one change, there is a snapshot",
  limit,
  async () => {
    const view = new FakeView(10, [topicOf("a", [partitionOf(0)])]);
    const history = new RouteHistory(view, 100);
    const from = async (afterRevision: bigint) => {
      const watch = watching(view, history, { generation, afterRevision });
      const [answer] = await watch.news();
      watch.gone.abort();
      return answer?.snapshot ?? false;
    };
    // Revisions that bring nothing of ours: seen as they are told.
    view.current = { ...view.current, revision: 14 };
    assert.equal(await from(14n), false);
    // At 15 a topic was made, at 17 it was deleted, and the listing at 18 shows neither.
    view.change({ put: [topicOf("b", [partitionOf(0)])], revision: 18 });
    assert.deepEqual(await Promise.all([13n, 14n, 15n, 17n, 18n].map(from)), [
      false,
      false,
      true,
      true,
      false,
    ]);
  },
);

test("nothing of before another generation is resumed", limit, async () => {
  const view = new FakeView(10, [topicOf("a", [partitionOf(0)])]);
  const history = new RouteHistory(view, 100);
  view.change({ put: [topicOf("a", [partitionOf(0, 1, 2)])], revision: 20 });
  view.change({ generation: 2, put: [topicOf("b", [partitionOf(0)])], revision: 15 });
  const theirs = new Uint8Array(16).fill(2);
  for (const [afterRevision, isSnapshot] of [
    [12n, true],
    [14n, true],
    [15n, undefined],
  ] as const) {
    const watch = watching(view, history, { generation: theirs, afterRevision });
    assert.equal((await watch.news())[0]?.snapshot, isSnapshot, `${afterRevision}`);
    watch.gone.abort();
  }
});

test("another generation, or none, gets a snapshot", limit, async () => {
  const view = new FakeView(10);
  const history = new RouteHistory(view, 100);
  for (const theirs of [new Uint8Array(16).fill(9), new Uint8Array(0)]) {
    const watch = watching(view, history, { generation: theirs, afterRevision: 900n });
    assert.equal((await watch.news())[0]?.snapshot, true);
    watch.gone.abort();
  }
});

test("who is ahead of this process waits for it, and is refused in the end", limit, async () => {
  const view = new FakeView(10);
  const history = new RouteHistory(view, 100);
  const ahead = watching(view, history, { generation, afterRevision: 11n });
  assert.deepEqual(await ahead.news(), []);
  view.change({ put: [topicOf("z", [partitionOf(0)])], revision: 11 });
  assert.deepEqual(await ahead.news(), [{ revision: 11, generation: 1, controller: "b0" }]);
  view.change({ put: [topicOf("a", [partitionOf(0)])], revision: 13 });
  assert.deepEqual(
    (await ahead.news()).map(({ snapshot, revision, topics }) => [snapshot, revision, topics]),
    [[undefined, 13, [`a#${a} 0:0/1`]]],
  );
  ahead.gone.abort();
  const never = watching(view, history, { generation, afterRevision: 2n ** 64n - 1n });
  await turn();
  view.giveUp();
  assert.ok(hasCode(await never.outcome, ErrorCode.METADATA_STALE));
});

test("a slow watcher is told the newest state once, not every one between", limit, async () => {
  const view = new FakeView(10, [topicOf("a", [partitionOf(0)])]);
  const { news, block, unblock, gone } = watching(view, new RouteHistory(view, 10));
  await news();
  block();
  view.change({ put: [topicOf("a", [partitionOf(0, 1, 2)])] });
  await news();
  for (let epoch = 3; epoch <= 500; epoch += 1) {
    view.change({ put: [topicOf("a", [partitionOf(0, epoch % 2, epoch)])] });
    view.change({ put: [topicOf("b", [partitionOf(0)], epoch % 200)] });
    view.change({ remove: ["b"] });
  }
  assert.deepEqual(await news(), []);
  unblock();
  assert.deepEqual(await news(), [
    { revision: view.current.revision, routes: [`${a} 0:0/500`], deleted: ["b"] },
  ]);
  gone.abort();
});

test("a watch ends with the generation, and with the server", limit, async () => {
  const view = new FakeView(10);
  const history = new RouteHistory(view, 100);
  const watch = watching(view, history);
  const drained = watching(view, history);
  await watch.news();
  drained.draining.abort();
  assert.equal(await drained.outcome, "ended");
  view.change({ generation: 2, put: [topicOf("a", [partitionOf(0)])], revision: 3 });
  assert.equal(await watch.outcome, "ended");
  assert.deepEqual(await watch.news(), [], "no revision of another generation");
  assert.equal(watch.timers.size + drained.timers.size, 0);
});

test("only the newest changes are remembered, and none that is half forgotten", () => {
  const view = new FakeView(0);
  const history = new RouteHistory(view, 10);
  for (let i = 1; i <= 25; i += 1) view.change({ put: [topicOf(`t${i}`, [partitionOf(0)], i)] });
  const oldest = Array.from({ length: 26 }, (_, i) => i).find((i) => history.since(i));
  assert.ok(oldest !== undefined && oldest >= 15 && oldest <= 20, `${oldest}`);
  for (let revision = oldest; revision <= 25; revision += 1) {
    assert.equal(history.since(revision)?.names.size, 25 - revision);
  }
  // Brokers that come and go count, too.
  for (let i = 0; i < 100; i += 1) view.change({ brokers: [brokerOf(i)] });
  assert.equal(history.since(100), undefined);
});

test("a change at a revision that was told already is told", limit, async () => {
  const view = new FakeView(10, [topicOf("a", [partitionOf(0)])]);
  const { news, gone } = watching(view, new RouteHistory(view, 100));
  await news();
  // As a listing finds it that a lost event is missing from.
  view.change({ put: [topicOf("a", [partitionOf(0, 1, 2)])], revision: 10 });
  assert.deepEqual(await news(), [{ revision: 10, routes: [`${a} 0:1/2`] }]);
  gone.abort();
});

interface Known {
  readonly id: number;
  readonly partitions: TopicView["partitions"];
}

/** What a client makes of a message; the keys are topics. */
const apply = (known: Map<string, Known>, message: WatchMetadataResponse): void => {
  if (message.snapshot) known.clear();
  for (const name of message.deletedTopics) known.delete(name);
  for (const { name, topicId, partitions } of message.topics) {
    known.set(name, {
      id: topicId[0] ?? 0,
      partitions: partitions.map((one) =>
        partitionOf(one.partition, one.leader ?? "none", one.leaderEpoch),
      ),
    });
  }
  for (const { topicId, partition } of message.routes) {
    const found = [...known].find(([, { id }]) => id === topicId[0]);
    assert.ok(found !== undefined, "a route of a topic that the client does not know");
    const [name, { id, partitions }] = found;
    const { partition: index = 0, leader = "none", leaderEpoch = 0 } = partition ?? {};
    assert.ok(index < partitions.length, "a route of a partition that the client does not know");
    known.set(name, {
      id,
      partitions: partitions.with(index, partitionOf(index, leader, leaderEpoch)),
    });
  }
};

test("whoever follows, breaks off and comes back knows what is true", limit, async () => {
  const step = fc.oneof(
    fc.record({
      name: fc.constantFrom("a", "b", "c"),
      what: fc.constantFrom("move", "grow", "remake", "remove"),
    }),
    fc.constantFrom("read", "break"),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const view = new FakeView(5);
      const history = new RouteHistory(view, 6);
      const known = new Map<string, Known>();
      const ids = new Map<string, number>();
      let nextId = 1;
      let informed = 0n;
      let watch = watching(view, history);
      const read = async (): Promise<void> => {
        await turn();
        for (const message of watch.told.splice(0)) {
          apply(known, message);
          assert.ok(message.revision >= informed);
          informed = message.revision;
        }
      };
      await read();
      for (const one of steps) {
        if (one === "read") await read();
        else if (one === "break") {
          watch.gone.abort();
          watch = watching(view, history, { generation, afterRevision: informed });
        } else {
          const old = view.current.topics.get(one.name);
          if (one.what === "remake" || old === undefined) ids.set(one.name, nextId++);
          const partitions = [...(old?.partitions ?? [])];
          if (one.what === "remove") view.change({ remove: old === undefined ? [] : [one.name] });
          else {
            const { length } = partitions;
            if (one.what === "move" && length > 0) {
              const epoch = (partitions[length - 1]?.leaderEpoch ?? 0) + 1;
              partitions[length - 1] = partitionOf(length - 1, epoch % 2, epoch);
            } else if (one.what === "grow" || length === 0) partitions.push(partitionOf(length));
            view.change({ put: [topicOf(one.name, partitions, ids.get(one.name))] });
          }
        }
      }
      await read();
      watch.gone.abort();
      const truth = [...view.current.topics].map(([name, { partitions }]) => [
        ...[name, ids.get(name)],
        partitions.map(route),
      ]);
      const believed = [...known].map(([name, { id, partitions }]) => [
        ...[name, id],
        partitions.map(route),
      ]);
      assert.deepEqual(believed.sort(), truth.sort());
    }),
    { numRuns: 300, seed: 7 },
  );
});

test(
  "GetMetadata waits for a revision of its own generation, and for no other",
  limit,
  async () => {
    const view = new FakeView(10, [topicOf("a", [partitionOf(0)])]);
    const handlers = new MetadataHandlers(view, nodeClock(), half, {
      of: () => undefined,
      all: () => [],
    });
    const ask = (fields: Parameters<typeof create<typeof GetMetadataRequestSchema>>[1]) =>
      handlers.getMetadata(create(GetMetadataRequestSchema, fields));
    const answer = await ask({ minRevision: 900n, generation: new Uint8Array(16).fill(9) });
    assert.deepEqual(
      [answer.revision, answer.generation[0], answer.featureLevel, answer.controller?.host],
      [10n, 1, 4, "b0"],
    );
    for (const theirs of [generation, new Uint8Array(0)]) {
      const stale = ask({ minRevision: 900n, generation: theirs });
      view.giveUp();
      await assert.rejects(stale, (thrown) => hasCode(thrown, ErrorCode.METADATA_STALE));
    }
    const waits = ask({ minRevision: 11n, generation, topics: ["b"] });
    view.change({ put: [topicOf("b", [partitionOf(0)])] });
    assert.equal((await waits).topics[0]?.name, "b");
  },
);
