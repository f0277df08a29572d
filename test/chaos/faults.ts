/** Carries out one step of the plan. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Role } from "../../tools/cluster/state.ts";
import type { Tell } from "./clients.ts";
import { type ChaosCluster, partitionCount } from "./cluster.ts";
import { diskFaultOf } from "./disk-faults.ts";
import { fillDisk, freeDisk } from "./disks.ts";
import { compactEtcd } from "./etcd.ts";
import { type Fault, itemAt } from "./fault.ts";
import { linkFaultOf } from "./link-faults.ts";
import { type FaultKind, isDiskKind, isLinkKind, type Step } from "./plan.ts";

/** Longest wait for the cluster to be whole between two processes of a rolling restart, ms. */
const rollMs = 30_000;
/** Longest wait for the cluster to be whole before a fault of a disk, ms. */
const wholeMs = 30_000;

const roleOf = (kind: FaultKind): Role => {
  if (kind === "compact etcd") return "broker";
  if (kind.includes("etcd")) return "etcd";
  if (kind.includes("coordinator")) return "group-coordinator";
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
  if (kind === "kill controller" || kind === "pause controller" || kind === "cut controller") {
    return (await cluster.activeController()) ?? fallback;
  }
  return fallback;
};

/** Restarts the processes of a role, each once the one before it is in sync again. */
export const roll = async (
  cluster: ChaosCluster,
  role: Role,
  signal: AbortSignal,
): Promise<void> => {
  for (const name of cluster.namesOf(role)) {
    if (signal.aborted) return;
    await cluster.act("restart", name);
    await cluster.untilWhole(rollMs);
  }
};

const faultOf = (
  cluster: ChaosCluster,
  step: Step,
  name: string,
  tell: Tell,
  signal: AbortSignal,
): Fault => {
  const { kind } = step;
  if (isDiskKind(kind)) return diskFaultOf(cluster, { ...step, kind }, name, tell);
  if (isLinkKind(kind)) {
    const { network } = cluster;
    if (network === undefined) throw new Error("there is no network of its own");
    const processes = cluster.processes.map((one) => one.name);
    return linkFaultOf(network, { ...step, kind }, name, processes, () => compactEtcd(cluster));
  }
  if (kind === "fill disk") {
    const directory = cluster.directoryOf(name);
    return {
      target: name,
      begin: async () => fillDisk(directory),
      end: async () => freeDisk(directory),
    };
  }
  const role = roleOf(kind);
  if (kind.startsWith("roll")) {
    return { target: `all ${role}s`, begin: () => roll(cluster, role, signal) };
  }
  const act = (...args: Parameters<ChaosCluster["act"]>) => cluster.act(...args);
  if (kind.startsWith("restart")) return { target: name, begin: () => act("restart", name) };
  if (kind.startsWith("kill")) return { target: name, begin: () => act("kill", name) };
  const [begin, end] =
    kind === "etcd down" ? (["stop", "start"] as const) : (["pause", "resume"] as const);
  return { target: name, begin: () => act(begin, name), end: () => act(end, name) };
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
  const needsProcess = kind.startsWith("kill") || kind.startsWith("pause");
  if (needsProcess && !cluster.isUp(name)) {
    tell({ kind: "note", text: `no ${kind}: ${name} is down already` });
    return;
  }
  if (isDiskKind(kind)) {
    const missing = await cluster.untilWhole(wholeMs);
    if (missing !== undefined) {
      tell({ kind: "note", text: `no ${kind}: it may take the last replica: ${missing}` });
      return;
    }
  }
  const { begin, end, target } = faultOf(cluster, step, name, tell, signal);
  tell({ kind: "fault", fault: kind, target, durationMs });
  const endMs = performance.now() + durationMs;
  try {
    await begin();
    const leftMs = Math.max(0, endMs - performance.now());
    if (leftMs > 0) await sleep(leftMs, undefined, { signal }).catch(() => {});
  } finally {
    await end?.();
  }
};
