/** What the observer counts, whatever fails on the way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { syncCompressor } from "@millrace/record/node";
import { Incarnation, Kernel, SimDisk } from "@millrace/sim";
import { defaultLogConfig, defaultManagerConfig } from "../defaults.ts";
import { openLogManager } from "../open.ts";
import { appendAll, batchOf, topicA } from "../testing.ts";

test("a segment whose removal has to wait counts once as deleted", async () => {
  const kernel = new Kernel(1);
  const disk = new SimDisk(kernel.random);
  const process = new Incarnation(kernel);
  const config = { ...defaultLogConfig, retentionMs: -1, segmentBytes: 1 };
  let deleted = 0;
  await kernel.run(
    (async () => {
      const manager = await openLogManager({
        env: {
          clock: process.clock(),
          random: kernel.random,
          disk: disk.mount(process),
          compressor: syncCompressor,
          logger: silentLogger,
        },
        identity: { clusterId: "sim", brokerId: 1 },
        config: { ...defaultManagerConfig, diskReserveBytes: 0, checkpointIntervalMs: 1e9 },
        configFor: () => config,
        observer: {
          onSegmentDeleted: () => {
            deleted += 1;
          },
        },
      });
      const log = await manager.create(topicA, "t", 0, config);
      await appendAll(
        log,
        [1, 2, 3, 4].map((n) => batchOf([{ value: `${n}` }])),
      );
      await log.flush();
      // The second one finds no room for its new name.
      disk.fault = (operation, path) =>
        operation === "rename" && path.includes("1.log") ? "ENOSPC" : undefined;
      await log.advanceLogStart(3);
      disk.fault = () => undefined;
      await log.runRetention();
      await manager.close(true);
    })(),
  );
  assert.equal(deleted, 3);
});
