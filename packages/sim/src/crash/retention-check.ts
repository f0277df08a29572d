/** Retention deletes what its rules say, where nothing keeps it from that. */

import type { Life } from "./life.ts";
import { Violation } from "./violation.ts";

/** Makes everything readable and old, and waits for retention. */
export const verifyRetention = async (life: Life): Promise<void> => {
  const { run } = life;
  // A clock that was wrong is in doubt for an hour.
  if (run.clockWasWrong) return;
  await life.settle();
  if (life.stopped || run.slots.some(({ model }) => model?.suspect !== undefined)) return;
  await life.sleep(6000);
  for (const slot of run.slots) {
    const { config, log, model } = slot;
    const { retentionEnabled, retentionMs } = config;
    if (log?.state.kind !== "online" || model === undefined) continue;
    if (!retentionEnabled || retentionMs < 0 || retentionMs > 3000) continue;
    log.updateHighWatermark(log.logEndOffset);
    model.highWatermark = log.highWatermark;
    model.highWatermarkMax = Math.max(model.highWatermarkMax, log.highWatermark);
    for (let round = 0; round < 4 && log.logStartOffset < log.logEndOffset; round += 1) {
      run.counts.add("segments deleted", await log.runRetention());
      await life.sleep(2000);
    }
    if (log.logStartOffset < log.logEndOffset) {
      throw new Violation(
        `${model.name}: everything is older than ${retentionMs} ms, and retention leaves ` +
          `${log.logStartOffset} to ${log.logEndOffset}`,
      );
    }
    life.check(slot);
  }
};
