/** Carries out one step of the plan. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Role } from "../../tools/cluster/state.ts";
import type { Tell } from "./clients.ts";
import { type ChaosCluster, partitionCount } from "./cluster.ts";
import type { FaultKind, Step } from "./plan.ts";

/** Longest wait for the cluster to be whole between two processes of a rolling restart, ms. */
const rollMs = 30_000;

/** An item by a fraction. */
const itemAt = <T>(items: readonly T[], pick: number): T => {
  const item = items[Math.floor(pick * items.length)];
  if (item === undefined) throw new RangeError(`no item at ${pick} of ${items.length}`);
  return item;
};

const roleOf = (kind: FaultKind): Role => {
  if (kind.includes("etcd")) return "etcd";
  return kind.includes("controller") ? "controller" : "broker";
};

/** Name of the process that a step is about. */
const targetOf = async (cluster: ChaosCluster, { kind, pick }: Step): Promise<string> => {
  const names = cluster.namesOf(roleOf(kind));
  const fallback = itemAt(names, pick);
  if (kind === "kill leader" || kind === "pause leader") {
    const leader = (await cluster.partitions())?.[Math.floor(pick * partitionCount)]?.leader;
    return names[leader ?? -1] ?? fallback;
  }
  if (kind === "kill controller" || kind === "pause controller") {
    return (await cluster.activeController()) ?? fallback;
  }
  return fallback;
};

/** Restarts the processes of a role, each once the one before it is in sync again. */
const roll = async (cluster: ChaosCluster, role: Role, signal: AbortSignal): Promise<void> => {
  for (const name of cluster.namesOf(role)) {
    if (signal.aborted) return;
    await cluster.act("restart", name);
    await cluster.untilWhole(rollMs);
  }
};

/** Resolves once the fault itself is over. The cluster may still be healing then. */
export const carryOut = async (
  cluster: ChaosCluster,
  step: Step,
  tell: Tell,
  signal: AbortSignal,
): Promise<void> => {
  const { durationMs, kind } = step;
  const name = await targetOf(cluster, step);
  const isRoll = kind === "roll brokers" || kind === "roll controllers";
  const target = isRoll ? `all ${roleOf(kind)}s` : name;
  const needsProcess = kind.startsWith("kill") || kind.startsWith("pause");
  if (needsProcess && !cluster.isUp(name)) {
    tell({ kind: "note", text: `no ${kind}: ${name} is down already` });
    return;
  }
  tell({ kind: "fault", fault: kind, target, durationMs });
  const waited = (): Promise<unknown> => sleep(durationMs, undefined, { signal }).catch(() => {});
  if (isRoll) await roll(cluster, roleOf(kind), signal);
  else if (kind.startsWith("restart")) await cluster.act("restart", name);
  else if (kind === "etcd down") {
    await cluster.act("stop", name);
    await waited();
    await cluster.act("start", name);
  } else if (kind.startsWith("kill")) await cluster.act("kill", name);
  else {
    await cluster.act("pause", name);
    await waited();
    await cluster.act("resume", name);
  }
};
