/** A member of a group, as transcripts: what the coordinator says, and what the member answers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode, hasCode } from "@millrace/errors";
import { base, groupSetUp, Loop } from "../../testing/group-set-up.ts";
import { until, writeBatch } from "../../testing/set-up.ts";
import type { GroupConsumerOptions, GroupConsumerState } from "./types.ts";

const limit = { timeout: 15_000 };

test("a member joins, reads from the position it is given, and reports", limit, async () => {
  const { client, coordinator } = groupSetUp();
  await writeBatch(client, ["a", "b", "c"], 0);
  await writeBatch(client, ["d"], 1);
  const told: string[] = [];
  const assigned = Promise.withResolvers<void>();
  const onAssigned: GroupConsumerOptions["onAssigned"] = (partitions) => {
    told.push(partitions.map(({ partition }) => partition).join());
    return assigned.promise;
  };
  const loop = new Loop(client, { onAssigned });
  loop.free();
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [[0, 2], 1]);
  await until(() => told.length === 1);
  await sleep(30);
  assert.deepEqual(loop.seen, [], "the application is told first");
  assert.deepEqual(coordinator.heard(), ["report 1: nothing"]);
  assigned.resolve();
  await until(() => loop.seen.length === 2);
  assert.deepEqual(told, ["0,1"]);
  assert.deepEqual(loop.seen.sort(), ["0@2", "1@0"]);
  assert.deepEqual(coordinator.heard(), ["report 1: 0 1"]);
});

test("a partition that goes is stopped, finished, told, committed, reported", limit, async () => {
  const { client, coordinator } = groupSetUp();
  await writeBatch(client, ["a", "b"], 0);
  const order: string[] = [];
  const revoked = Promise.withResolvers<void>();
  const onRevoked: GroupConsumerOptions["onRevoked"] = async (partitions) => {
    order.push(`revoked ${partitions.map(({ partition }) => partition).join()}`);
    await revoked.promise;
  };
  const loop = new Loop(client, { onRevoked });
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0, 1]);
  await until(() => loop.busy === 1);
  coordinator.heard();
  coordinator.last.assign(2, [1]);
  await sleep(30);
  assert.deepEqual([order, coordinator.heard()], [[], []], "the body still works on it");
  loop.free();
  await until(() => order.length === 1);
  await sleep(30);
  assert.deepEqual(coordinator.heard(), [], "the application is still being told");
  coordinator.answersCommits = false;
  revoked.resolve();
  await until(() => coordinator.transcript.length > 0);
  await sleep(30);
  assert.deepEqual(coordinator.heard(), ["commit 0@1"], "given back only once it is committed");
  const commitId = coordinator.last.requests.at(-1)?.commit?.commitId ?? 0n;
  coordinator.last.push({ committed: { commitId } });
  await until(() => coordinator.transcript.length > 0);
  assert.deepEqual(coordinator.heard(), ["report 2: 1"]);
  assert.deepEqual(loop.seen, ["0@0"], "nothing more of it is handed out");
});

test("a commit before a partition goes is tried again while that helps", limit, async () => {
  const { client, coordinator } = groupSetUp();
  await writeBatch(client, ["a"], 0);
  const loop = new Loop(client);
  loop.free();
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [[0, 0]]);
  await until(() => coordinator.heard().includes("report 1: 0"));
  await until(() => loop.seen.length === 1);
  coordinator.answersCommits = false;
  coordinator.last.assign(2, []);
  const answer = async (error?: { code: ErrorCode; message: string; retriable?: boolean }) => {
    await until(() => coordinator.heard().includes("commit 0@1"));
    const commitId = coordinator.last.requests.at(-1)?.commit?.commitId ?? 0n;
    coordinator.last.push({ committed: { commitId, ...(error === undefined ? {} : { error }) } });
  };
  await answer({ code: ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, message: "loading" });
  await answer();
  await until(() => coordinator.heard().includes("report 2: nothing"));
});

test("a record is committed once the next one was asked for", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  await writeBatch(client, ["a", "b", "c"]);
  const loop = new Loop(client, { autoCommitIntervalMs: 100 });
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [[0, 0]]);
  await until(() => loop.busy === 1);
  await sleep(250);
  assert.deepEqual(coordinator.heard(), ["report 1: nothing", "report 1: 0"]);
  loop.go();
  await until(() => loop.seen.length === 2);
  await until(() => coordinator.transcript.length > 0);
  await sleep(250);
  assert.deepEqual(coordinator.heard(), ["commit 0@1"], "and once alone");
});

test("a loop that was left has not processed its last record", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  await writeBatch(client, ["a", "b", "c"]);
  const consumer = client.consumer({ ...base });
  const reading = (async () => {
    for await (const record of consumer.records()) if (record.offset === 1n) break;
  })();
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await reading;
  assert.deepEqual(consumer.positions(), [{ topic: "events", partition: 0, offset: 1n }]);
  await consumer.close();
  assert.deepEqual(coordinator.heard().slice(-2), ["commit 0@1", "leave"]);
});

test("manual commits: all positions, or one that later ones do not undo", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  await writeBatch(client, ["a", "b", "c"]);
  const loop = new Loop(client, { autoCommit: false });
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await until(() => loop.busy === 1);
  loop.go();
  await until(() => loop.seen.length === 2);
  coordinator.heard();
  await loop.consumer.commit();
  await loop.consumer.commit({ topic: "events", partition: 0, offset: 2n, metadata: "here" });
  await loop.consumer.commit();
  assert.deepEqual(coordinator.heard(), ["commit 0@1", "commit 0@2"]);
  const [topic] = coordinator.last.requests.at(-1)?.commit?.topics ?? [];
  assert.equal(String(Buffer.from(topic?.partitions[0]?.committed?.metadata ?? [])), "here");
  loop.free();
  await until(() => loop.seen.length === 3);
  await loop.consumer.close();
  assert.deepEqual(coordinator.heard(), ["leave"], "closing commits nothing by itself");
});

test("a commit that is refused throws what the group says", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  const loop = new Loop(client);
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await until(() => loop.consumer.assignment().length === 1);
  coordinator.answersCommits = false;
  const committing = loop.consumer.commit({ topic: "events", partition: 5, offset: 1 });
  await until(() => coordinator.heard().includes("commit 5@1"));
  const commitId = coordinator.last.requests.at(-1)?.commit?.commitId ?? 0n;
  const error = { code: ErrorCode.PARTITION_NOT_ASSIGNED, message: "not yours" };
  const refused = [{ topic: "events", partitions: [{ partition: 5, error }] }];
  coordinator.last.push({ committed: { commitId, refused } });
  await assert.rejects(committing, /events-5 was not committed: not yours/);
});

test("a position for a partition that is owned moves it, whatever was read", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  await writeBatch(client, ["a", "b", "c"]);
  const assigned: number[] = [];
  const loop = new Loop(client, { onAssigned: (all) => assigned.push(all.length) });
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await until(() => loop.busy === 1);
  loop.go();
  await until(() => loop.seen.length === 2);
  coordinator.heard();
  coordinator.last.assign(2, [[0, 0]]);
  await until(() => coordinator.transcript.includes("report 2: 0"));
  await sleep(30);
  // The record in hand is of the position before: it says nothing of the new one.
  await loop.consumer.commit();
  loop.free();
  await until(() => loop.seen.length === 5);
  assert.deepEqual(loop.seen, ["0@0", "0@1", "0@0", "0@1", "0@2"]);
  const heard = coordinator.heard();
  assert.ok(
    heard.every((text) => text.startsWith("report 2")),
    heard.join(),
  );
  assert.deepEqual(assigned, [1], "it never went away");
});

test(
  "after a broken stream the member comes back, and goes on reading meanwhile",
  limit,
  async () => {
    const { client, coordinator } = groupSetUp(2);
    const loop = new Loop(client);
    loop.free();
    await until(() => coordinator.heard().includes("open events"));
    coordinator.last.assign(1, [[0, 0], 1], 7);
    await until(() => loop.consumer.assignment().length === 2);
    await until(() => coordinator.heard().includes("report 1: 0 1"));
    coordinator.joinsAtOnce = false;
    coordinator.answersCommits = false;
    const commit = loop.consumer.commit({ topic: "events", partition: 0, offset: 0n });
    await until(() => coordinator.heard().includes("commit 0@0"));
    coordinator.last.end(ErrorCode.UNAVAILABLE);
    await writeBatch(client, ["a"], 0);
    await until(() => loop.seen.length === 1);
    await until(() => coordinator.transcript.length > 0);
    assert.deepEqual(coordinator.heard(), ["open events as m1 epoch 7 owns 0 1"]);
    coordinator.answersCommits = true;
    coordinator.last.join();
    await commit;
    assert.deepEqual(coordinator.heard(), ["commit 0@0"], "what was not answered is sent again");
    coordinator.last.assign(1, [0, 1], 7);
    await until(() => coordinator.transcript.length > 0);
    assert.deepEqual(coordinator.heard(), ["report 1: 0 1"]);
  },
);

test("commits that are sent again do not move a partition back", limit, async () => {
  const { client, coordinator } = groupSetUp(2);
  const { consumer } = new Loop(client);
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0, 1]);
  await until(() => consumer.assignment().length === 2);
  coordinator.answersCommits = false;
  const at = (partition: number, offset: bigint) =>
    consumer.commit({ topic: "events", partition, offset });
  // Both may have been applied, and their answers lost.
  const commits = [at(0, 1n), at(1, 5n), at(0, 2n)];
  await until(() => coordinator.heard().includes("commit 0@2"));
  coordinator.answersCommits = true;
  coordinator.last.end(ErrorCode.UNAVAILABLE);
  await Promise.all(commits);
  const again = coordinator.heard().filter((text) => text.startsWith("commit"));
  assert.deepEqual(again, ["commit 0@2", "commit 1@5", "commit 0@2"]);
});

test("a drain, a silence and another coordinator make the member come back", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  const loop = new Loop(client);
  await until(() => coordinator.heard().includes("open events"));
  coordinator.heartbeatIntervalMs = 50;
  coordinator.last.assign(1, [0]);
  await until(() => coordinator.heard().includes("report 1: 0"));
  coordinator.at = 2;
  coordinator.last.drain();
  await until(() => coordinator.streams.length === 2);
  assert.equal(coordinator.last.endpoint, "fake:2", "the metadata say where the group is now");
  // Three intervals without a word.
  await until(() => coordinator.streams.length === 3);
  assert.ok(coordinator.transcript.filter((text) => text === "alive").length >= 2);
  coordinator.last.end(ErrorCode.NOT_COORDINATOR);
  await until(() => coordinator.streams.length === 4);
  assert.equal(coordinator.asked, 4);
  const opens = coordinator.heard().filter((text) => text.startsWith("open"));
  assert.ok(
    opens.every((text) => text === "open events as m1 epoch 1 owns 0"),
    opens.join(),
  );
  assert.equal(loop.error, undefined);
});

for (const code of [ErrorCode.FENCED_MEMBER_EPOCH, ErrorCode.UNKNOWN_MEMBER_ID]) {
  test(
    `a member that was expelled drops all, and joins anew: ${ErrorCode[code]}`,
    limit,
    async () => {
      const { client, coordinator } = groupSetUp(1);
      await writeBatch(client, ["a", "b"]);
      const lost: number[] = [];
      const loop = new Loop(client, { onLost: (all) => lost.push(all.length) });
      await until(() => coordinator.heard().includes("open events"));
      coordinator.last.assign(1, [0]);
      await until(() => loop.busy === 1);
      coordinator.answersCommits = false;
      const commit = loop.consumer.commit({ topic: "events", partition: 0, offset: 1n });
      await until(() => coordinator.transcript.includes("commit 0@1"));
      coordinator.heard();
      coordinator.memberId = "m2";
      coordinator.last.end(code);
      await assert.rejects(commit, (thrown) => hasCode(thrown, code));
      await until(() => coordinator.transcript.length > 0);
      assert.deepEqual([coordinator.heard(), lost], [["open events"], [1]]);
      assert.deepEqual(loop.consumer.assignment(), []);
      loop.free();
      await sleep(30);
      assert.deepEqual(loop.seen, ["0@0"], "what was read ahead is nobody's");
      assert.deepEqual(coordinator.heard(), [], "nor is it committed");
      coordinator.last.assign(1, [[0, 1]]);
      await until(() => loop.seen.length === 2);
      assert.deepEqual(loop.seen, ["0@0", "0@1"]);
      assert.equal(loop.consumer.memberId, "m2");
    },
  );
}

test("an assignment of a stream before is not applied", limit, async () => {
  const { client, coordinator } = groupSetUp(2);
  const revoked = Promise.withResolvers<void>();
  await writeBatch(client, ["a"], 1);
  const loop = new Loop(client, { onRevoked: () => revoked.promise });
  loop.free();
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await until(() => coordinator.heard().includes("report 1: 0"));
  coordinator.last.assign(2, []);
  coordinator.last.assign(3, [[1, 0]]);
  await sleep(30);
  coordinator.last.end(ErrorCode.UNAVAILABLE);
  await until(() => coordinator.streams.length === 2);
  revoked.resolve();
  await sleep(50);
  const opened = ["open events as m1 epoch 3 owns 0", "commit 0@0"];
  assert.deepEqual(coordinator.heard(), opened, "and no report of it");
  coordinator.last.assign(1, [[1, 0]], 3);
  await until(() => coordinator.heard().includes("report 1: 1"));
  assert.deepEqual(loop.consumer.assignment(), [{ topic: "events", partition: 1 }]);
  await until(() => loop.seen.length > 0);
  await sleep(30);
  assert.deepEqual(loop.seen, ["1@0"], "otherwise it would come again");
});

test(
  "an error that no retry helps ends the iteration, and the next one joins again",
  limit,
  async () => {
    const { client, coordinator } = groupSetUp(1);
    const loop = new Loop(client);
    await until(() => coordinator.heard().includes("open events"));
    // These pass: a shard is being loaded, or the process before has not ended yet.
    coordinator.last.end(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS);
    await until(() => coordinator.streams.length === 2);
    coordinator.last.end(ErrorCode.UNRELEASED_INSTANCE_ID);
    await until(() => coordinator.streams.length === 3);
    assert.equal(loop.error, undefined);
    coordinator.last.end(ErrorCode.GROUP_MAX_SIZE_REACHED);
    await loop.ended;
    assert.ok(hasCode(loop.error, ErrorCode.GROUP_MAX_SIZE_REACHED));
    const again = loop.consumer.records().next();
    await until(() => coordinator.streams.length === 4);
    await loop.consumer.close();
    assert.equal((await again).done, true);
  },
);

test("closing commits and leaves, a static member for now", limit, async () => {
  for (const [instanceId, goodbye] of [
    ["", "leave"],
    ["a", "leave for now"],
  ] as const) {
    const { client, coordinator } = groupSetUp(1);
    await writeBatch(client, ["a", "b"]);
    const loop = new Loop(client, instanceId === "" ? {} : { instanceId });
    await until(() => coordinator.streams.length === 1 && coordinator.transcript.length === 1);
    coordinator.last.assign(1, [0]);
    await until(() => loop.busy === 1);
    coordinator.heard();
    const closing = loop.consumer.close();
    await sleep(30);
    assert.deepEqual(coordinator.heard(), [], "the body that runs is waited for");
    loop.free();
    await closing;
    await loop.ended;
    assert.deepEqual([loop.seen, coordinator.heard()], [["0@0"], ["commit 0@1", goodbye]]);
    await assert.rejects(loop.consumer.commit(), (thrown) => hasCode(thrown, ErrorCode.CANCELLED));
  }
});

test("what an expelled member was told before is not applied after", limit, async () => {
  const { client, coordinator } = groupSetUp(2);
  const told: string[] = [];
  const first = Promise.withResolvers<void>();
  const onAssigned = (all: readonly unknown[]): Promise<void> => {
    told.push(`${all.length} assigned`);
    return first.promise;
  };
  const onLost = (all: readonly unknown[]): void => void told.push(`${all.length} lost`);
  const { consumer } = new Loop(client, { onAssigned, onLost });
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await until(() => told.length === 1);
  coordinator.last.assign(2, [0, 1]);
  await sleep(30);
  // No other stream says that this one is over.
  coordinator.at = undefined;
  coordinator.last.end(ErrorCode.FENCED_MEMBER_EPOCH);
  await sleep(30);
  first.resolve();
  await until(() => told.length > 1);
  await sleep(300);
  assert.deepEqual([told, consumer.assignment()], [["1 assigned", "1 lost"], []]);
});

test("a member that closes takes nothing more, whatever stream it has", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  await writeBatch(client, ["a", "b"]);
  const told: string[] = [];
  const onAssigned = (all: readonly unknown[]): void => void told.push(`${all.length} assigned`);
  const loop = new Loop(client, { onAssigned });
  loop.free();
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await until(() => loop.seen.length === 2);
  coordinator.answersCommits = false;
  const closing = loop.consumer.close();
  await until(() => coordinator.heard().includes("commit 0@2"));
  coordinator.last.end(ErrorCode.UNAVAILABLE);
  await until(() => coordinator.heard().includes("commit 0@2"));
  // Without a position: the member has just said that it owns the partition.
  coordinator.last.assign(1, [0]);
  await sleep(30);
  const commitId = coordinator.last.requests.at(-1)?.commit?.commitId ?? 0n;
  coordinator.last.push({ committed: { commitId } });
  await closing;
  await loop.ended;
  assert.deepEqual([loop.seen, told], [["0@0", "0@1"], ["1 assigned"]]);
});

test("closing waits for six seconds at most for a coordinator that is away", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  await writeBatch(client, ["a", "b"]);
  const loop = new Loop(client);
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await until(() => loop.busy === 1);
  loop.go();
  await until(() => loop.seen.length === 2);
  loop.free();
  coordinator.at = undefined;
  coordinator.last.end(ErrorCode.UNAVAILABLE);
  await sleep(50);
  const startedMs = performance.now();
  await loop.consumer.close();
  assert.ok(performance.now() - startedMs < 6_500);
  await loop.ended;
});

test("closing is not held up by a loop that was left with its record", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  await writeBatch(client, ["a", "b"]);
  const consumer = client.consumer({ ...base });
  const reading = (async () => {
    for await (const record of consumer.records()) if (record.offset === 1n) break;
  })();
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await reading;
  coordinator.heard();
  coordinator.last.assign(2, []);
  await sleep(30);
  assert.deepEqual(coordinator.heard(), [], "the loop may come back to it");
  const startedMs = performance.now();
  await consumer.close();
  assert.ok(performance.now() - startedMs < 1_000);
  assert.deepEqual(coordinator.heard().slice(0, 1), ["commit 0@1"]);
  assert.ok(coordinator.transcript.length === 0 || coordinator.heard().includes("leave"));
});

test("a loop that is stuck is warned of, leaves by itself, and joins again", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  await writeBatch(client, ["a", "b"]);
  const states: GroupConsumerState["type"][] = [];
  const onState = ({ type }: GroupConsumerState): void => {
    if (type === "processing_slow" || type === "group_left") states.push(type);
  };
  const loop = new Loop(client, { maxProcessingMs: 300, onState });
  await until(() => coordinator.heard().includes("open events"));
  // Waiting for records is no lack of progress.
  await sleep(400);
  coordinator.last.assign(1, [0]);
  await until(() => loop.busy === 1);
  await until(() => states.length === 1);
  assert.deepEqual(states, ["processing_slow"]);
  assert.deepEqual(coordinator.heard().slice(-1), ["report 1: 0"], "it is still a member");
  await until(() => coordinator.transcript.includes("leave"));
  assert.deepEqual(states, ["processing_slow", "group_left"]);
  await sleep(50);
  assert.equal(coordinator.streams.length, 1);
  loop.free();
  await until(() => coordinator.streams.length === 2);
  assert.deepEqual(loop.seen, ["0@0"]);
});

test(
  "a goodbye that is said again takes no partition from the member that follows",
  limit,
  async () => {
    const { client, coordinator } = groupSetUp(1);
    await writeBatch(client, ["a", "b"]);
    const loop = new Loop(client, { maxProcessingMs: 300 });
    await until(() => coordinator.heard().includes("open events"));
    coordinator.last.assign(1, [0]);
    await until(() => loop.busy === 1);
    coordinator.answersGoodbyes = false;
    await until(() => coordinator.transcript.includes("leave"));
    loop.free();
    await until(() => coordinator.streams.length === 2);
    const [before, after] = coordinator.streams;
    coordinator.answersGoodbyes = true;
    before?.end(ErrorCode.UNAVAILABLE);
    await until(() => coordinator.streams.length === 3);
    coordinator.heard();
    after?.assign(1, [[0, 1]]);
    await until(() => loop.seen.length === 2);
    assert.deepEqual(loop.seen, ["0@0", "0@1"]);
    await until(() => coordinator.transcript.includes("report 1: 0"));
  },
);

test("a member whose handler is stuck leaves, and joins again once it is done", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  await writeBatch(client, ["a"]);
  const stuck = Promise.withResolvers<void>();
  const consumer = client.consumer({ ...base, maxProcessingMs: 100 });
  const processing = consumer.process(() => stuck.promise);
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await until(() => coordinator.transcript.includes("leave"));
  await sleep(50);
  assert.equal(coordinator.streams.length, 1);
  stuck.resolve();
  await until(() => coordinator.streams.length === 2);
  await consumer.close();
  await processing;
});

test("pause, resume, seek and lag are of partitions that the member has", limit, async () => {
  const { client, coordinator } = groupSetUp(2);
  await writeBatch(client, ["a", "b", "c"], 0);
  const loop = new Loop(client);
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await until(() => loop.busy === 1);
  const { consumer } = loop;
  const place = { topic: "events", partition: 0 };
  assert.deepEqual(consumer.lag(), [{ ...place, lag: 3n }]);
  consumer.pause(place);
  loop.free();
  await sleep(30);
  assert.deepEqual(loop.seen, ["0@0"]);
  consumer.resume(place);
  await until(() => loop.seen.length === 3);
  assert.deepEqual(consumer.lag(), [{ ...place, lag: 0n }]);
  await consumer.seek({ ...place, to: "earliest" });
  await until(() => loop.seen.length === 6);
  assert.throws(() => consumer.pause({ topic: "events", partition: 1 }), /not assigned/);
});

test("options are checked before anything happens", limit, async () => {
  const { client } = groupSetUp();
  const refuses = (options: object, text: RegExp): void => {
    assert.throws(() => client.consumer({ ...base, ...options } as never), text);
  };
  refuses({ topic: "events" }, /did you mean "topics"\?/);
  refuses({ topics: [] }, /no topics: give topics, or a topicPattern/);
  refuses({ group: "" }, /give the name of a group/);
  refuses({ from: { offset: 3 } }, /use one of earliest, latest/);
  refuses({ concurrency: { perPartition: 0 } }, /perPartition is 0/);
  refuses({ autoCommitIntervalMs: 1 }, /autoCommitIntervalMs is 1/);
  const consumer = client.consumer({ ...base });
  await assert.rejects(
    consumer.commit({ topic: "events", partition: 0 } as never),
    /offset of commit/,
  );
  await assert.rejects(
    consumer.commit({ topic: "events", partition: 0, offset: 1n }),
    /no member of its group: begin to iterate/,
  );
});
