import assert from "node:assert/strict";
import { test } from "node:test";
import { manualClock } from "@millrace/env/testing";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { ReplicaService } from "@millrace/proto/controller";
import { methodOf } from "@millrace/rpc";
import { ControllerClient } from "./controller-client.ts";
import { FakeDialer } from "./testing/fake-dialer.ts";
import { FakeView } from "./testing/fake-view.ts";

const method = methodOf(ReplicaService.method.confirmDeletions);

/** A broker whose view has the controller at broker 0. */
const setUp = (clusterId = "c") => {
  const { soon } = manualClock();
  const dialer = new FakeDialer();
  const view = new FakeView(1);
  const client = new ControllerClient({ dialer, view, clusterId });
  /** Name of the error that a call ended with, or what was answered. */
  const call = (request: unknown = {}): Promise<unknown> =>
    client.call<unknown, unknown>(method as never, request).catch((thrown: unknown) => {
      return MillraceError.from(thrown).codeName;
    });
  return { dialer, view, client, call, soon };
};

test("a call goes to the active controller, within five seconds, and names the cluster", async () => {
  const { dialer, call, soon } = setUp();
  const answered = call({ brokerId: 3 });
  assert.deepEqual(dialer.dialed, ["b0:7401"]);
  const [asked] = dialer.channel.calls;
  assert.deepEqual(asked?.request, { brokerId: 3 });
  assert.equal(asked?.options?.timeoutMs, 5000);
  assert.deepEqual([...(asked?.options?.metadata ?? [])], [["millrace-cluster-id", "c"]]);
  asked?.answer.resolve("done");
  assert.equal(await soon(answered), "done");
  void call();
  assert.deepEqual(dialer.dialed, ["b0:7401"], "the channel is kept");
});

test("calls follow the controller to another broker, and hang up where it was", async () => {
  const { dialer, view, call } = setUp();
  void call();
  view.change({ controller: 2 });
  assert.deepEqual(dialer.open, ["b0:7401"], "nobody asks anything yet");
  void call();
  assert.deepEqual(dialer.open, ["b2:7401"]);
  assert.deepEqual([dialer.channel.calls.length, dialer.dialed.length], [1, 2]);
});

test("a call fails with NOT_CONTROLLER while no controller is active", async () => {
  const { dialer, view, call, soon } = setUp();
  view.change({ controller: "none" });
  assert.equal(await soon(call()), "NOT_CONTROLLER");
  assert.deepEqual(dialer.dialed, []);
  view.change({ controller: 1 });
  void call();
  assert.deepEqual(dialer.open, ["b1:7401"]);
});

test("after a call whose outcome is unknown, the next one takes a new connection", async () => {
  const { dialer, call, soon } = setUp();
  const lost = call();
  dialer.channel.calls[0]?.answer.reject(new MillraceError(ErrorCode.DEADLINE_EXCEEDED, "late"));
  assert.equal(await soon(lost), "DEADLINE_EXCEEDED");
  assert.deepEqual(dialer.open, []);
  void call();
  assert.deepEqual(dialer.dialed, ["b0:7401", "b0:7401"]);
});

test("an answer that had no effect keeps the connection", async () => {
  const { dialer, call, soon } = setUp();
  const refused = call();
  dialer.channel.calls[0]?.answer.reject(new MillraceError(ErrorCode.NOT_CONTROLLER, "not me"));
  assert.equal(await soon(refused), "NOT_CONTROLLER");
  void call();
  assert.deepEqual([dialer.dialed, dialer.open], [["b0:7401"], ["b0:7401"]]);
});

test("a late failure of an old connection leaves the new one alone", async () => {
  const { dialer, view, call, soon } = setUp();
  void call();
  view.change({ controller: 2 });
  const second = call();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(dialer.open, ["b2:7401"], "the first call failed with its channel");
  dialer.channel.calls[0]?.answer.resolve("done");
  assert.equal(await soon(second), "done");
  void call();
  assert.equal(dialer.dialed.length, 2, "and the new one is kept");
});

test("a close ends the calls that are under way, and no call opens a connection after it", async () => {
  const { dialer, client, call, soon } = setUp();
  const pending = call();
  client.close();
  assert.equal(await soon(pending), "UNAVAILABLE");
  assert.equal(await soon(call()), "SHUTTING_DOWN");
  assert.deepEqual([dialer.dialed, dialer.open], [["b0:7401"], []]);
});
