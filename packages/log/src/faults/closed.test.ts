/** A directory that is being closed: what it drops stays in the journal for the next start. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { appendAll, batchOf } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

test("a checkpoint beside an unclean stop does not claim writes that were dropped", async () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    await simulate({ seed, manager: { writeLingerMs: 1e6 } }, async ({ sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await log.flush();
      // The journal has them, and no segment.
      await appendAll(log, [batchOf([{ value: "a" }]), batchOf([{ value: "b" }])]);
      const asking = sleep(seed / 20).then(() => log.flush().catch(() => {}));
      await first.manager.close(false);
      await asking;
      first.die("process");
      const { state, logEndOffset } = await (await start()).log();
      assert.deepEqual([state.kind, logEndOffset], ["online", 2], `seed ${seed}`);
    });
  }
});

test("a read beside a stop, or behind it, leaves no file open", async () => {
  await simulate({}, async ({ disk, start }) => {
    const { log: logOf, manager } = await start();
    const log = await logOf();
    await appendAll(log, [batchOf([{ value: "a" }])]);
    await log.flush();
    await manager.close(true);
    let open = 0;
    disk.fault = (operation) => {
      if (operation === "open") open += 1;
      if (operation === "close") open -= 1;
      return undefined;
    };
    // Node 26 ends the process when it collects a file handle that nobody closed.
    await log.read(0, 1000, "high_watermark").catch(() => {});
    assert.equal(open, 0);
  });
});

test("a second stop resolves when the first one is over", async () => {
  await simulate({}, async ({ start }) => {
    const first = await start();
    const log = await first.log();
    await appendAll(log, [batchOf([{ value: "a" }])]);
    const stopping = first.manager.close(true);
    // Another signal, say. The process ends as soon as its log says that it is closed.
    await first.manager.close(true);
    first.die("process");
    assert.equal((await start()).manager.recovery.clean, true);
    void stopping;
  });
});

for (const when of ["began before", "would begin after"]) {
  test(`nothing is removed behind a stop: what ${when} it`, async () => {
    const settings = {
      log: { segmentBytes: 400, fileDeleteDelayMs: when === "began before" ? 0 : 50 },
    };
    for (let seed = 1; seed <= 10; seed += 1) {
      await simulate({ seed, ...settings }, async ({ disk, sleep, start }) => {
        const { log: logOf, manager } = await start();
        const log = await logOf();
        await appendAll(
          log,
          Array.from({ length: 20 }, () => batchOf([{ value: "x".repeat(300) }])),
        );
        log.updateHighWatermark(20);
        let removed = 0;
        disk.fault = (operation) => {
          if (operation === "unlink") removed += 1;
          return undefined;
        };
        const moving = log.advanceLogStart(19).catch(() => {});
        if (when === "began before") await moving;
        await sleep(seed / 50);
        await manager.close(true);
        const by = removed;
        await sleep(1000);
        assert.equal(removed, by, `seed ${seed}`);
      });
    }
  });
}
