/** Leader and follower of one partition, with real logs, over a simulated network. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { InSyncReplica } from "../partitions/in-sync.ts";
import { batchOf, bytesOf, follow, inWorld, lead, Machine } from "../testing/replication.ts";

const one = { brokerId: 1, brokerEpoch: 10 };

test("what a leader appends is on its follower, byte for byte, before it is readable", async () => {
  await inWorld(1, async (world) => {
    const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
    const { leader } = await lead(a, 1, [one]);
    await leader.append("before anybody follows");
    await world.sleep(100);
    assert.equal(leader.log.highWatermark, 0);
    const { log } = await follow(b, 1);
    for (let i = 0; i < 50; i += 1) await leader.append(`${i}`.padEnd(300, "."));
    await world.until(() => leader.log.highWatermark === 51, "everything is committed");
    assert.ok(log.ackedEndOffset >= leader.log.highWatermark);
    await world.until(() => log.highWatermark === 51, "the follower knows");
    assert.equal(await bytesOf(log), await bytesOf(leader.log));
    assert.equal(log.leaderEpoch, 1);
  });
});

test("a follower that was away for long is read from files, and catches up", async () => {
  await inWorld(2, async (world) => {
    const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
    a.tailCacheBytesMax = 2000;
    const { leader } = await lead(a, 1, [one]);
    for (let i = 0; i < 100; i += 1) await leader.append(`${i}`.padEnd(300, "."));
    await world.sleep(1000);
    const { log } = await follow(b, 1);
    await world.until(() => log.highWatermark === 100, "it has caught up");
    assert.equal(await bytesOf(log), await bytesOf(leader.log));
  });
});

test("what an earlier leader alone had is cut off", async () => {
  await inWorld(3, async (world) => {
    const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
    const before = await b.start();
    await before.log.becomeLeader(1);
    for (const value of ["nobody", "has", "these"]) {
      const batch = await batchOf(value, before.clock.wallMs());
      before.log.append(batch, 1, () => {});
    }
    await world.sleep(100);
    await before.logs.close(true);
    const { leader } = await lead(a, 2, [{ brokerId: 1, brokerEpoch: 20 }]);
    await leader.append("the leader's");
    const { log } = await follow(b, 2);
    await world.until(() => leader.log.highWatermark === 1, "it is committed");
    assert.equal(await bytesOf(log), await bytesOf(leader.log));
    assert.equal(log.leaderEpoch, 2);
  });
});

test("connections that break again and again lose nothing", async () => {
  for (let seed = 10; seed < 20; seed += 1) {
    await inWorld(seed, async (world) => {
      const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
      const { leader } = await lead(a, 1, [one]);
      const { log } = await follow(b, 1);
      const { random } = world.kernel;
      b.disk.stallChance = 0.2;
      let healed = false;
      world.network.fate = () => {
        if (healed) return "deliver";
        if (random.float() < 0.05) return "reset";
        return random.float() < 0.01 ? "half-open" : "deliver";
      };
      for (let i = 0; i < 60; i += 1) {
        await leader.append(`${i}`.padEnd(100, "."));
        await world.sleep(random.float() * 30);
        assert.ok(log.ackedEndOffset >= leader.log.highWatermark, `seed ${seed}`);
      }
      healed = true;
      await world.until(() => log.highWatermark === 60, `it has caught up, seed ${seed}`);
      assert.equal(await bytesOf(log), await bytesOf(leader.log));
    });
  }
});

test("a leader that died and one that lost its role are left, and followed again", async () => {
  await inWorld(4, async (world) => {
    const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
    const first = await lead(a, 1, [one]);
    const { log, stream, followed } = await follow(b, 1);
    await first.leader.append("one");
    await world.until(() => log.highWatermark === 1, "it follows");
    a.kill();
    await world.sleep(500);
    const { leader } = await lead(a, 2, [one]);
    // Under the old epoch it gets nothing.
    await leader.append("two");
    await world.sleep(5000);
    assert.equal(log.logEndOffset, 1);
    stream.follow({ ...followed, leaderEpoch: 2 });
    await world.until(() => log.highWatermark === 2, "it follows the new epoch");
    leader.leads = false;
    // What its log has now is not for it to send.
    await leader.append("three");
    await world.sleep(100);
    assert.equal(log.logEndOffset, 2);
    leader.leads = true;
    await world.until(() => log.highWatermark === 3, "it follows again");
    assert.equal(stream.size, 1);
    await stream.close();
    await leader.append("four");
    await world.sleep(1000);
    assert.equal(log.logEndOffset, 3);
  });
});

test("thousands of partitions are subscribed in several messages", async () => {
  await inWorld(6, async (world) => {
    const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
    await lead(a, 1, [one]);
    const { followed, stream } = await follow(b, 1);
    const empty = {
      ...{
        logEndOffset: 0,
        logStartOffset: 0,
        ackedEndOffset: 0,
        highWatermark: 0,
        leaderEpoch: 0,
      },
      ...{ onProgress: () => () => {}, epochOfOffset: () => 0 },
    };
    let told = 0;
    const log = { ...empty, updateHighWatermark: () => (told += 1) } as never;
    for (let partition = 1; partition <= 12_000; partition += 1) {
      stream.follow({ ...followed, partition, log });
    }
    await world.until(() => told >= 12_000, "all are followed");
  });
});

test("a follower that dies goes on where it was durable", async () => {
  await inWorld(5, async (world) => {
    const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
    const { leader } = await lead(a, 1, [one]);
    await follow(b, 1);
    for (let i = 0; i < 20; i += 1) {
      await leader.append(`${i}`.padEnd(300, "."));
      await world.sleep(3);
    }
    b.process.kill();
    b.disk.crash("power");
    const { highWatermark } = leader.log;
    const { log } = await follow(b, 1);
    assert.ok(log.logEndOffset >= highWatermark, "what was committed survives its power cut");
    await world.until(() => log.logEndOffset === 20, "it has caught up");
    assert.equal(await bytesOf(log), await bytesOf(leader.log));
    // Its old registration is the one in sync.
    assert.equal(leader.log.highWatermark, highWatermark);
  });
});

test("a log that begins anew does so with the leader's first batch, which may hold its start", async () => {
  await inWorld(6, async (world) => {
    const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
    // Read from memory, and from files.
    for (const tailCacheBytesMax of [100_000, 0]) {
      a.tailCacheBytesMax = tailCacheBytesMax;
      const { leader, log: led, logs } = await lead(a, 1, []);
      const before = led.logEndOffset;
      await leader.append("one");
      await leader.append(Array.from({ length: 10 }, (_, i) => `of many, ${i}`));
      await leader.append("behind them");
      await world.until(() => led.highWatermark === before + 12, "it is committed");
      await led.advanceLogStart(before + 5);
      const { log, logs: others, rebuilt } = await follow(b, 1);
      await world.until(() => log.highWatermark === before + 12, "it has caught up");
      assert.deepEqual(rebuilt, [before + 1]);
      await world.until(() => log.logStartOffset === before + 5, "its start follows");
      assert.equal(await bytesOf(log), await bytesOf(led));
      await Promise.all([logs.close(true), others.close(true)]);
      a.kill();
      b.kill();
    }
  });
});

test("a log that ends inside of the leader's first batch begins anew", async () => {
  await inWorld(7, async (world) => {
    const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
    // What both have of epoch 1, and what the follower alone has.
    for (const [machine, count] of [
      [a, 3],
      [b, 8],
    ] as const) {
      const { clock, log, logs } = await machine.start();
      await log.becomeLeader(1);
      for (let i = 0; i < count; i += 1) {
        log.append(await batchOf(`${i}`, clock.wallMs()), 1, () => {});
      }
      await world.sleep(100);
      await logs.close(true);
    }
    const { leader, log: led } = await lead(a, 2, []);
    await leader.append(Array.from({ length: 10 }, (_, i) => `of many, ${i}`));
    await world.until(() => led.highWatermark === 13, "it is committed");
    await led.advanceLogStart(5);
    const { log, rebuilt } = await follow(b, 2);
    await world.until(() => log.highWatermark === 13, "it has caught up");
    assert.deepEqual(rebuilt, [3]);
    await world.until(() => log.logStartOffset === 5, "its start follows");
    assert.equal(await bytesOf(log), await bytesOf(led));
  });
});

test("an empty log begins anew where an unclean leader's has a batch around its end", async () => {
  await inWorld(7, async (world) => {
    const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
    const before = await b.start();
    await before.log.resetTo(5);
    await before.logs.close(true);
    const { leader, log: led } = await lead(a, 1, []);
    for (let i = 0; i < 3; i += 1) await leader.append(`${i}`);
    await leader.append(Array.from({ length: 10 }, (_, i) => `of many, ${i}`));
    await world.until(() => led.highWatermark === 13, "it is committed");
    await led.advanceLogStart(5);
    const { log, rebuilt } = await follow(b, 1, 0, 1);
    await world.until(() => log.highWatermark === 13, "it has caught up");
    assert.deepEqual(rebuilt, [3]);
    await world.until(() => log.logStartOffset === 5, "its start follows");
    assert.equal(await bytesOf(log), await bytesOf(led));
  });
});

test("who is not in sync waits for the rate of catching up, who is does not", async () => {
  const caughtUp = async (isr: readonly InSyncReplica[]): Promise<[number, string[]]> => {
    const calls: string[] = [];
    const rate = {
      reserve: (bytesMax: number) => {
        calls.push(`reserve ${bytesMax}`);
        return 500;
      },
      spent: (bytesMax: number, bytes: number) => {
        calls.push(`spent ${bytes > 3000 && bytes < bytesMax}`);
      },
    };
    let tookMs = 0;
    await inWorld(7, async (world) => {
      const [a, b] = [new Machine(world, 0), new Machine(world, 1)];
      a.tailCacheBytesMax = 0;
      const { leader, log: led } = await lead(a, 1, isr, () => undefined, rate);
      for (let i = 0; i < 10; i += 1) await leader.append(`${i}`.padEnd(300, "."));
      await world.until(() => led.ackedEndOffset === 10, "it is stored");
      const beganMs = world.kernel.nowMs;
      const { log } = await follow(b, 1);
      await world.until(() => log.logEndOffset === 10, "it has caught up");
      assert.equal(await bytesOf(log), await bytesOf(led));
      tookMs = world.kernel.nowMs - beganMs;
    });
    return [tookMs, calls];
  };
  const [inSyncMs, none] = await caughtUp([one]);
  assert.ok(inSyncMs < 300, `${inSyncMs} ms`);
  assert.deepEqual(none, []);
  const [throttledMs, calls] = await caughtUp([]);
  assert.ok(throttledMs > 500 && throttledMs < 1000, `${throttledMs} ms`);
  assert.deepEqual(calls.slice(0, 2), ["reserve 1048576", "spent true"]);
});
