/** Scripted troubles, one at a time, under a steady load. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Tell } from "./clients.ts";
import type { ChaosCluster } from "./cluster.ts";
import { emptyDirectory, partitionsIn } from "./disk-faults.ts";
import { emptyEtcd, refillEtcd, requireUnwritten, restoreEtcd, snapshotEtcd } from "./etcd.ts";
import { roll } from "./faults.ts";

export interface Scene {
  readonly cluster: ChaosCluster;
  /** How long the trouble lasts, where that is a choice. */
  readonly minutes: number;
  readonly tell: Tell;
  readonly signal: AbortSignal;
}

export interface Scenario {
  readonly ratePerSecond: number;
  /** Rejects when a promise of its own is broken. */
  readonly run: (scene: Scene) => Promise<void>;
  /** Leader epochs that may pass; any number without it. */
  readonly leaderChangesMax?: number;
}

/** Between a backup and its restoration, and with an empty etcd, ms. */
const shortMs = 20_000;

/** After a stop, until the others have taken over, ms. */
const stepMs = 3000;

const fault = ({ tell }: Scene, name: string, durationMs: number): void =>
  tell({ kind: "fault", fault: name, target: "etcd-0", durationMs });

const waited = async ({ signal }: Scene, ms: number): Promise<void> => {
  await sleep(ms, undefined, { signal }).catch(() => {});
};

/** Directories of all replicas. None of them may go, whatever the metadata says. */
const replicasOf = ({ cluster }: Scene): string[] =>
  cluster.brokerDirectories.flatMap(partitionsIn);

const requireReplicas = (before: readonly string[]): void => {
  const gone = before.filter((directory) => !existsSync(directory));
  if (gone.length > 0) throw new Error(`logs were deleted: ${gone.join(", ")}`);
};

const etcdDown = async (scene: Scene): Promise<void> => {
  const durationMs = scene.minutes * 60_000;
  fault(scene, "etcd down", durationMs);
  await scene.cluster.act("stop", "etcd-0");
  await waited(scene, durationMs);
  await scene.cluster.act("start", "etcd-0");
};

const rollingRestart = async ({ cluster, signal, tell }: Scene): Promise<void> => {
  tell({ kind: "fault", fault: "rolling restart", target: "all brokers", durationMs: 0 });
  await roll(cluster, "broker", signal);
};

/** A backup comes back that is older than what brokers and controllers know. */
const etcdRestored = async (scene: Scene): Promise<void> => {
  const { cluster } = scene;
  const backup = join(cluster.directory, "backup.db");
  snapshotEtcd(cluster, backup);
  await waited(scene, shortMs);
  // Leader epochs rise above those of the backup.
  await cluster.act("restart", "broker-0");
  await cluster.untilWhole(shortMs);
  const replicas = replicasOf(scene);
  fault(scene, "etcd restored", 0);
  await restoreEtcd(cluster, backup);
  await waited(scene, shortMs);
  requireReplicas(replicas);
};

/** etcd has lost everything, and then it is all there again. */
const etcdEmpty = async (scene: Scene): Promise<void> => {
  const replicas = replicasOf(scene);
  fault(scene, "etcd empty", shortMs);
  await emptyEtcd(scene.cluster);
  // One that stays up, and one that starts: neither makes a cluster.
  await scene.cluster.killForNow("controller-1");
  await scene.cluster.act("start", "controller-1");
  await waited(scene, shortMs);
  requireReplicas(replicas);
  await requireUnwritten(scene.cluster);
  scene.tell({ kind: "note", text: "the right data comes back" });
  await refillEtcd(scene.cluster);
  await waited(scene, shortMs);
  requireReplicas(replicas);
};

/**
 * The last broker in sync comes back with an empty disk, alone. It must wait for the one that is
 * eligible to lead.
 */
const lastDiskLost = async (scene: Scene): Promise<void> => {
  const { cluster, tell } = scene;
  for (const name of ["broker-1", "broker-2"]) {
    await cluster.act("stop", name);
    await waited(scene, stepMs);
  }
  tell({ kind: "fault", fault: "last disk lost", target: "broker-0", durationMs: shortMs });
  await cluster.killForNow("broker-0");
  emptyDirectory(cluster.directoryOf("broker-0"));
  await cluster.act("start", "broker-0");
  await waited(scene, shortMs);
  const states = await cluster.partitions();
  if (states === undefined) throw new Error(`no controller answers: ${cluster.failure}`);
  const led = states.filter(({ leader }) => leader >= 0);
  if (led.length > 0) throw new Error(`led with an empty disk: ${JSON.stringify(led)}`);
  for (const name of ["broker-2", "broker-1"]) await cluster.act("start", name);
};

export const scenarios: Readonly<Record<string, Scenario>> = {
  "etcd-down": { ratePerSecond: 5000, run: etcdDown, leaderChangesMax: 0 },
  "etcd-empty": { ratePerSecond: 500, run: etcdEmpty, leaderChangesMax: 0 },
  "etcd-restored": { ratePerSecond: 500, run: etcdRestored },
  "last-disk-lost": { ratePerSecond: 500, run: lastDiskLost },
  "rolling-restart": { ratePerSecond: 1000, run: rollingRestart },
};
