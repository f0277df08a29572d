import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogManager, PartitionLog } from "@millrace/log";
import { topicOf } from "./testing/fake-view.ts";
import { otherLabel, TopicMeters } from "./topic-meters.ts";

/** Topic `name`, in the life that its id says. */
const open = (meters: TopicMeters, name: string, partition = 0, id = name.charCodeAt(0)) =>
  meters.open(topicOf(name, [], id).id, name, partition);

const topics = (meters: TopicMeters): Record<string, number> =>
  Object.fromEntries(
    [...meters.topics()].map(({ topic, totals }) => [topic, totals.producedBytes]),
  );

const partitions = (meters: TopicMeters): Record<string, number> =>
  Object.fromEntries(
    [...meters.partitions()].map(({ topic, partition, totals }) => [
      `${topic}-${partition}`,
      totals.producedBytes,
    ]),
  );

const logsOf = (logs: readonly (readonly [name: string, partition: number, size: number])[]) => {
  const found = logs.map(([name, partition, sizeBytes]) => ({
    ...{ topicId: topicOf(name, []).id, topic: name, partition, sizeBytes },
  }));
  const manager: Pick<LogManager, "partitions"> = {
    partitions: () => found as unknown as PartitionLog[],
  };
  return manager;
};

test("partitions of a topic count together, in everything that is counted", () => {
  const meters = new TopicMeters({ topicsMax: 2, partitionsMax: 0 });
  const [first, second] = [open(meters, "a", 0), open(meters, "a", 1)];
  first.onAppend(2, 100);
  second.onAppend(3, 50);
  first.onFetch(4, 70);
  second.onFetch(1, 10);
  first.onError();
  second.onError();
  const [series] = [...meters.topics()];
  assert.deepEqual(
    { ...series?.totals },
    {
      ...{ producedRecords: 5, producedBytes: 150, fetchedRecords: 5, fetchedBytes: 80 },
      ...{ errors: 2, sizeBytes: 0 },
    },
  );
  assert.deepEqual([...meters.partitions()], [], "by choice only");
});

test("the first topics have labels, the others are one series, and none ever falls", () => {
  const meters = new TopicMeters({ topicsMax: 2, partitionsMax: 0 });
  const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => open(meters, name));
  for (const meter of [a, b, c, d]) meter?.onAppend(1, 10);
  assert.deepEqual(topics(meters), { a: 10, b: 10, other: 20 });
  // The next one in the order of arrival gets the label, and begins from zero.
  a?.close();
  assert.deepEqual(topics(meters), { b: 10, c: 0, other: 20 });
  c?.onAppend(1, 5);
  d?.onAppend(1, 5);
  assert.deepEqual(topics(meters), { b: 10, c: 5, other: 25 });
  // One that has none frees none.
  open(meters, "e");
  d?.close();
  b?.close();
  assert.deepEqual(topics(meters), { c: 5, e: 0, other: 25 });
  // What still comes of a partition that is gone does no harm.
  b?.onAppend(1, 1000);
  b?.close();
  assert.deepEqual(topics(meters), { c: 5, e: 0, other: 25 });
});

test("a topic keeps its label until its last partition is gone", () => {
  const meters = new TopicMeters({ topicsMax: 1, partitionsMax: 0 });
  const first = open(meters, "a", 0);
  const second = open(meters, "a", 7);
  open(meters, "b");
  first.onAppend(1, 10);
  first.close();
  second.onAppend(1, 1);
  assert.deepEqual(topics(meters), { a: 11, other: 0 });
  second.close();
  assert.deepEqual(topics(meters), { b: 0, other: 0 });
});

test("a topic that is made again under its name is another one", () => {
  const meters = new TopicMeters({ topicsMax: 2, partitionsMax: 2 });
  const before = open(meters, "a", 0, 1);
  before.onAppend(1, 10);
  before.close();
  const again = open(meters, "a", 0, 2);
  again.onAppend(1, 3);
  before.close();
  assert.deepEqual(topics(meters), { a: 3, other: 0 });
  assert.deepEqual(partitions(meters), { "a-0": 3, "other-other": 0 });
});

test("a partition that came back is not closed by what it was before", () => {
  const meters = new TopicMeters({ topicsMax: 1, partitionsMax: 0 });
  const [before, other] = [open(meters, "a", 0), open(meters, "a", 1)];
  before.close();
  const again = open(meters, "a", 0);
  before.close();
  other.close();
  again.onAppend(1, 10);
  assert.deepEqual(topics(meters), { a: 10, other: 0 });
});

test("no label, and all partitions without one", () => {
  const meters = new TopicMeters({ topicsMax: 0, partitionsMax: 0 });
  open(meters, "a").onAppend(1, 10);
  assert.deepEqual(topics(meters), { other: 10 });
});

test("a topic named other is told from nothing else, and takes no label", () => {
  const meters = new TopicMeters({ topicsMax: 1, partitionsMax: 1 });
  open(meters, otherLabel).onAppend(1, 10);
  open(meters, "a").onAppend(1, 5);
  assert.deepEqual(topics(meters), { a: 5, other: 10 });
  assert.deepEqual(partitions(meters), { "a-0": 5, "other-other": 10 });
});

test("partitions have series of their own by choice, within their own bound", () => {
  const meters = new TopicMeters({ topicsMax: 1, partitionsMax: 2 });
  const [first, second, third] = [0, 1, 2].map((index) => open(meters, "a", index));
  const fourth = open(meters, "b");
  for (const meter of [first, second, third, fourth]) meter?.onAppend(1, 10);
  assert.deepEqual(topics(meters), { a: 30, other: 10 });
  assert.deepEqual(partitions(meters), { "a-0": 10, "a-1": 10, "other-other": 20 });
  second?.close();
  fourth?.onAppend(1, 1);
  third?.onAppend(1, 2);
  assert.deepEqual(partitions(meters), { "a-0": 10, "a-2": 2, "other-other": 21 });
});

test("sizes are those of the logs, and logs that nobody serves count as others", () => {
  const meters = new TopicMeters({ topicsMax: 1, partitionsMax: 1 });
  for (const [name, index] of [
    ["a", 0],
    ["a", 1],
    ["b", 0],
  ] as const)
    open(meters, name, index);
  const sizes = () => [
    [...meters.topics()].map(({ topic, totals }) => [topic, totals.sizeBytes]),
    [...meters.partitions()].map(({ topic, totals }) => [topic, totals.sizeBytes]),
  ];
  const logs = [
    ["a", 0, 100],
    ["a", 1, 20],
    ["b", 0, 3],
    ["gone", 0, 4000],
  ] as const;
  meters.measure(logsOf(logs));
  const both = [
    [
      ["a", 120],
      ["other", 4003],
    ],
    [
      ["a", 100],
      ["other", 4023],
    ],
  ];
  assert.deepEqual(sizes(), both);
  meters.measure(logsOf(logs));
  assert.deepEqual(sizes(), both, "not added up");
});
