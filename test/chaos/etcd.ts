/** What a run does to etcd, beyond stopping it. */
import { spawnSync } from "node:child_process";
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { etcdPrograms } from "../../tools/etcd/build.ts";
import type { ChaosCluster } from "./cluster.ts";

/** Longest wait for an answer of etcd, ms. */
const answerMs = 5000;
/** Changes of the metadata before a compaction: whoever misses them cannot catch up. */
const changes = 3;

const ask = async (cluster: ChaosCluster, path: string, body: object): Promise<unknown> => {
  const response = await fetch(`http://${cluster.etcd.endpoints["client"]}/v3/${path}`, {
    ...{ method: "POST", body: JSON.stringify(body), signal: AbortSignal.timeout(answerMs) },
  });
  if (!response.ok) throw new Error(`etcd answers ${response.status}: ${await response.text()}`);
  return response.json();
};

/** Changes the metadata, and has etcd forget every revision but the latest. */
export const compactEtcd = async (cluster: ChaosCluster): Promise<void> => {
  for (let i = 0; i < changes; i += 1) {
    await cluster.alterTopic({ "retention.ms": String(604_800_000 + i) });
  }
  const status = (await ask(cluster, "maintenance/status", {})) as {
    readonly header: { readonly revision: string };
  };
  await ask(cluster, "kv/compaction", { revision: status.header.revision, physical: true });
};

const directoryOf = (cluster: ChaosCluster): string => join(cluster.directoryOf("etcd-0"), "data");

const tool = (name: string, args: readonly string[]): void => {
  const done = spawnSync(join(etcdPrograms(), name), args, { encoding: "utf8" });
  if (done.status !== 0) throw new Error(`${name} ${args.join(" ")}: ${done.stderr}`);
};

export const snapshotEtcd = (cluster: ChaosCluster, file: string): void => {
  const { endpoints } = cluster.etcd;
  tool("etcdctl", ["--endpoints", `http://${endpoints["client"]}`, "snapshot", "save", file]);
};

/** Starts again on a backup, as an operator restores one: revisions go back. */
export const restoreEtcd = async (cluster: ChaosCluster, file: string): Promise<void> => {
  const { endpoints, name } = cluster.etcd;
  const peer = `http://${endpoints["peer"]}`;
  await emptied(cluster, () => {
    const member = ["--name", name, "--initial-cluster", `${name}=${peer}`];
    const into = ["--data-dir", directoryOf(cluster), "--initial-advertise-peer-urls", peer];
    tool("etcdutl", ["snapshot", "restore", file, ...into, ...member]);
  });
};

/** Starts again with nothing. What it had is kept for `refillEtcd`. */
export const emptyEtcd = (cluster: ChaosCluster): Promise<void> => emptied(cluster, () => {});

/** Starts again with what it had before. */
export const refillEtcd = async (cluster: ChaosCluster): Promise<void> => {
  await cluster.act("stop", cluster.etcd.name);
  rmSync(directoryOf(cluster), { recursive: true });
  renameSync(`${directoryOf(cluster)}.before`, directoryOf(cluster));
  await cluster.act("start", cluster.etcd.name);
};

/** Rejects when somebody has written to an etcd that is empty. */
export const requireUnwritten = async (cluster: ChaosCluster): Promise<void> => {
  const all = Buffer.from([0]).toString("base64");
  const found = (await ask(cluster, "kv/range", { key: all, range_end: all, keys_only: true })) as {
    readonly kvs?: readonly { readonly key: string }[];
  };
  const keys = (found.kvs ?? []).map(({ key }) => Buffer.from(key, "base64").toString());
  if (keys.length > 0) throw new Error(`keys in an empty etcd: ${keys.join(", ")}`);
};

const emptied = async (cluster: ChaosCluster, fill: () => void): Promise<void> => {
  await cluster.act("stop", cluster.etcd.name);
  renameSync(directoryOf(cluster), `${directoryOf(cluster)}.before`);
  fill();
  await cluster.act("start", cluster.etcd.name);
};
