/** Which logs of removed replicas go, and when that is reported. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { manualClock } from "@millrace/env/testing";
import type { LogManager } from "@millrace/log";
import type { PartitionView, RemovedReplicaView } from "../metadata/view.ts";
import { FakeLog } from "../testing/fake-log.ts";
import { FakeView, partitionOf, topicOf } from "../testing/fake-view.ts";
import { Creations } from "./creations.ts";
import { Removals } from "./removals.ts";
import { SerialWork } from "./serial-work.ts";

/** Broker 3, which has logs of partitions 0 and 1 that know leader epoch 4. */
const setUp = () => {
  const { clock, turn, advance } = manualClock();
  const view = new FakeView(1);
  const logs = new Map([0, 1].map((partition) => [partition, fakeLog(partition)]));
  const reports: string[] = [];
  const said: string[] = [];
  const state = { fails: false, onDelete: async (): Promise<void> => {} };
  const creations = new Creations();
  const removals = new Removals({
    ...{ view, brokerId: 3, creations },
    logger: {
      ...silentLogger,
      warn: (_fields, message) => said.push(message),
      error: ({ why }) => said.push(`kept: ${why}`),
    },
    logs: {
      get: (_, partition) => logs.get(partition)?.asLog(),
      delete: async (_, partition) => {
        await state.onDelete();
        logs.delete(partition);
      },
    } satisfies Pick<LogManager, "get" | "delete">,
    removalsDone: async (done) => {
      if (state.fails) throw new Error("no controller");
      for (const { partition, leaderEpoch } of done) reports.push(`${partition}@${leaderEpoch}`);
    },
  });
  const work = new SerialWork(clock, removals);
  const see = async (...partitions: PartitionView[]): Promise<void> => {
    view.change({ put: [topicOf("t", partitions)] });
    work.request();
    await turn();
  };
  return { see, state, creations, logs, reports, said, advance, turn, view };
};

const fakeLog = (partition: number): FakeLog => {
  const log = new FakeLog(10, 10, { topicId: topicOf("t", []).id, topic: "t", partition });
  log.leaderEpoch = 4;
  return log;
};

const removedFrom = (partition: number, ...removed: RemovedReplicaView[]): PartitionView => ({
  ...{ ...partitionOf(partition, 0, 9), removed },
});

test("a log goes only against an entry that names this broker, and that is reported", async () => {
  const { see, logs, reports } = setUp();
  await see(removedFrom(0), removedFrom(1, { brokerId: 2, leaderEpoch: 9 }));
  assert.deepEqual([[...logs.keys()], reports], [[0, 1], []]);
  await see(removedFrom(0, { brokerId: 3, leaderEpoch: 5 }), removedFrom(1));
  assert.deepEqual([[...logs.keys()], reports.splice(0)], [[1], ["0@5"]]);
  // As long as the entry is there, and also where there was no log.
  await see(removedFrom(0, { brokerId: 3, leaderEpoch: 5 }), removedFrom(1));
  assert.deepEqual(reports, ["0@5"]);
});

test("a log that knows the epoch of its removal, or a later one, is kept", async () => {
  const { see, logs, reports, said } = setUp();
  await see(removedFrom(0, { brokerId: 3, leaderEpoch: 4 }));
  await see(removedFrom(0, { brokerId: 3, leaderEpoch: 4 }));
  assert.deepEqual([[...logs.keys()], reports], [[0, 1], []]);
  assert.deepEqual(said, ["kept: it has leader epoch 4: the metadata is older"]);
});

test("a log that is offline is kept: nobody knows what it has", async () => {
  const { see, logs, reports, said } = setUp();
  logs.get(0)?.become({ kind: "offline", reason: "damaged" });
  await see(removedFrom(0, { brokerId: 3, leaderEpoch: 9 }));
  assert.deepEqual([[...logs.keys()], reports], [[0, 1], []]);
  assert.match(said.join(), /^kept: it is offline/);
});

test("a replica that is added again keeps its log, also while others are being deleted", async () => {
  const { see, state, view, logs, reports, turn } = setUp();
  const entry = { brokerId: 3, leaderEpoch: 5 };
  const again = { ...removedFrom(1, entry), replicas: [0, 1, 3] };
  await see(removedFrom(0), again);
  assert.deepEqual([[...logs.keys()], reports], [[0, 1], []]);
  state.onDelete = async () => {
    view.change({ put: [topicOf("t", [removedFrom(0, entry), { ...again, removed: [] }])] });
  };
  await see(removedFrom(0, entry), removedFrom(1, entry));
  await turn();
  assert.deepEqual([[...logs.keys()], reports], [[1], ["0@5"]]);
});

test("a log that is being made is waited for", async () => {
  const { see, creations, logs, reports, turn } = setUp();
  logs.delete(0);
  const making = Promise.withResolvers<void>();
  void creations.run(topicOf("t", []).id, async () => {
    await making.promise;
    logs.set(0, fakeLog(0));
  });
  await see(removedFrom(0, { brokerId: 3, leaderEpoch: 5 }));
  assert.deepEqual(reports, []);
  making.resolve();
  await turn();
  assert.deepEqual([[...logs.keys()], reports], [[1], ["0@5"]]);
});

test("what cannot be deleted is not reported, and a report that fails is made again", async () => {
  const { see, state, logs, reports, said, advance } = setUp();
  state.onDelete = async () => {
    throw new Error("EIO");
  };
  await see(removedFrom(0, { brokerId: 3, leaderEpoch: 5 }));
  assert.deepEqual([[...logs.keys()], reports], [[0, 1], []]);
  assert.match(said.splice(0).join(), /^kept: .*EIO/);
  state.onDelete = async () => {};
  state.fails = true;
  await see(removedFrom(0), removedFrom(1, { brokerId: 3, leaderEpoch: 5 }));
  assert.deepEqual([[...logs.keys()], reports], [[0], []]);
  assert.deepEqual(said, ["the end of removed replicas cannot be recorded: trying again"]);
  state.fails = false;
  await advance(500);
  assert.deepEqual(reports, ["1@5"]);
});
