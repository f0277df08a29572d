/** What a run does to etcd, beyond stopping it. */
import type { ChaosCluster } from "./cluster.ts";

/** Longest wait for an answer of etcd, ms. */
const answerMs = 5000;
/** Changes of the metadata before a compaction: whoever misses them cannot catch up. */
const changes = 3;

const ask = async (cluster: ChaosCluster, path: string, body: object): Promise<unknown> => {
  const etcd = cluster.processes.find(({ role }) => role === "etcd");
  const response = await fetch(`http://${etcd?.endpoints["client"]}/v3/${path}`, {
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
