/** Takes down every change of a partition that the controllers tell. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ChaosCluster } from "./cluster.ts";
import type { RunLog } from "./run-log.ts";

const watchMs = 250;

export const watch = async (
  cluster: ChaosCluster,
  log: RunLog,
  signal: AbortSignal,
): Promise<void> => {
  const known = new Map<number, string>();
  let failure = "";
  while (!signal.aborted) {
    const states = await cluster.partitions();
    if (cluster.failure !== failure) {
      failure = cluster.failure;
      log.tell({ kind: "note", text: `an administrator is told: ${failure || "all is well"}` });
    }
    for (const state of states ?? []) {
      const text = JSON.stringify(state);
      if (known.get(state.partition) !== text) log.tell(state);
      known.set(state.partition, text);
    }
    await sleep(watchMs);
  }
};
