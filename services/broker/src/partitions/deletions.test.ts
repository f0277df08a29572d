/** How the end of a deletion is recorded. What is deleted: see `replica-manager.test.ts`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { manualClock } from "@millrace/env/testing";
import type { LogManager } from "@millrace/log";
import type { TopicId } from "@millrace/record";
import { FakeView, topicOf } from "../testing/fake-view.ts";
import { Creations } from "./creations.ts";
import { Deletions } from "./deletions.ts";
import { SerialWork } from "./serial-work.ts";

const idOf = (name: string): TopicId => topicOf(name, []).id;

/** Broker 3, which has nothing on its disk, and whose reports fail for the topics in `failing`. */
const setUp = () => {
  const { clock, turn, advance } = manualClock();
  const view = new FakeView(1);
  const failing = new Set<string>();
  const reports: string[] = [];
  const warnings: string[] = [];
  const deletions = new Deletions({
    ...{ view, brokerId: 3, creations: new Creations() },
    logger: { ...silentLogger, warn: (_fields, message) => warnings.push(message) },
    logs: { partitions: () => [] } as unknown as LogManager,
    deletionDone: async (id) => {
      const name = ["a", "b", "c"].find((one) => idOf(one) === id) ?? "?";
      reports.push(name);
      if (failing.has(name)) throw new Error("no controller");
    },
  });
  const work = new SerialWork(clock, deletions);
  /** The topics that are being deleted, and the brokers that have yet to confirm that. */
  const see = async (pending: Readonly<Record<string, number[]>>): Promise<void> => {
    const records = Object.entries(pending).map(([name, pendingBrokerIds]) => ({
      ...{ name, id: idOf(name), pendingBrokerIds },
    }));
    view.change({ deletions: records });
    work.request();
    await turn();
  };
  return { see, failing, reports, warnings, advance };
};

test("an end that cannot be recorded is tried again after a pause, and holds up no other", async () => {
  const { see, failing, reports, warnings, advance } = setUp();
  failing.add("a");
  await see({ a: [3], b: [3], c: [3] });
  assert.deepEqual(reports.splice(0), ["a", "b", "c"]);
  assert.match(warnings.join(), /^the end of a topic's deletion cannot be recorded: trying again$/);
  failing.clear();
  await advance(499);
  assert.deepEqual(reports, []);
  await advance(1);
  assert.deepEqual(reports.splice(0), ["a", "b", "c"], "its record says that none is confirmed");
  await advance(100_000);
  assert.deepEqual([reports, warnings.length], [[], 1]);
});

test("an end is reported while the record waits for this broker, and only then", async () => {
  const { see, reports } = setUp();
  await see({ a: [3, 4], b: [4] });
  assert.deepEqual(reports.splice(0), ["a"]);
  await see({ a: [4], b: [4] });
  assert.deepEqual(reports, []);
});
