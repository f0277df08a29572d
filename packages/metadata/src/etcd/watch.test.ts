/** What a watch makes of each response of etcd, and of none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeRandom } from "@millrace/env/node";
import { manualClock } from "@millrace/env/testing";
import { EtcdError } from "./raw-api.ts";
import { EtcdStore } from "./store.ts";
import { event, FakeEtcd, watched } from "./testing/fake-etcd.ts";

const key = (name: string): string => `/r/${name}`;

/** A watch from revision 5 of a store on two servers, of which the first is asked. */
const begin = async (options: { credentials?: { user: string; password: string } } = {}) => {
  const { clock, turn, advance } = manualClock();
  const servers = [new FakeEtcd(), new FakeEtcd()];
  const random = { ...nodeRandom(), below: () => 0 };
  const store = new EtcdStore({
    ...{ clock, random, logger: silentLogger, root: "/r/" },
    servers: servers.map((raw, i) => ({ endpoint: `http://etcd-${i}:2379`, raw })),
    ...options,
  });
  const told: string[] = [];
  const watch = (from: number) =>
    store.watch({ prefix: "" }, from, {
      onBatch: ({ events, revision }) => {
        told.push(`${revision}: ${events.map(({ type, kv }) => `${type} ${kv.key}`).join(", ")}`);
      },
      onEnd: (end) => {
        const more = end.reason === "compacted" ? ` ${end.compactRevision}` : "";
        told.push(`${end.reason}${more}`);
      },
    });
  const handle = watch(5);
  await turn();
  const [first = new FakeEtcd(), second = new FakeEtcd()] = servers;
  const [stream] = first.streams;
  assert.ok(stream !== undefined);
  const receive = (response: ReturnType<typeof watched>): void => stream.handlers.onData(response);
  return { store, handle, watch, told, stream, receive, first, second, turn, advance };
};

test("a watch asks for its revision on, for progress, and for fragments", async () => {
  const { stream } = await begin();
  assert.deepEqual(stream.requests, [
    {
      create_request: {
        ...{ key: Buffer.from("/r/"), range_end: Buffer.from("/r0") },
        ...{ start_revision: 5, progress_notify: true, fragment: true },
      },
    },
  ]);
});

test("that a watch was created says nothing about what it has delivered", async () => {
  const { told, receive } = await begin();
  receive(watched(100, { created: true }));
  assert.deepEqual(told, []);
  receive(watched(100, { events: [event(key("a"), 5)] }));
  assert.deepEqual(told, ["5: put a"], "and neither does the header of a response with events");
  receive(watched(100, { watch_id: "-1" }));
  assert.deepEqual(told.slice(1), ["100: "]);
});

test("a revision is a batch, whether it comes with others or in fragments", async () => {
  const { told, receive } = await begin();
  receive(watched(9, { created: true }));
  const events = [event(key("a"), 5), event(key("b"), 5), event(key("c"), 7)];
  receive(watched(9, { events }));
  assert.deepEqual(told.splice(0), ["5: put a, put b", "7: put c"]);
  receive(watched(9, { events: [event(key("a"), 8), event(key("b"), 9)], fragment: true }));
  receive(watched(9, { events: [event(key("c"), 9)], fragment: true }));
  // What comes in between is about something else.
  receive(watched(9, { watch_id: "-1" }));
  assert.deepEqual(told, []);
  receive(watched(9, { events: [event(key("d"), 9)] }));
  assert.deepEqual(told, ["8: put a", "9: put b, put c, put d"]);
});

test("what was delivered before is passed over", async () => {
  const { told, receive } = await begin();
  receive(watched(9, { created: true }));
  receive(watched(9, { events: [event(key("old"), 4), event(key("a"), 5)] }));
  receive(watched(9, { events: [event(key("a"), 5), event(key("b"), 6)] }));
  receive(watched(5, { watch_id: "-1" }));
  assert.deepEqual(told, ["5: put a", "6: put b"]);
});

test("a compaction is told apart from other ends", async () => {
  const compacted = await begin();
  compacted.receive(watched(90, { created: true }));
  compacted.receive(watched(90, { canceled: true, compact_revision: "42" }));
  await compacted.turn();
  assert.deepEqual(compacted.told, ["compacted 42"]);
  assert.equal(compacted.stream.closed, true);
  const refused = await begin();
  refused.receive(watched(90, { created: true, canceled: true, cancel_reason: "denied" }));
  await refused.turn();
  assert.deepEqual(refused.told, ["lost"]);
});

test("a broken stream is told, once, and the next watch goes to another server", async () => {
  const { told, stream, receive, turn, watch, second } = await begin();
  receive(watched(9, { created: true }));
  receive(watched(9, { events: [event(key("a"), 5)] }));
  stream.handlers.onEnd(new EtcdError(14, "reset"));
  receive(watched(9, { events: [event(key("b"), 6)] }));
  await turn();
  assert.deepEqual(told, ["5: put a", "lost"]);
  watch(6);
  await turn();
  assert.equal(second.streams[0]?.requests[0]?.create_request?.start_revision, 6);
});

test("a watch that is not made in time is lost", async () => {
  const { told, stream, advance } = await begin();
  await advance(4999);
  assert.deepEqual(told, []);
  await advance(1);
  assert.deepEqual(told, ["lost"]);
  assert.equal(stream.closed, true);
});

test("a silent stream is asked for progress, and lost when it does not answer", async () => {
  const { told, stream, receive, advance } = await begin();
  const asked = (): number =>
    stream.requests.filter(({ progress_request }) => progress_request !== undefined).length;
  receive(watched(9, { created: true }));
  await advance(3000);
  assert.equal(asked(), 1);
  receive(watched(9, { watch_id: "-1" }));
  await advance(3000);
  assert.equal(asked(), 1, "it has been heard of meanwhile");
  await advance(3000);
  assert.equal(asked(), 2);
  await advance(2999);
  assert.deepEqual(told, ["9: "]);
  await advance(1);
  assert.deepEqual(told, ["9: ", "lost"]);
});

test("a watch of a store in which nothing has happened yet is silent, and not lost", async () => {
  const { told, stream, receive, first, advance } = await begin();
  first.revision = 4;
  receive(watched(4, { created: true }));
  for (let i = 0; i < 5; i += 1) await advance(6000);
  assert.deepEqual(told, []);
  assert.equal(stream.requests.length, 6, "it is asked all the same");
  // What has happened it should have told.
  first.revision = 5;
  await advance(6000);
  assert.deepEqual(told, ["lost"]);
  const heard = await begin();
  heard.first.revision = 4;
  heard.receive(watched(4, { created: true }));
  await heard.advance(30_000);
  heard.receive(watched(5, { events: [event(key("a"), 5)] }));
  await heard.advance(6000);
  assert.deepEqual(heard.told, ["5: put a"]);
  await heard.advance(3000);
  assert.deepEqual(heard.told, ["5: put a", "lost"]);
});

test("a store that has gone back under a silent watch is told", async () => {
  const { told, receive, first, advance } = await begin();
  first.revision = 4;
  receive(watched(4, { created: true }));
  await advance(6000);
  first.revision = 1;
  await advance(6000);
  assert.deepEqual(told, ["diverged"]);
});

test("a silent watch whose store cannot be read is lost", async () => {
  const { told, receive, first, second, advance } = await begin();
  first.revision = 4;
  receive(watched(4, { created: true }));
  first.fail(14);
  second.fail(14);
  await advance(6000);
  for (let i = 0; i < 100; i += 1) await advance(100);
  assert.deepEqual(told, ["lost"]);
});

test("progress that is asked for early is asked for once the watch is made", async () => {
  const { handle, stream, receive } = await begin();
  handle.requestProgress();
  assert.equal(stream.requests.length, 1);
  receive(watched(9, { created: true }));
  assert.deepEqual(stream.requests.slice(1), [{ progress_request: {} }]);
});

test("a server that lags is waited for; a store that never was there is told", async () => {
  const lagging = await begin();
  lagging.first.revision = 4;
  lagging.receive(watched(3, { created: true }));
  await lagging.turn();
  await lagging.turn();
  lagging.receive(watched(5, { events: [event(key("a"), 5)] }));
  assert.deepEqual(lagging.told, ["5: put a"]);
  const restored = await begin();
  restored.first.revision = 3;
  restored.receive(watched(3, { created: true }));
  await restored.turn();
  await restored.turn();
  assert.deepEqual(restored.told, ["diverged"]);
});

test("a cancelled watch delivers nothing more, and ends as cancelled", async () => {
  const { handle, told, stream, receive, turn } = await begin();
  receive(watched(9, { created: true }));
  handle.cancel();
  receive(watched(9, { events: [event(key("a"), 5)] }));
  stream.handlers.onEnd(new EtcdError(1, "cancelled"));
  await turn();
  assert.deepEqual(told, ["cancelled"]);
  assert.equal(stream.closed, true);
});

test("a watch with a login that has ended is lost, and the next one logs in anew", async () => {
  const { stream, turn, watch, first, second } = await begin({
    credentials: { user: "u", password: "p" },
  });
  assert.equal(stream.context.token, "token 1");
  stream.handlers.onEnd(new EtcdError(16, "etcd: invalid auth token"));
  await turn();
  watch(5);
  await turn();
  assert.equal(first.tokens.length + second.tokens.length, 2);
});

test("a response that cannot be read ends the watch instead of being passed over", async () => {
  const { told, receive, turn } = await begin();
  receive(watched(9, { created: true }));
  receive(watched(9, { events: [event(Buffer.from([0x2f, 0x72, 0x2f, 0xff]), 5)] }));
  await turn();
  assert.deepEqual(told, ["lost"]);
});
