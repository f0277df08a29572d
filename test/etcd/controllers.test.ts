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

if (skipped !== false) test("controllers on etcd", { skip: skipped }, () => {});
else {
  let etcd: Etcd;
  before(async () => {
    etcd = await Etcd.start();
  });
  after(() => etcd.remove());

  /**
   * Cuts the active controller off while a write of it is under way, and one that nothing guards.
   * Both will arrive late.
   */
  const cutOff = async (cluster: TestControllers, round: number) => {
    const texts = [`late/${round}`, `unguarded/${round}`] as const;
    for (;;) {
      const member = await cluster.oneActive();
      const { link, process, store } = member;
      const epoch = await cluster.epoch();
      link.partition();
      const guarded = isDone(process.write([], [put(texts[0])]));
      const unguarded = isDone(store.txn([], [put(texts[1])]));
      // On a slow machine the store may have to find its server first, and sends nothing.
      for (let i = 0; i < 100 && !texts.every((text) => link.holds(text)); i += 1) {
        await clock.sleep(10);
      }
      if (texts.every((text) => link.holds(text))) {
        link.seal();
        return { member, epoch, guarded };
      }
      link.heal();
      await Promise.all([guarded, unguarded]);
    }
  };

  const ends = ({ lines }: Member, epoch: number) =>
    lines.filter(
      ({ fields, message }) => /not active any more/.test(message) && fields["epoch"] === epoch,
    );

  test("a controller that is cut off is followed by another, and its late writes are refused", async (context) => {
    const ttlSeconds = 3;
    const cluster = await TestControllers.start(context, { etcd, controllers: 3, ttlSeconds });
    for (let round = 0; round < 2; round += 1) {
      const { member, epoch, guarded } = await cutOff(cluster, round);
      const cutMs = clock.monoMs();
      const next = await cluster.oneActive(member);
      context.diagnostic(`another is active after ${Math.round(clock.monoMs() - cutMs)} ms`);
      assert.ok(!cluster.active.includes(member), "the one that is cut off knows");
      assert.ok((await cluster.epoch()) > epoch, `controller ${next.id} has a higher epoch`);
      member.link.heal();
      const written = async (key: string) => (await cluster.store.range({ key })).kvs.length > 0;
      await until(() => written(`unguarded/${round}`), "what nothing guards arrives late");
      const thrown = await guarded;
      assert.ok(
        hasCode(thrown, ErrorCode.NOT_CONTROLLER) || hasCode(thrown, ErrorCode.UNAVAILABLE),
        String(thrown),
      );
      await cluster.check();
      assert.equal(await written(`late/${round}`), false);
      assert.equal(ends(member, epoch).length, 1, "the end of its reign is one line in the log");
    }
    assert.ok(cluster.history.writers.length >= 3);
  });
}
