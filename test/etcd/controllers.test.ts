/** Controllers on a real etcd: who is active, for how long, and what late writes come to. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { clock, type Member, put, TestControllers, until } from "./controllers.ts";
import { Etcd, skipped } from "./etcd.ts";

const isDone = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => "done",
    (thrown: unknown) => thrown,
  );

const linesOf = ({ lines }: Member, text: RegExp) =>
  lines.filter(({ message }) => text.test(message));

if (skipped !== false) test("controllers on etcd", { skip: skipped }, () => {});
else {
  let etcd: Etcd;
  before(async () => {
    etcd = await Etcd.start();
  });
  after(() => etcd.remove());

  let attempts = 0;
  /**
   * Cuts the active controller off while a write of it is under way, and one that nothing guards.
   * Both will arrive late.
   */
  const cutOff = async (cluster: TestControllers) => {
    for (;;) {
      attempts += 1;
      const texts = [`late/${attempts}`, `unguarded/${attempts}`] as const;
      const [guardedKey, unguardedKey] = texts;
      const member = await cluster.oneActive();
      const { link, process, store } = member;
      link.partition();
      const epoch = Number(linesOf(member, /is elected/).at(-1)?.fields["epoch"]);
      const guarded = isDone(process.write([], [put(guardedKey)]));
      const unguarded = isDone(store.txn([], [put(unguardedKey)]));
      // On a slow machine the store may have to find its server first, and sends nothing.
      for (let i = 0; i < 100 && !texts.every((text) => link.holds(text)); i += 1) {
        await clock.sleep(10);
      }
      if (texts.every((text) => link.holds(text))) {
        link.seal();
        return { member, epoch, guarded, guardedKey, unguardedKey };
      }
      link.heal();
      await Promise.all([guarded, unguarded]);
    }
  };

  const ends = (member: Member, epoch: number) =>
    linesOf(member, /not active any more/).filter(({ fields }) => fields["epoch"] === epoch);

  test("a controller that is cut off is followed by another, and its late writes are refused", async (context) => {
    const ttlSeconds = 3;
    const cluster = await TestControllers.start(context, {
      servers: [etcd],
      controllers: 3,
      ttlSeconds,
    });
    for (let round = 0; round < 2; round += 1) {
      const { member, epoch, guarded, guardedKey, unguardedKey } = await cutOff(cluster);
      const cutMs = clock.monoMs();
      await cluster.oneActive(member);
      context.diagnostic(`another is active after ${Math.round(clock.monoMs() - cutMs)} ms`);
      assert.ok(!cluster.active.includes(member), "the one that is cut off knows");
      await cluster.untilAfter(epoch);
      member.link.heal();
      const written = async (key: string) => (await cluster.store.range({ key })).kvs.length > 0;
      await until(() => written(unguardedKey), "what nothing guards arrives late");
      const thrown = await guarded;
      assert.ok(
        hasCode(thrown, ErrorCode.NOT_CONTROLLER) || hasCode(thrown, ErrorCode.UNAVAILABLE),
        String(thrown),
      );
      await cluster.check(context);
      assert.equal(await written(guardedKey), false);
      assert.equal(ends(member, epoch).length, 1, "the end of its reign is one line in the log");
    }
    assert.ok(cluster.history.writers.length >= 3);
  });

  test("a late write is refused while nobody is elected", async (context) => {
    const cluster = await TestControllers.start(context, {
      servers: [etcd],
      controllers: 1,
      ttlSeconds: 2,
    });
    const { member, epoch, guarded, guardedKey, unguardedKey } = await cutOff(cluster);
    await until(async () => (await cluster.epoch()) === 0, "the lease has ended");
    member.link.heal();
    const written = async (key: string) => (await cluster.store.range({ key })).kvs.length > 0;
    await until(() => written(unguardedKey), "what nothing guards arrives late");
    await guarded;
    await cluster.check(context);
    assert.equal(await written(guardedKey), false);
    assert.equal(ends(member, epoch).length, 1);
  });

  test("a controller whose answers are late gives up before another is elected", async (context) => {
    const cluster = await TestControllers.start(context, {
      servers: [etcd],
      controllers: 2,
      ttlSeconds: 6,
    });
    const member = await cluster.oneActive();
    const epoch = await cluster.epoch();
    // Renewals are confirmed long after etcd has counted from them.
    member.link.delayMs = (direction) => (direction === "down" ? 450 : 0);
    await clock.sleep(4500);
    member.link.partition();
    await cluster.untilAfter(epoch);
    await cluster.oneActive();
    member.link.delayMs = () => 0;
    member.link.heal();
    await cluster.check(context);
  });

  /** How nothing gets through for a time, or until the function that is returned is called. */
  const stalls: Readonly<Record<string, (cluster: TestControllers, ms: number) => () => void>> = {
    "links stall": ({ members }, ms) => {
      for (const { link } of members) {
        link.stall("up", ms);
        link.stall("down", ms);
      }
      return () => {};
    },
    "answers stall": ({ members }, ms) => {
      for (const { link } of members) link.stall("down", ms);
      return () => {};
    },
    "etcd is stopped": () => {
      etcd.signal("SIGSTOP");
      return () => etcd.signal("SIGCONT");
    },
  };
  for (const [name, stall] of Object.entries(stalls)) {
    test(`one controller at a time believes that it is active when ${name}`, async (context) => {
      const ttlSeconds = 2;
      const cluster = await TestControllers.start(context, {
        servers: [etcd],
        controllers: 3,
        ttlSeconds,
      });
      await cluster.oneActive();
      const epoch = await cluster.epoch();
      const goOn = stall(cluster, 2000 * ttlSeconds);
      await clock.sleep(1500 * ttlSeconds);
      assert.deepEqual(cluster.active, [], "nobody believes in a lease that may have ended");
      await clock.sleep(500 * ttlSeconds);
      goOn();
      await cluster.oneActive();
      await cluster.untilAfter(epoch);
      await cluster.check(context);
    });
  }

  test("the active controller is cut off with the leader of etcd, which comes back", async (context) => {
    const servers = await Etcd.cluster(3);
    context.after(() => Promise.all(servers.map((server) => server.remove())));
    const options = { servers, controllers: 3, ttlSeconds: 3 };
    const cluster = await TestControllers.start(context, options);
    const { server } = await cluster.oneActive();
    const epoch = await cluster.epoch();
    // Ids are too large for numbers.
    const idOf = (one: Etcd, what: "member_id" | "leader"): string =>
      new RegExp(`"${what}":(\\d+)`).exec(one.ctl("endpoint", "status", "-w", "json"))?.[1] ?? "";
    const isLeader = (one: Etcd): boolean => idOf(one, "member_id") === idOf(one, "leader");
    await until(() => {
      if (isLeader(server)) return true;
      const target = BigInt(idOf(server, "member_id")).toString(16);
      servers.find(isLeader)?.ctl("move-leader", target);
      return false;
    }, "its member leads etcd");
    server.signal("SIGSTOP");
    await cluster.untilAfter(epoch);
    await cluster.oneActive();
    // It takes itself for the leader of etcd still, and hears of renewals that were sent to it.
    server.signal("SIGCONT");
    await cluster.check(context);
  });
}
