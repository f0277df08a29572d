/** Recovery points that cannot be read for once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { partitionDirectory, paths } from "../files/paths.ts";
import { appendAll, readAll, topicA } from "../testing.ts";
import { oldLog, tenBatches } from "../testing-reset.ts";
import { type Simulation, simulate } from "../testing-sim.ts";

const directory = partitionDirectory(topicA, 0);

/** Ends the process before an operation on a path that begins so; resolves when it is over. */
const dieBefore = ({ disk, die }: Simulation, what: string, skipped = 0): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let left = skipped;
  disk.onStep = (_, done) => {
    if (!done.startsWith(what)) return;
    left -= 1;
    if (left >= 0) return;
    disk.onStep = () => {};
    die("process");
    resolve();
  };
  return promise;
};

test("a start that believed the older points is followed by none that believes the newer", async () => {
  for (let unlinks = 1; unlinks <= 4; unlinks += 1) {
    await simulate({ log: { segmentBytes: 1000 } }, async (simulation) => {
      const { disk, start } = simulation;
      const old = await start();
      await oldLog(await old.log());
      await old.manager.close(true);
      const log = await (await start()).log();
      // Of the first checkpoint the copy is not written.
      const died = dieBefore(simulation, `open ${paths.recoveryPointsCopy}.tmp`);
      // Segments of the new log have the names of the old one's.
      await log.resetTo(0);
      const batches = tenBatches("new");
      await appendAll(log, batches, 4);
      void log.flush();
      await died;
      disk.fault = (operation, path) => {
        if (operation !== "read" || path !== paths.recoveryPoints) return undefined;
        disk.fault = () => undefined;
        return "EIO";
      };
      const over = dieBefore(simulation, `unlink ${directory}/`, unlinks);
      await Promise.race([start(), over]);
      simulation.die("power");
      disk.onStep = () => {};
      const found = await (await start()).log();
      assert.equal(found.state.kind, "online");
      const values = (await readAll(found, 0, 1e6, "log_end")).map(({ value }) => value);
      assert.equal(values.length, 20, `${unlinks} files were removed`);
      assert.ok(values.every((value) => value.startsWith("new")));
    });
  }
});
