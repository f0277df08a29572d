/** What a broker does of its own accord: it talks to the controller, and stops. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { manualClock, meanRandom } from "@millrace/env/testing";
import type { LogManager } from "@millrace/log";
import { topicIdBytes } from "@millrace/record";
import { Broker } from "./broker.ts";
import { noMetrics } from "./metrics.ts";
import { FakeDialer } from "./testing/fake-dialer.ts";
import { FakeView, topicOf } from "./testing/fake-view.ts";

const deletionOf = (name: string, pendingBrokerIds = [3]) => {
  const { id } = topicOf(name, []);
  return { name, id, pendingBrokerIds };
};

/** Broker 3, without a partition. */
const setUp = () => {
  const { clock, turn, soon, pending } = manualClock();
  const dialer = new FakeDialer();
  const view = new FakeView(1);
  const logs = { recovery: { clean: true }, partitions: () => [] } as unknown as LogManager;
  const none = undefined as never;
  const env = { clock, random: meanRandom, logger: silentLogger, compressor: none, disk: none };
  const broker = new Broker({
    ...{ env, logs, view, dialer, metrics: noMetrics, brokerEpoch: () => 5 },
    identity: { clusterId: "c", brokerId: 3 },
  });
  return { broker, dialer, view, turn, soon, pending };
};

test("a deletion that is done is confirmed to the controller, under the broker's id", async () => {
  const { broker, dialer, view, turn, soon } = setUp();
  view.change({ deletions: [deletionOf("t")] });
  await turn();
  assert.deepEqual(dialer.open, ["b0:7401"]);
  const { request } = dialer.channel.calls[0] ?? assert.fail();
  const { brokerId, topicIds } = request as { brokerId: number; topicIds: Uint8Array[] };
  assert.deepEqual([brokerId, topicIds], [3, [topicIdBytes(topicOf("t", []).id)]]);
  await soon(broker.close());
});

test("a stop waits for no answer of the controller, and leaves nothing behind", async () => {
  const { broker, dialer, view, turn, soon, pending } = setUp();
  view.change({ deletions: [deletionOf("t"), deletionOf("u"), deletionOf("v")] });
  await turn();
  assert.equal(dialer.channel.calls.length, 1);
  await soon(broker.close());
  assert.deepEqual([dialer.open, dialer.dialed.length, pending()], [[], 1, []]);
});
