/** Faults of links, hosts and processes, each alone. A link takes 1 ms unless a test sets it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { isConnectionRefused } from "@millrace/rpc";
import { ask, drink, drop, serve, Talk, type TestWorld, testWorld } from "./testing.ts";

const isUnavailable = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.UNAVAILABLE);
const isLate = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.DEADLINE_EXCEEDED);

/** A client on one host, a server on another, and an open stream between them. */
const connected = async (world: TestWorld) => {
  const [client, server] = [world.start("client"), world.start("server")];
  await serve(server, "server:1");
  const channel = client.dialer.dial("server:1");
  const talk = new Talk(channel);
  talk.say(0);
  assert.equal(await talk.hear(), 0);
  return { client, server, channel, talk };
};

/** Milliseconds that something takes. */
const timed = async (world: TestWorld, body: () => Promise<unknown>): Promise<number> => {
  const fromMs = world.kernel.nowMs;
  await body();
  return world.kernel.nowMs - fromMs;
};

const withWorld = (
  what: string,
  body: (world: TestWorld) => Promise<void>,
  delayMs?: number,
): void => {
  test(what, async () => {
    const world = testWorld(delayMs);
    await world.run(() => body(world));
  });
};

withWorld(
  "one-way loss: requests do not arrive, and do after the heal, in order",
  async (world) => {
    const { talk } = await connected(world);
    world.network.cut("client", "server");
    for (const number of [1, 2, 3]) talk.say(number);
    await world.sleep(3000);
    assert.equal(talk.heard(), undefined);
    world.network.heal();
    // Lost packets are sent again after 200, 400, 800, 1,600 ms: after 3,000 ms in all.
    for (const number of [1, 2, 3]) assert.equal(await talk.hear(), number);
    assert.ok(world.kernel.nowMs < 3400, String(world.kernel.nowMs));
  },
);

withWorld("one-way loss: the other way goes on", async (world) => {
  const [client, server] = [world.start("client"), world.start("server")];
  await serve(server, "server:1", {
    pour: async (stream) => {
      for (let i = 0; i < 5; i += 1) {
        stream.write(drop(10));
        await world.sleep(100);
      }
    },
  });
  const stream = drink(client.dialer.dial("server:1"));
  await stream.read();
  world.network.cut("client", "server");
  const ms = await timed(world, async () => {
    while ((await stream.read()) !== undefined);
  });
  assert.ok(ms < 600, String(ms));
});

withWorld("one-way loss of answers: the call is served, and nobody is told", async (world) => {
  const [client, server] = [world.start("client"), world.start("server")];
  let served = 0;
  await serve(server, "server:1", {
    ask: async () => {
      served += 1;
    },
  });
  const channel = client.dialer.dial("server:1");
  await ask(channel);
  world.network.cut("server", "client");
  await assert.rejects(ask(channel, 1000), isLate);
  assert.equal(served, 2);
});

withWorld("a partition by sets: inside of a set everything passes, and it heals", async (world) => {
  const nodes = ["a", "b", "c", "d"].map((host) => world.start(host));
  for (const [i, node] of nodes.entries()) await serve(node, `${"abcd"[i]}:1`);
  const reach = async (): Promise<string[]> => {
    const reached: string[] = [];
    for (const from of [0, 1, 2, 3]) {
      for (const to of [0, 1, 2, 3]) {
        const channel = nodes[from]?.dialer.dial(`${"abcd"[to]}:1`);
        if (from === to || channel === undefined) continue;
        await ask(channel, 100).then(
          () => reached.push(`${"abcd"[from]}${"abcd"[to]}`),
          () => {},
        );
        channel.close();
      }
    }
    return reached;
  };
  world.network.partition(["a", "b"], ["c", "d"]);
  assert.deepEqual(await reach(), ["ab", "ba", "cd", "dc"]);
  world.network.heal(["a"], ["c"]);
  assert.deepEqual(await reach(), ["ab", "ac", "ba", "ca", "cd", "dc"]);
  world.network.heal();
  assert.equal((await reach()).length, 12);
});

withWorld("a partition is both ways, also for what is open", async (world) => {
  const nodes = [world.start("a"), world.start("b")] as const;
  for (const [i, from] of nodes.entries()) {
    const to = nodes[1 - i];
    assert.ok(to !== undefined);
    const endpoint = `${"ba"[i]}:1`;
    await serve(to, endpoint, {
      pour: async (stream) => {
        stream.write(drop(10));
        await world.sleep(50);
        stream.write(drop(10));
      },
    });
    const stream = drink(from.dialer.dial(endpoint));
    await stream.read();
    world.network.partition("a", "b");
    await world.sleep(1000);
    assert.equal(stream.tryRead(), undefined, `to ${endpoint}`);
    world.network.heal();
    await stream.read();
  }
});

test("loss by chance costs time, nothing else, and the same under the same seed", async () => {
  const campaign = async (seed: number): Promise<[number, number, number]> => {
    const world = testWorld(1, seed);
    const heard: (number | undefined)[] = [];
    await world.run(async () => {
      const { talk } = await connected(world);
      world.network.lose("client", "server", 0.3);
      world.network.lose("server", "client", 0.3);
      const numbers = Array.from({ length: 40 }, (_, i) => i);
      for (const number of numbers) talk.say(number);
      for (const _ of numbers) heard.push(await talk.hear());
      assert.deepEqual(heard, numbers);
    });
    const lost = world.kernel.marks.reached.get("network: a packet is lost") ?? 0;
    return [world.kernel.traceHash, world.kernel.nowMs, lost];
  };
  const first = await campaign(1);
  assert.deepEqual(await campaign(1), first);
  assert.notEqual((await campaign(2))[0], first[0]);
  const [, ms, lost] = first;
  assert.ok(ms > 400 && lost > 4 && lost < 200, `${ms} ms, ${lost} lost`);
});

withWorld("delay: each way has its own, and order is kept when it shrinks", async (world) => {
  const { talk, channel } = await connected(world);
  world.network.delay("client", "server", 300);
  world.network.delay("server", "client", () => 40);
  assert.equal(await timed(world, () => ask(channel)), 340);
  talk.say(1);
  world.network.delay("client", "server", 1);
  talk.say(2);
  const ms = await timed(world, async () => {
    assert.equal(await talk.hear(), 1);
    assert.equal(await talk.hear(), 2);
  });
  assert.equal(ms, 340);
});

withWorld("stall and heal: the bytes arrive at once after the heal, in order", async (world) => {
  const { talk } = await connected(world);
  world.network.stall("client", "server");
  talk.say(1);
  await world.sleep(1000);
  talk.say(2);
  await world.sleep(1000);
  assert.equal(talk.heard(), undefined);
  world.network.heal("client", "server");
  const ms = await timed(world, async () => {
    assert.equal(await talk.hear(), 1);
    assert.equal(await talk.hear(), 2);
  });
  assert.equal(ms, 2);
});

withWorld("a killed process is told apart from a machine that is gone", async (world) => {
  const { client, server, talk } = await connected(world);
  server.process.kill();
  // The machine lives: it breaks the stream and refuses the next connection, at once.
  assert.equal(await timed(world, () => assert.rejects(talk.hear(), isUnavailable)), 1);
  const refused = await timed(world, () =>
    assert.rejects(ask(client.dialer.dial("server:1")), isConnectionRefused),
  );
  assert.equal(refused, 2);
  world.network.powerOff("server");
  const silent = await timed(world, () =>
    assert.rejects(ask(client.dialer.dial("server:1")), (thrown) => {
      return isUnavailable(thrown) && !isConnectionRefused(thrown);
    }),
  );
  assert.equal(silent, 5000);
});

withWorld(
  "a machine that loses power is silent, and resets its past when it is back",
  async (world) => {
    const { server, talk, channel } = await connected(world);
    const idle = new Talk(channel);
    world.network.powerOff("server");
    assert.equal(server.process.alive, false);
    talk.say(1);
    await world.sleep(2000);
    assert.equal(talk.heard(), undefined);
    world.network.powerOn("server");
    // The message is sent again after 3,000 ms in all; the machine knows no such connection.
    const ms = await timed(world, () => assert.rejects(talk.hear(), isUnavailable));
    assert.ok(ms > 900 && ms < 1300, String(ms));
    await assert.rejects(idle.hear(), isUnavailable);
    await assert.rejects(ask(channel), isConnectionRefused);
  },
);

withWorld("silence is found by pings, on both sides", async (world) => {
  const [client, server] = [world.start("client"), world.start("server")];
  let toldMs = 0;
  await serve(server, "server:1", {
    pour: ({ context }) =>
      new Promise((resolve) => {
        context.signal.addEventListener("abort", () => {
          toldMs = world.kernel.nowMs;
          resolve();
        });
      }),
  });
  const stream = drink(client.dialer.dial("server:1"));
  await world.sleep(10);
  world.network.breakConnections("server", "client", "half-open");
  await assert.rejects(stream.read(), isUnavailable);
  // A ping after 20 s of silence, and 10 s for its answer; the server is more patient by 10 s.
  assert.ok(Math.abs(world.kernel.nowMs - 30_000) < 10, String(world.kernel.nowMs));
  await world.sleep(20_000);
  assert.ok(Math.abs(toldMs - 40_000) < 10, String(toldMs));
  await ask(client.dialer.dial("server:1")).catch(() => {});
});

withWorld("an idle connection lives on pings", async (world) => {
  const { talk } = await connected(world);
  await world.sleep(600_000);
  talk.say(1);
  assert.equal(await talk.hear(), 1);
});

withWorld("a reset tells both sides and loses what is under way", async (world) => {
  const [client, server] = [world.start("client"), world.start("server")];
  let received = 0;
  const told = Promise.withResolvers<void>();
  await serve(server, "server:1", {
    talk: async (stream) => {
      stream.context.signal.addEventListener("abort", () => told.resolve());
      while ((await stream.read()) !== undefined) received += 1;
    },
  });
  const talk = new Talk(client.dialer.dial("server:1"));
  talk.say(1);
  await world.sleep(10);
  talk.say(2);
  world.network.breakConnections("client", "server", "reset");
  await assert.rejects(talk.hear(), isUnavailable);
  await told.promise;
  assert.equal(received, 1);
  assert.ok(world.kernel.nowMs < 20, String(world.kernel.nowMs));
});

withWorld("a paused process stands still, keeps its connections, and goes on", async (world) => {
  const { server, client, talk, channel } = await connected(world);
  const ticks: number[] = [];
  const clock = server.process.clock();
  void (async () => {
    for (;;) {
      await clock.sleep(100);
      ticks.push(clock.monoMs());
    }
  })();
  await world.sleep(250);
  const before = ticks.length;
  server.process.pause();
  talk.say(1);
  talk.say(2);
  await world.sleep(5000);
  assert.deepEqual([ticks.length, talk.heard()], [before, undefined]);
  // The machine takes the connection, the process does not answer: that is no refusal.
  const silent = await timed(world, () =>
    assert.rejects(ask(client.dialer.dial("server:1")), (thrown) => {
      return isUnavailable(thrown) && !isConnectionRefused(thrown);
    }),
  );
  assert.equal(silent, 5000);
  server.process.resume();
  assert.equal(await talk.hear(), 1);
  assert.equal(await talk.hear(), 2);
  await ask(channel);
  assert.equal(ticks.length, before + 1, "a timer that was due runs once");
  await world.sleep(1000);
  assert.equal(ticks.length, before + 11);
});

withWorld("a process that is killed during a pause never goes on", async (world) => {
  const { server, talk } = await connected(world);
  server.process.pause();
  let ran = false;
  server.process.clock().timer(100, () => {
    ran = true;
  });
  await world.sleep(1000);
  server.process.kill();
  server.process.resume();
  await assert.rejects(talk.hear(), isUnavailable);
  assert.equal(ran, false);
});

withWorld("bandwidth: all connections of a link share it", async (world) => {
  const { client, talk } = await connected(world);
  const other = new Talk(client.dialer.dial("server:1"));
  other.say(0);
  await other.hear();
  world.network.limit("client", "server", 100_000);
  const ms = await timed(world, async () => {
    talk.say(1, 100_000);
    other.say(2, 100_000);
    await talk.hear();
    await other.hear();
  });
  assert.ok(ms > 2000 && ms < 2010, String(ms));
  // The other way is as wide as before.
  const back = await timed(world, async () => {
    talk.say(3);
    await talk.hear();
  });
  assert.ok(back < 5, String(back));
});

withWorld("window updates take the link: a server stops whose client is cut off", async (world) => {
  const [client, server] = [world.start("client"), world.start("server")];
  await serve(server, "server:1", {
    pour: async (stream) => {
      // Since the window was last full: one that never fills would take writes for ever.
      let writes = 0;
      while (!stream.context.signal.aborted && writes < 1_000) {
        writes += 1;
        if (stream.write(drop(16 * 1024))) continue;
        await stream.drained();
        writes = 0;
      }
      world.kernel.marks.always(writes < 1_000, "the client's window fills");
    },
  });
  const stream = drink(client.dialer.dial("server:1"));
  await stream.read();
  let read = 1;
  void (async () => {
    while ((await stream.read()) !== undefined) read += 1;
  })().catch(() => {});
  await world.sleep(100);
  assert.ok(read > 100, "the stream flows");
  world.network.stall("client", "server");
  await world.sleep(100);
  const atStall = read;
  await world.sleep(1000);
  // Everything under way has arrived: no more than a window came after the last update.
  assert.equal(read, atStall);
  world.network.heal();
  await world.sleep(100);
  assert.ok(read > atStall + 100, `${read} after ${atStall}`);
  stream.cancel();
});

withWorld("a channel dials again after three calls without an answer", async (world) => {
  const { channel } = await connected(world);
  world.network.breakConnections("client", "server", "half-open");
  for (let i = 0; i < 3; i += 1) await assert.rejects(ask(channel, 1000), isLate);
  await ask(channel, 1000);
});

withWorld("a closed channel leaves no connection behind", async (world) => {
  const { channel, client } = await connected(world);
  channel.close();
  await world.sleep(100);
  const events = world.kernel.events;
  await world.sleep(3_000_000);
  // The sleep itself, and the pings of no connection.
  assert.equal(world.kernel.events, events + 1);
  await ask(client.dialer.dial("server:1"));
});
