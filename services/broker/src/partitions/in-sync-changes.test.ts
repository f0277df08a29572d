/** What a broker asks the controller for, and when: calls and pauses. The partitions are fakes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { manualClock, meanRandom } from "@millrace/env/testing";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { AlterPartitionsRequest } from "@millrace/proto/controller";
import { type TopicId, topicIdBytes } from "@millrace/record";
import { type ChangingPartition, InSyncChanges, type LeaderChange } from "./in-sync-changes.ts";

const topicId = "000102030405060708090a0b0c0d0e0f" as TopicId;

/** A partition that asks for `wanted`, as long as it wants that, and notes what became of it. */
class FakePartition implements ChangingPartition {
  readonly topicId = topicId;
  readonly partition: number;
  readonly outcomes: string[] = [];
  looks = 0;
  wanted: LeaderChange | undefined;

  constructor(partition = 0, wants = true) {
    this.partition = partition;
    if (wants) this.want();
  }

  want(): void {
    const isr = [{ brokerId: 0, brokerEpoch: 7 }];
    this.wanted = { leaderEpoch: 3, change: { modRevision: 11, isr } };
  }

  beginChange(): LeaderChange | undefined {
    this.looks += 1;
    return this.wanted;
  }

  endChange(_change: LeaderChange, outcome: string): void {
    this.outcomes.push(outcome);
    if (outcome === "made") this.wanted = undefined;
  }
}

const refused = { error: { code: ErrorCode.INVALID_REQUEST, message: "no" } };

/** A broker whose calls wait for the test. Followers are looked at every 2.5 s. */
const setUp = (lagMaxMs = 10_000) => {
  const { clock, turn, advance, pending } = manualClock();
  const calls: { request: AlterPartitionsRequest; answer: PromiseWithResolvers<unknown> }[] = [];
  const warnings: string[] = [];
  const changes = new InSyncChanges({
    ...{ clock, random: meanRandom, lagMaxMs, brokerId: 0, brokerEpoch: () => 7 },
    logger: { ...silentLogger, warn: (_fields, message) => warnings.push(message) },
    controller: {
      call: (_method, request) => {
        const answer = Promise.withResolvers<unknown>();
        calls.push({ request: request as AlterPartitionsRequest, answer });
        return answer.promise as never;
      },
    },
  });
  /** Answers the last call: the partitions that `isRefused` names are refused. */
  const answer = async (isRefused: (partition: number) => boolean = () => false): Promise<void> => {
    const call = calls.at(-1);
    const results = call?.request.partitions.map(({ partition }) =>
      isRefused(partition) ? refused : {},
    );
    call?.answer.resolve({ results });
    await turn();
  };
  const fail = async (code: ErrorCode): Promise<void> => {
    calls.at(-1)?.answer.reject(new MillraceError(code, "no answer"));
    await turn();
  };
  const asked = (): number[][] =>
    calls.map(({ request }) => request.partitions.map(({ partition }) => partition));
  return { changes, calls, warnings, turn, advance, pending, answer, fail, asked };
};

test("what partitions want in one turn is one call, under the registration and the record", async () => {
  const { changes, calls, turn, asked } = setUp();
  for (const partition of [0, 1, 2]) changes.add(new FakePartition(partition));
  changes.add(new FakePartition(3, false));
  assert.equal(calls.length, 0, "not before the turn ends");
  await turn();
  assert.deepEqual(asked(), [[0, 1, 2]]);
  const { brokerId, brokerEpoch, partitions } = calls[0]?.request ?? assert.fail();
  assert.deepEqual([brokerId, brokerEpoch], [0, 7n]);
  const { topicId: id, leaderEpoch, modRevision, isr } = partitions[0] ?? assert.fail();
  assert.deepEqual([id, leaderEpoch, modRevision], [topicIdBytes(topicId), 3, 11n]);
  assert.deepEqual(
    isr.map((one) => [one.brokerId, one.brokerEpoch]),
    [[0, 7n]],
  );
});

test("who resigns says so", async () => {
  const { changes, calls, turn } = setUp();
  const [resigning, other] = [new FakePartition(0), new FakePartition(1)];
  if (resigning.wanted !== undefined) resigning.wanted = { ...resigning.wanted, resigns: true };
  for (const partition of [resigning, other]) changes.add(partition);
  await turn();
  assert.deepEqual(
    calls[0]?.request.partitions.map(({ resigns }) => resigns),
    [true, false],
  );
});

test("one call is under way at a time, and what comes meanwhile is in the next", async () => {
  const { changes, turn, answer, asked } = setUp();
  changes.add(new FakePartition(0));
  await turn();
  changes.add(new FakePartition(1));
  changes.add(new FakePartition(2));
  await turn();
  assert.deepEqual(asked(), [[0]]);
  await answer();
  assert.deepEqual(asked(), [[0], [1, 2]]);
  await answer();
  changes.add(new FakePartition(3));
  await turn();
  assert.deepEqual(asked(), [[0], [1, 2], [3]], "and it goes on after it had nothing to ask for");
});

test("a call has at most 1,000 changes, and the rest follows", async () => {
  const { changes, turn, answer, asked } = setUp();
  for (let i = 0; i < 1001; i += 1) changes.add(new FakePartition(i));
  await turn();
  await answer();
  assert.deepEqual(
    asked().map(({ length }) => length),
    [1000, 1],
  );
});

test("a change that is made is told so, and not asked for again", async () => {
  const { changes, turn, answer, advance, calls } = setUp();
  const partition = new FakePartition();
  changes.add(partition);
  await turn();
  await answer();
  await advance(1000);
  assert.deepEqual([partition.outcomes, calls.length], [["made"], 1]);
});

test("an answer that is lost leaves the outcome unknown, and the change is asked for as it was", async () => {
  const { changes, calls, warnings, turn, fail, answer, advance } = setUp();
  const partition = new FakePartition();
  changes.add(partition);
  await turn();
  await fail(ErrorCode.UNAVAILABLE);
  assert.deepEqual(partition.outcomes, ["unknown"]);
  assert.equal(warnings.length, 1);
  await advance(200);
  assert.equal(calls.length, 2);
  assert.deepEqual(calls[1]?.request, calls[0]?.request);
  await answer();
  assert.deepEqual(partition.outcomes, ["unknown", "made"]);
});

test("an answer that says nothing of a change leaves its outcome unknown", async () => {
  const { changes, calls, turn, advance } = setUp();
  const partition = new FakePartition();
  changes.add(partition);
  await turn();
  calls[0]?.answer.resolve({ results: [] });
  await advance(200);
  assert.deepEqual([partition.outcomes, calls.length], [["unknown"], 2]);
});

test("an error without effect is a refusal of all that was asked for", async () => {
  const { changes, turn, fail, advance, calls } = setUp();
  const partition = new FakePartition();
  changes.add(partition);
  await turn();
  await fail(ErrorCode.NOT_CONTROLLER);
  assert.deepEqual(partition.outcomes, ["refused"]);
  await advance(200);
  assert.equal(calls.length, 2, "and it is asked for again");
});

test("the pauses after calls that fail grow to two seconds, and a call that succeeds ends them", async () => {
  const { changes, calls, warnings, turn, fail, answer, advance } = setUp(1e9);
  changes.add(new FakePartition());
  await turn();
  for (const ms of [100, 200, 400, 800, 1600, 2000, 2000]) {
    const before = calls.length;
    await fail(ErrorCode.NOT_CONTROLLER);
    await advance(ms - 1);
    assert.equal(calls.length, before, `not before ${ms} ms`);
    await advance(1);
    assert.equal(calls.length, before + 1, `after ${ms} ms`);
  }
  assert.equal(warnings.length, 1, "said once");
  changes.add(new FakePartition(1));
  await answer();
  const { length } = calls;
  await fail(ErrorCode.NOT_CONTROLLER);
  await advance(100);
  assert.equal(calls.length, length + 1);
});

test("a refused partition waits for its pause, whatever it reports, and holds up no other", async () => {
  const { changes, turn, answer, advance, asked } = setUp();
  const stubborn = new FakePartition(0);
  changes.add(stubborn);
  await turn();
  // It reports while the call is under way, too.
  changes.look(stubborn);
  await answer(() => true);
  assert.deepEqual(stubborn.outcomes, ["refused"]);
  changes.look(stubborn);
  changes.add(new FakePartition(1));
  await turn();
  assert.deepEqual(asked(), [[0], [1]]);
  await answer();
  await advance(199);
  assert.equal(asked().length, 2);
  await advance(1);
  assert.deepEqual(asked(), [[0], [1], [0]]);
});

test("a partition that is led again is looked at without the pause of its earlier term", async () => {
  const { changes, turn, answer, asked, pending } = setUp();
  const partition = new FakePartition();
  changes.add(partition);
  await turn();
  await answer(() => true);
  changes.remove(partition);
  assert.deepEqual(pending(), [2500], "but for the tick");
  changes.add(partition);
  await turn();
  assert.deepEqual(asked(), [[0], [0]]);
});

test("a partition that is no longer led is not asked for", async () => {
  const { changes, turn, answer, fail, advance, asked, pending } = setUp();
  const [gone, failed, rejected] = [1, 2, 3].map((i) => new FakePartition(i));
  assert.ok(gone !== undefined && failed !== undefined && rejected !== undefined);
  changes.add(gone);
  changes.remove(gone);
  changes.look(gone);
  await turn();
  assert.deepEqual(asked(), []);
  changes.add(failed);
  await turn();
  changes.remove(failed);
  await fail(ErrorCode.NOT_CONTROLLER);
  await advance(1000);
  assert.deepEqual(asked(), [[2]], "after a call that failed");
  changes.add(rejected);
  await turn();
  changes.remove(rejected);
  await answer(() => true);
  assert.equal(pending().length, 1, "nothing waits but the tick");
  await advance(5000);
  assert.deepEqual(asked(), [[2], [3]], "after a refusal");
  assert.deepEqual(rejected.outcomes, ["refused"], "but what became of it is told");
});

test("a follower that lags is found without a word from anybody", async () => {
  const { changes, turn, advance, asked } = setUp();
  const partition = new FakePartition(0, false);
  changes.add(partition);
  await turn();
  for (let i = 0; i < 3; i += 1) {
    await advance(2500);
    assert.equal(partition.looks, i + 2);
  }
  partition.want();
  await advance(2500);
  assert.deepEqual(asked(), [[0]]);
});

test("close ends calls, pauses and ticks", async () => {
  const waiting = setUp();
  waiting.changes.add(new FakePartition());
  await waiting.turn();
  waiting.changes.close();
  await waiting.fail(ErrorCode.UNAVAILABLE);
  assert.deepEqual([waiting.pending(), waiting.warnings], [[], []], "while a call is under way");

  const pausing = setUp();
  pausing.changes.add(new FakePartition());
  await pausing.turn();
  await pausing.fail(ErrorCode.UNAVAILABLE);
  pausing.changes.close();
  await pausing.turn();
  assert.deepEqual(pausing.pending(), [], "in a pause");

  const holding = setUp();
  const partition = new FakePartition();
  holding.changes.add(partition);
  await holding.turn();
  await holding.answer(() => true);
  holding.changes.close();
  assert.deepEqual(holding.pending(), [], "after a refusal");
  holding.changes.add(partition);
  await holding.advance(10_000);
  assert.equal(holding.calls.length, 1);
});
