/** The index of a leader's keys, over a log that a test moves on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { topicConfigOf } from "@millrace/config";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { Acks } from "@millrace/proto/common";
import type { Append } from "../partitions/leader.ts";
import { Replica } from "../partitions/replica.ts";
import { partitionOf, topicOf } from "../testing/fake-view.ts";
import { mirrored, replicaContext } from "../testing/replicas.ts";
import { KeyIndex } from "./key-index.ts";
import { batchOf, fewKeysBytes, indexContext, type Line, ReadableLog, settled } from "./testing.ts";

const said = (run: () => unknown): unknown => {
  try {
    return run();
  } catch (thrown) {
    return MillraceError.from(thrown).codeName;
  }
};

const textOf = (run: () => unknown): string => {
  try {
    run();
    return "";
  } catch (thrown) {
    return MillraceError.from(thrown).message;
  }
};

const offsetOf = (index: KeyIndex, key: string) => index.latest(key)?.offset;

test("it answers once everything that the log had is committed and read", async () => {
  const log = new ReadableLog();
  log.fill(["a", "b"], [undefined, "-b"], ["a", "c"]);
  log.highWatermark = 4;
  const { context, indexes, told } = indexContext();
  let moved = 0;
  const index = new KeyIndex(context, log.asLog(), () => {
    moved += 1;
  });
  await settled();
  assert.deepEqual([index.kind, index.lag, log.reads], ["loading", 6, 0]);
  assert.equal(
    said(() => index.requireReady()),
    "KEY_INDEX_LOAD_IN_PROGRESS",
  );
  assert.match(
    textOf(() => index.requireReady()),
    /at offset 0 of 6: retry/,
  );
  log.highWatermark = 6;
  index.progress();
  await settled();
  assert.deepEqual([index.kind, index.lag, index.keys, moved], ["ready", 0, 3, 1]);
  assert.deepEqual(
    [index.latest("a"), index.latest("b"), index.latest("x")],
    [{ offset: 4, isTombstone: false }, { offset: 3, isTombstone: true }, undefined],
  );
  assert.deepEqual([index.committedEnd, told], [6, ["loaded"]]);
  const { bytes, states } = indexes.gauges();
  assert.deepEqual([bytes, states], [fewKeysBytes, { loading: 0, ready: 1, full: 0 }]);
  index.close();
  assert.deepEqual(indexes.gauges(), {
    ...{ bytes: 0, bytesMax: 1_000_000, keys: 0, lag: 0 },
    states: { loading: 0, ready: 0, full: 0 },
  });
});

test("what is appended while it reads is in it, and what is not committed is apart", async () => {
  const log = new ReadableLog();
  log.fill(["a", "b"]);
  log.highWatermark = 2;
  const { context } = indexContext();
  const index = new KeyIndex(context, log.asLog(), () => {});
  index.appended(2, { keys: ["b", "d"], isNull: [false, false] });
  log.fill(["b", "d"]);
  await settled();
  assert.equal(index.kind, "ready");
  assert.deepEqual([offsetOf(index, "b"), index.lastAppended("b")], [1, 2]);
  assert.deepEqual([offsetOf(index, "d"), index.lastAppended("d")], [undefined, 3]);
  assert.equal(index.committedEnd, 2);
  log.highWatermark = 4;
  index.progress();
  assert.deepEqual([offsetOf(index, "b"), offsetOf(index, "d"), index.committedEnd], [2, 3, 4]);
});

test("a large batch is taken over in several turns, and those that wait are told", async () => {
  const log = new ReadableLog();
  const { context, turns } = indexContext();
  let moved = 0;
  const index = new KeyIndex(context, log.asLog(), () => {
    moved += 1;
  });
  await settled();
  const keys = Array.from({ length: 1_700 }, (_, i) => `k${i}`);
  const before = [turns(), moved] as const;
  index.appended(0, { keys, isNull: keys.map(() => false) });
  log.logEndOffset = 1_700;
  log.highWatermark = 1_700;
  index.progress();
  assert.equal(index.committedEnd, 500, "in the first turn");
  await settled();
  assert.deepEqual([index.committedEnd, index.keys], [1_700, 1_700]);
  assert.deepEqual([turns() - before[0], moved - before[1]], [3, 3]);
});

test("the more is waiting, the more is taken over in a turn", async () => {
  const log = new ReadableLog();
  const { context, turns } = indexContext(100_000_000);
  const index = new KeyIndex(context, log.asLog(), () => {});
  await settled();
  const before = turns();
  for (let i = 0; i < 40; i += 1) {
    const keys = Array.from({ length: 1_000 }, (_, n) => `k${n}`);
    index.appended(1_000 * i, { keys, isNull: keys.map(() => false) });
  }
  log.logEndOffset = 40_000;
  log.highWatermark = 40_000;
  index.progress();
  assert.equal(index.committedEnd, 4_000, "no more than take some milliseconds");
  for (let i = 0; i < 3; i += 1) await settled();
  assert.equal(index.committedEnd, 40_000);
  assert.ok(turns() - before < 25, `${turns() - before} turns, and not 80`);
});

test("a large log is read in several turns", async () => {
  const log = new ReadableLog();
  log.fill(Array.from({ length: 1_700 }, (_, i) => `k${i}`));
  log.highWatermark = 1_700;
  const { context, turns } = indexContext();
  const index = new KeyIndex(context, log.asLog(), () => {});
  await settled();
  assert.deepEqual([index.kind, index.keys, turns()], ["ready", 1_700, 3]);
});

test("with more keys than there is memory for it is given up, and answers nothing wrong", async () => {
  const log = new ReadableLog();
  log.fill(["a", "b", "c"]);
  log.highWatermark = 3;
  const { context, indexes, told } = indexContext(fewKeysBytes);
  const index = new KeyIndex(context, log.asLog(), () => {});
  await settled();
  assert.equal(index.kind, "ready");
  index.appended(3, { keys: ["d"], isNull: [false] });
  assert.deepEqual([index.kind, told], ["full", ["loaded", "given up"]]);
  assert.equal(
    said(() => index.requireReady()),
    "KEY_INDEX_FULL",
  );
  assert.match(
    textOf(() => index.requireReady()),
    /raise --key-index-bytes-max/,
  );
  index.appended(4, { keys: ["e"], isNull: [false] });
  index.progress();
  assert.deepEqual([indexes.gauges().bytes, indexes.gauges().states.full], [0, 1]);
  const other = new KeyIndex(context, log.asLog(), () => {});
  await settled();
  assert.equal(other.kind, "ready", "there is room for others");
  const small = indexContext(fewKeysBytes - 1);
  const never = new KeyIndex(small.context, log.asLog(), () => {});
  await settled();
  assert.deepEqual([never.kind, small.indexes.gauges().bytes], ["full", 0]);
});

test("records below the log's start are no answer, and their keys go", async () => {
  const log = new ReadableLog();
  log.fill(["a", "b"], ["c", "a"]);
  log.highWatermark = 4;
  const { context } = indexContext();
  const index = new KeyIndex(context, log.asLog(), () => {});
  await settled();
  log.logStartOffset = 2;
  assert.deepEqual([index.latest("b"), index.lastAppended("b")], [undefined, undefined]);
  assert.deepEqual([offsetOf(index, "a"), index.keys], [3, 3]);
  index.progress();
  assert.equal(index.keys, 2);
});

test("a log that cannot be read is read again, and not by an index that is over", async () => {
  const log = new ReadableLog();
  log.fill(["a"]);
  log.highWatermark = 1;
  const { context, timers, told } = indexContext();
  const failure = new MillraceError(ErrorCode.STORAGE_ERROR, "EIO");
  log.failures.push(failure, failure);
  const index = new KeyIndex(context, log.asLog(), () => {});
  for (const reads of [1, 2, 3]) {
    await settled();
    assert.equal(log.reads, reads);
    for (const fire of [...timers]) fire();
    timers.clear();
  }
  assert.equal(index.kind, "ready");
  assert.match(told.join(), /tried again.*tried again,loaded/);
  log.failures.push(failure);
  const over = new KeyIndex(context, log.asLog(), () => {});
  await settled();
  over.close();
  await settled();
  assert.deepEqual([log.reads, timers.size], [4, 0]);
  assert.equal(
    said(() => over.requireReady()),
    "KEY_INDEX_LOAD_IN_PROGRESS",
  );
});

test("two logs are read at a time", async () => {
  const { context } = indexContext();
  const logs = [1, 2, 3].map(() => new ReadableLog());
  const gate = Promise.withResolvers<void>();
  for (const log of logs) {
    log.fill(["a"]);
    log.highWatermark = 1;
    const read = log.read.bind(log);
    log.read = async (...args) => {
      const result = await read(...args);
      await gate.promise;
      return result;
    };
  }
  const all = logs.map((log) => new KeyIndex(context, log.asLog(), () => {}));
  await settled();
  assert.deepEqual(
    logs.map(({ reads }) => reads),
    [1, 1, 0],
  );
  gate.resolve();
  await settled();
  assert.deepEqual(
    all.map(({ kind }) => kind),
    ["ready", "ready", "ready"],
  );
});

const compacted = topicConfigOf({ "cleanup.policy": "compact", "min.insync.replicas": "2" });
const plain = topicConfigOf({ "min.insync.replicas": "2" });

/** A leader of a compacted log with one record of `a`, all of which is committed. */
const leading = async (topic = "t") => {
  const log = new ReadableLog();
  log.fill(["a"]);
  log.highWatermark = 1;
  const { context, told } = indexContext();
  const replica = new Replica(
    replicaContext({ keyIndexOf: (of, moved) => new KeyIndex(context, of, moved) }),
    ...([topicOf(topic, []), partitionOf(0, 1, 1), compacted] as const),
  );
  replica.opened(log.asLog());
  mirrored(replica, log);
  const take = async (leaderEpoch: number, leader = 0, config = compacted): Promise<void> => {
    replica.take(partitionOf(0, leader, leaderEpoch, [0, 1]), config);
    await replica.followView();
  };
  await take(2);
  await settled();
  const answers: string[] = [];
  const append = (lines: readonly Line[], expectedLastOffsetForKey?: number): string => {
    const batch = batchOf(lines);
    const one: Append & { lastOffset: number } = {
      ...{ acks: Acks.ALL, lastOffset: -1, failure: undefined, expectedLastOffsetForKey },
      keys: batch.keys,
      accepted: (_log, { lastOffset }) => {
        one.lastOffset = lastOffset;
      },
      refused: () => answers.push("refused"),
      settle: (thrown) => {
        if (thrown === undefined) answers.push(`${one.lastOffset}: done`);
        else answers.push(errorText(thrown));
      },
    };
    try {
      replica.append(batch, undefined, one);
      return one.lastOffset < 0 ? "later" : `at ${one.lastOffset}`;
    } catch (thrown) {
      return errorText(thrown);
    }
  };
  const index = () => replica.requireLeader(undefined).requireKeyIndex();
  return { answers, append, index, log, replica, take, told };
};

const errorText = (thrown: unknown): string => {
  const { actualLastOffsetForKey: actual, codeName, spec } = MillraceError.from(thrown);
  if (actual === undefined) return codeName;
  assert.equal(spec.sideEffects, false);
  return `${codeName} ${actual}`;
};

test("what counts is the last record that was appended, and refusals wait until all is committed", async () => {
  const { answers, append, index, log } = await leading();
  assert.equal(append(["a"], -1), "LAST_OFFSET_MISMATCH 0");
  assert.equal(append(["b"], 0), "LAST_OFFSET_MISMATCH -1");
  assert.deepEqual([append(["a"], 0), append(["b"], -1)], ["at 1", "at 2"]);
  assert.deepEqual([append(["a"], 0), append(["a"], 1)], ["later", "at 3"]);
  assert.deepEqual([append(["c"], 7), append(["-b"], 2)], ["later", "at 4"]);
  assert.equal(offsetOf(index(), "a"), 0, "nothing of it is committed");
  assert.deepEqual(answers.splice(0), ["refused", "refused"]);
  log.commit(2);
  assert.deepEqual(answers.splice(0), ["1: done", "2: done", "LAST_OFFSET_MISMATCH 1"]);
  assert.deepEqual([offsetOf(index(), "a"), offsetOf(index(), "b")], [1, 2]);
  log.commit();
  assert.deepEqual(answers, ["3: done", "4: done", "LAST_OFFSET_MISMATCH -1"]);
  assert.deepEqual(index().latest("b"), { offset: 4, isTombstone: true });
  assert.equal(append(["b"], 4), "at 5", "behind a record without a value");
});

test("a batch that comes again is recognised first, and is in the index once", async () => {
  const { append, index, log } = await leading();
  assert.equal(append(["a"], 0), "at 1");
  assert.equal(append(["a"], 1), "at 2");
  log.duplicateOf = 1;
  assert.equal(append(["a"], 0), "at 1", "its first offset");
  assert.equal(index().lastAppended("a"), 2);
  log.duplicateOf = 1;
  assert.equal(append(["a"]), "at 1");
  assert.equal(index().lastAppended("a"), 2);
});

test("every leader reads the log anew, and judges nothing before it has", async () => {
  const { answers, append, index, log, take } = await leading();
  assert.equal(append(["a"], 0), "at 1");
  const old = index();
  await take(3, 1);
  assert.deepEqual([old.kind, answers], ["closed", ["UNAVAILABLE"]]);
  assert.equal(append(["a"], 0), "NOT_LEADER");
  log.logEndOffset = 1;
  await take(4);
  assert.deepEqual([index().kind, append(["a"], 0)], ["loading", "KEY_INDEX_LOAD_IN_PROGRESS"]);
  assert.equal(append(["a"]), "at 1", "which needs no index");
  await settled();
  assert.deepEqual([append(["a"], 0), append(["a"], 1)], ["later", "at 2"]);
});

test("the index comes and goes with the policy", async () => {
  const { append, index, take } = await leading();
  const old = index();
  await take(2, 0, plain);
  assert.deepEqual([old.kind, said(index)], ["closed", "POLICY_VIOLATION"]);
  assert.deepEqual([append(["a"], 0), append([undefined])], ["POLICY_VIOLATION", "at 1"]);
  await take(2, 0, compacted);
  assert.notEqual(index(), old);
  assert.equal(append([undefined]), "KEY_INDEX_LOAD_IN_PROGRESS", "validated before the change");
  assert.equal(append(["b"]), "at 2");
});

test("the topic of groups has no index: coordinators have everything of it in memory", async () => {
  const { append, index } = await leading("__group_state");
  assert.equal(said(index), "POLICY_VIOLATION");
  assert.equal(append(["a"]), "at 1");
});
