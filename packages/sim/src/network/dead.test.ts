/** What a process that was killed can still do: nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { EmbeddedStore } from "@millrace/metadata";
import { SimDisk } from "../disk.ts";
import { Incarnation } from "../kernel.ts";
import { mountStore } from "../store.ts";
import { ask, message, serve, Talk, type TestNode, type TestWorld, testWorld } from "./testing.ts";

/** Runs `act` as code of a killed process that runs on, and names what it got to the end of. */
const afterKill = async (
  world: TestWorld,
  { process }: TestNode,
  acts: Readonly<Record<string, () => unknown>>,
): Promise<string[]> => {
  process.kill();
  const done: string[] = [];
  for (const [name, act] of Object.entries(acts)) {
    void (async () => {
      await act();
      done.push(name);
    })().catch(() => {});
  }
  await world.sleep(200_000);
  return done;
};

/** What the host sent after a line of the trace. */
const sentFrom = (host: string, trace: readonly string[], after: string): string[] => {
  const from = trace.findIndex((line) => line.endsWith(after));
  assert.ok(from >= 0, `${after} is in the trace`);
  return trace
    .slice(from)
    .filter((line) => line.includes(`${host}>`))
    .map((line) => line.slice(line.indexOf(`${host}>`)));
};

test("a handler of a killed process runs on, gets no answer and reaches nobody", async () => {
  const world = testWorld();
  const [dead, peer, client] = [world.start("dead"), world.start("peer"), world.start("client")];
  let calls = 0;
  const gate = Promise.withResolvers<void>();
  await world.run(async () => {
    await serve(peer, "peer:1", {
      ask: async () => {
        calls += 1;
      },
    });
    const log: string[] = [];
    await serve(dead, "dead:1", {
      ask: async () => {
        await gate.promise;
        log.push(`runs on, alive: ${dead.process.alive}`);
        await ask(dead.dialer.dial("peer:1"));
        log.push("got an answer");
      },
    });
    const call = ask(client.dialer.dial("dead:1"));
    call.catch(() => {});
    await world.sleep(50);
    dead.process.kill();
    gate.resolve();
    await assert.rejects(call, (thrown) => hasCode(thrown, ErrorCode.UNAVAILABLE));
    await world.sleep(200_000);
    assert.deepEqual(log, ["runs on, alive: false"]);
  });
  assert.equal(calls, 0);
  assert.deepEqual(sentFrom("dead", world.trace, "kill dead"), ["dead>client reset"]);
});

test("a handler that answers after its process was killed answers nobody", async () => {
  const world = testWorld();
  const [dead, client] = [world.start("dead"), world.start("client")];
  const gate = Promise.withResolvers<void>();
  await world.run(async () => {
    await serve(dead, "dead:1", { ask: () => gate.promise });
    const call = ask(client.dialer.dial("dead:1"));
    call.catch(() => {});
    await world.sleep(50);
    dead.process.kill();
    gate.resolve();
    await assert.rejects(call, (thrown) => hasCode(thrown, ErrorCode.UNAVAILABLE));
  });
  assert.deepEqual(sentFrom("dead", world.trace, "kill dead"), ["dead>client reset"]);
});

test("open streams of a killed process deliver nothing and take nothing", async () => {
  const world = testWorld();
  const [dead, peer] = [world.start("dead"), world.start("peer")];
  await world.run(async () => {
    await serve(peer, "peer:1");
    const talk = new Talk(dead.dialer.dial("peer:1"));
    talk.say(1);
    assert.equal(await talk.hear(), 1);
    talk.say(2);
    talk.say(3);
    await world.sleep(10);
    // The answers have arrived, and nobody has read them.
    const reading = talk.hear();
    assert.equal(await reading, 2);
    dead.process.kill();
    assert.equal(talk.stream.write(message(4)), false);
    const done = await afterKill(world, dead, {
      read: () => talk.hear(),
      room: () => talk.stream.drained(),
      end: () => talk.stream.end(),
    });
    assert.equal(talk.heard(), undefined);
    assert.deepEqual(done, ["end"]);
  });
  assert.deepEqual(sentFrom("dead", world.trace, "kill dead"), ["dead>peer reset"]);
});

test("a killed process cannot listen, dial, call or stop its server", async () => {
  const world = testWorld();
  const [dead, peer] = [world.start("dead"), world.start("peer")];
  await world.run(async () => {
    await serve(peer, "peer:1");
    const server = await serve(dead, "dead:1");
    const channel = dead.dialer.dial("peer:1");
    await ask(channel);
    const done = await afterKill(world, dead, {
      listen: () => serve(dead, "dead:2"),
      call: () => ask(channel),
      dial: () => ask(dead.dialer.dial("peer:1")),
      stop: () => server.shutdown(0),
      timer: () => dead.process.clock().sleep(1),
    });
    assert.deepEqual(done, []);
  });
  assert.deepEqual(sentFrom("dead", world.trace, "kill dead"), ["dead>peer reset"]);
});

test("the port of a killed process is free for the next one", async () => {
  const world = testWorld();
  const [dead, client] = [world.start("a"), world.start("client")];
  await world.run(async () => {
    await serve(dead, "a:1", { ask: () => new Promise(() => {}) });
    await assert.rejects(serve(world.start("a"), "a:1"), (thrown) =>
      hasCode(thrown, ErrorCode.UNAVAILABLE),
    );
    dead.process.kill();
    await serve(world.start("a"), "a:1");
    await ask(client.dialer.dial("a:1"));
  });
});

test("a killed process writes to no disk and no store, and its watches are silent", async () => {
  const world = testWorld();
  const owner = new Incarnation(world.kernel, "store");
  const shared = new EmbeddedStore({ clock: owner.clock(), random: world.kernel.random });
  const disk = new SimDisk(world.kernel.random);
  const dead = world.start("dead");
  await world.run(async () => {
    const mounted = disk.mount(dead.process);
    const store = mountStore(shared, dead.process);
    const file = await mounted.open("f", "create");
    const put = (key: string) => ({ type: "put", key, value: new Uint8Array(1) }) as const;
    await store.txn([], [put("alive")]);
    const seen: string[] = [];
    let ended = 0;
    store.watch({ prefix: "" }, 2, {
      onBatch: ({ events }) => seen.push(...events.map(({ kv }) => kv.key)),
      onEnd: () => {
        ended += 1;
      },
    });
    await world.sleep(10);
    assert.deepEqual(seen, ["alive"]);
    const lease = await store.grantLease(5);
    const done = await afterKill(world, dead, {
      write: () => file.write([Buffer.from("x")], 0),
      create: () => mounted.open("g", "create"),
      put: () => store.txn([], [put("dead")]),
      read: () => store.range({ prefix: "" }),
      watch: () => store.watch({ prefix: "" }, 2, { onBatch: () => {}, onEnd: () => {} }),
      lease: () => store.grantLease(5),
      renew: () => store.keepAlive(lease.id),
      revoke: () => store.revokeLease(lease.id),
      close: () => store.close(),
    });
    await shared.txn([], [put("other")]);
    await world.sleep(10);
    assert.deepEqual(done, []);
    assert.deepEqual([seen, ended], [["alive"], 0]);
    const { kvs } = await shared.range({ prefix: "" });
    assert.deepEqual(
      kvs.map(({ key }) => key),
      ["alive", "other"],
    );
    assert.deepEqual([disk.paths(), disk.content("f")?.length], [["f"], 0]);
  });
});

test("answers of the store wait for a process that stands still", async () => {
  const world = testWorld();
  const owner = new Incarnation(world.kernel, "store");
  const shared = new EmbeddedStore({ clock: owner.clock(), random: world.kernel.random });
  const { process } = world.start("a");
  await world.run(async () => {
    const store = mountStore(shared, process);
    const seen: number[] = [];
    store.watch({ prefix: "" }, 2, {
      onBatch: ({ events }) => {
        if (events.length > 0) seen.push(world.kernel.nowMs);
      },
      onEnd: () => {},
    });
    const answered = store.range({ prefix: "" }).then(() => world.kernel.nowMs);
    process.pause();
    await shared.txn([], [{ type: "put", key: "k", value: new Uint8Array(1) }]);
    await world.sleep(500);
    assert.deepEqual(seen, []);
    process.resume();
    assert.ok((await answered) >= 500);
    await world.sleep(1);
    assert.deepEqual(seen, [500]);
  });
});
