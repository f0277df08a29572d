/** What is believed, in which order, and what is not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Endpoint, ErrorCode, hasCode } from "@millrace/errors";
import { GetMetadataResponseSchema, WatchMetadataResponseSchema } from "@millrace/proto/metadata";
import { MetadataView } from "./view.ts";

type Answer = MessageInitShape<typeof GetMetadataResponseSchema>;
type News = MessageInitShape<typeof WatchMetadataResponseSchema>;

const bytes = (value: number): Uint8Array => new Uint8Array(16).fill(value);
const at = (port: number): Endpoint => ({
  ...{ host: "h", port, listener: "", tls: false, authority: "" },
});
const brokersOf = (...ids: number[]) =>
  ids.map((brokerId) => ({ brokerId, endpoint: at(brokerId), rack: "" }));

/** `leaders` are `broker/epoch` per partition. */
const topicOf = (name: string, ...leaders: string[]) => ({
  name,
  topicId: bytes(name.charCodeAt(0)),
  partitions: leaders.map((text, partition) => {
    const [leader = 0, leaderEpoch = 0] = text.split("/").map(Number);
    return { partition, leader, leaderEpoch };
  }),
});
const routeOf = (name: string, partition: number, text: string) => {
  const [leader = 0, leaderEpoch = 0] = text.split("/").map(Number);
  return { topicId: bytes(name.charCodeAt(0)), partition: { partition, leader, leaderEpoch } };
};

/** A view that a watch over topics `a` and `b` informs. */
const setUp = () => {
  const view = new MetadataView();
  const followed = new Set(["a", "b"]);
  const wanted = new Set(followed);
  const source = (generation: number) => ({ clusterId: "c", generation: bytes(generation) });
  const news = (revision: number, fields: News = {}, generation = 1): boolean =>
    view.takeNews(
      create(WatchMetadataResponseSchema, { ...fields, revision: BigInt(revision) }),
      followed,
      source(generation),
    );
  const answer = (revision: number, fields: Answer, asked: string[], generation = 1): void =>
    view.takeAnswer(
      create(GetMetadataResponseSchema, {
        ...{ brokers: brokersOf(1, 2, 3), ...fields, ...source(generation) },
        revision: BigInt(revision),
      }),
      asked,
      wanted,
    );
  const snapshot = (revision: number, ...topics: ReturnType<typeof topicOf>[]): boolean =>
    news(revision, { snapshot: true, topics, brokers: { brokers: brokersOf(1, 2, 3) } });
  const hint = (revision: number, text: string): void => {
    const [brokerId = 0, leaderEpoch = 0] = text.split("/").map(Number);
    const metadataRevision = BigInt(revision);
    view.takeHint("a", 0, { brokerId, leaderEpoch, metadataRevision, endpoint: at(brokerId) });
  };
  /** Leaders as `broker/epoch`, `-` where none can be reached. */
  const shown = (name: string): string | undefined =>
    view
      .peek(name)
      ?.partitions.map(({ partition }) => {
        const leader = view.leaderOf(name, partition);
        return leader === undefined ? "-" : `${leader.brokerId}/${leader.leaderEpoch}`;
      })
      .join(" ");
  return { view, wanted, news, answer, snapshot, hint, shown };
};

test("changes are taken in the order of revisions", () => {
  const { view, news, snapshot, shown } = setUp();
  assert.equal(snapshot(10, topicOf("a", "1/1", "2/1")), true);
  assert.equal(news(12, { routes: [routeOf("a", 1, "3/2")] }), true);
  assert.equal(shown("a"), "1/1 3/2");
  assert.equal(news(11, { routes: [routeOf("a", 0, "3/9")] }), false, "older than what came");
  assert.equal(shown("a"), "1/1 3/2");
  assert.equal(news(12, { topics: [topicOf("b", "1/1")] }), true, "the same revision again");
  assert.equal(news(13, { deletedTopics: ["a"] }), true);
  assert.deepEqual([shown("a"), shown("b"), view.informed], [undefined, "1/1", 13n]);
});

test("a snapshot replaces all topics that it is about, and no others", () => {
  const { answer, snapshot, shown, wanted } = setUp();
  wanted.add("x");
  snapshot(10, topicOf("a", "1/1"), topicOf("b", "1/1"));
  answer(11, { topics: [topicOf("x", "1/1")] }, ["x"]);
  snapshot(12, topicOf("b", "1/1"));
  assert.deepEqual([shown("a"), shown("b"), shown("x")], [undefined, "1/1", "1/1"]);
});

test("heartbeats tell no listener, and raise the revision", () => {
  const { view, news, snapshot } = setUp();
  snapshot(10, topicOf("a", "1/1"));
  let changes = 0;
  view.onChange(() => {
    changes += 1;
  });
  news(20);
  assert.deepEqual([changes, view.informed], [0, 20n]);
  news(21, { controller: at(5) });
  assert.deepEqual([changes, view.controller?.port], [1, 5]);
  news(21, { controller: { host: "" } });
  assert.deepEqual([changes, view.controller], [2, undefined]);
});

test("an answer counts for the topics of which it is newer", () => {
  const { answer, news, snapshot, shown } = setUp();
  snapshot(10, topicOf("a", "1/1"), topicOf("b", "1/1"));
  answer(12, { topics: [topicOf("a", "2/2", "2/2")] }, ["a"]);
  assert.equal(news(11, { topics: [topicOf("a", "1/1")], routes: [routeOf("b", 0, "3/2")] }), true);
  assert.deepEqual([shown("a"), shown("b")], ["2/2 2/2", "3/2"], "the watch is behind for a");
  news(20);
  answer(19, { topics: [topicOf("a", "3/9")], brokers: [] }, ["a", "b"]);
  assert.deepEqual([shown("a"), shown("b")], ["2/2 2/2", "3/2"], "the answer is behind");
});

test("a route of a topic or partition that is not known asks for a snapshot", () => {
  const { news, snapshot, shown } = setUp();
  snapshot(10, topicOf("a", "1/1"));
  assert.equal(news(11, { routes: [routeOf("a", 0, "2/2"), routeOf("a", 1, "2/2")] }), false);
  assert.equal(news(11, { routes: [routeOf("z", 0, "2/2")] }), false);
  assert.equal(shown("a"), "1/1", "nothing of such a message is taken");
});

test("a hint is believed when its revision is newer, and its epoch not lower", () => {
  const { hint, news, snapshot, shown } = setUp();
  snapshot(10, topicOf("a", "1/5"));
  hint(10, "2/6");
  hint(9, "2/6");
  assert.equal(shown("a"), "1/5");
  hint(11, "2/4");
  assert.equal(shown("a"), "1/5", "a lower epoch");
  news(20);
  hint(15, "2/6");
  assert.equal(shown("a"), "1/5", "the watch has told everything up to 20");
  hint(21, "2/6");
  assert.equal(shown("a"), "2/6");
  news(21, { routes: [routeOf("a", 0, "3/6")] });
  assert.equal(shown("a"), "3/6", "and so is the watch when it gets there");
});

test("the broker of a hint stays known until the watch tells of its leader", () => {
  const { hint, news, snapshot, shown } = setUp();
  snapshot(10, topicOf("a", "1/1"));
  hint(20, "9/2");
  news(15, { brokers: { brokers: brokersOf(1) }, routes: [routeOf("a", 0, "1/1")] });
  assert.equal(shown("a"), "9/2");
  news(20, { routes: [routeOf("a", 0, "9/2")] });
  news(21, { brokers: { brokers: brokersOf(1) } });
  assert.equal(shown("a"), "-");
});

test("another generation replaces everything but leader epochs, and the old one is over", () => {
  const { view, answer, news, shown } = setUp();
  const all = { topics: [topicOf("a", "1/5", "1/5"), topicOf("b", "1/1")] };
  const brokers = { brokers: brokersOf(1, 2, 3) };
  news(100, { snapshot: true, ...all, brokers }, 1);
  view.requireRevision(200n);
  assert.equal(view.isCurrent("a"), false);
  news(7, { snapshot: true, topics: [topicOf("a", "2/4", "2/6")], brokers }, 2);
  assert.deepEqual([shown("a"), shown("b"), view.informed], ["1/5 2/6", undefined, 7n]);
  assert.equal(view.isCurrent("a"), true, "revisions of before are not waited for");
  assert.equal(news(101, all, 1), false);
  answer(102, all, ["a", "b"], 1);
  assert.deepEqual([shown("a"), shown("b"), view.informed], ["1/5 2/6", undefined, 7n]);
  const old = { clusterId: "c", generation: bytes(1) };
  assert.throws(
    () => view.check(old, at(1)),
    (thrown) => hasCode(thrown, ErrorCode.METADATA_STALE),
  );
  view.check({ clusterId: "c", generation: bytes(3) }, at(1));
  assert.throws(
    () => view.check({ clusterId: "other", generation: bytes(2) }, at(1)),
    (thrown) => hasCode(thrown, ErrorCode.CLUSTER_ID_MISMATCH),
  );
});

test("generations that are over are remembered up to a bound", () => {
  const { view, news } = setUp();
  for (let generation = 1; generation <= 11; generation += 1) {
    assert.equal(news(1, { snapshot: true }, generation), true);
  }
  const refused = Array.from({ length: 11 }, (_, i) => i + 1).filter((generation) => {
    try {
      view.check({ clusterId: "c", generation: bytes(generation) }, at(1));
      return false;
    } catch {
      return true;
    }
  });
  assert.deepEqual(refused, [3, 4, 5, 6, 7, 8, 9, 10]);
});

test("a watch may be resumed over topics that it told about, and no others", () => {
  const { view, snapshot } = setUp();
  assert.equal(view.follows(new Set(["a"])), false);
  snapshot(10);
  assert.equal(view.follows(new Set(["a"])), true);
  assert.equal(view.follows(new Set(["a", "b"])), true);
  assert.equal(view.follows(new Set(["a", "x"])), false);
});
