/** Ten thousand partitions on three brokers. */
import { setTimeout as sleep } from "node:timers/promises";
import type { MillraceCluster } from "../../lib/cluster.ts";
import type { Sample } from "../../lib/report.ts";
import { SteadyLoad } from "../../lib/steady-load.ts";
import { type ClusterCase, OwnCluster } from "./peers.ts";

const perTopic = 1000;
/** Longest wait for all of them to be led, or to be in sync everywhere, ms. */
const patienceMs = 180_000;
const busy = "busy";
const busyPartitions = 6;

const elapsed = (sinceMs: number): number => (performance.now() - sinceMs) / 1000;

const create = async (cluster: MillraceCluster, topics: readonly string[]): Promise<Sample> => {
  const startedMs = performance.now();
  for (const name of topics) await cluster.create(name, perTopic);
  const createSeconds = elapsed(startedMs);
  await cluster.acknowledged(topics, perTopic);
  return { createSeconds, createServedSeconds: elapsed(startedMs) };
};

const rss = (cluster: MillraceCluster): Sample => {
  const brokers = cluster.rssMiB("broker");
  const each = Object.fromEntries(brokers.map((mib, i) => [`broker${i}RssMiB`, mib]));
  return {
    ...each,
    brokerRssMaxMiB: Math.max(...brokers),
    controllerRssMaxMiB: Math.max(...cluster.rssMiB("controller")),
    etcdRssMiB: Math.max(...cluster.rssMiB("etcd")),
  };
};

/** From nothing to all leaders. */
const restart = async (cluster: MillraceCluster, topics: readonly string[]): Promise<Sample> => {
  const stoppedMs = performance.now();
  await cluster.stop();
  const cleanStopSeconds = elapsed(stoppedMs);
  const startedMs = performance.now();
  await cluster.start();
  const hasLeaders = "a leader for every partition";
  await cluster.until(hasLeaders, topics, (all) => all.every((p) => p.leader >= 0), patienceMs);
  const allLedSeconds = elapsed(startedMs);
  await cluster.acknowledged(topics, perTopic);
  const startServedSeconds = elapsed(startedMs);
  await cluster.untilWhole(topics, patienceMs);
  const startWholeSeconds = elapsed(startedMs);
  return { cleanStopSeconds, allLedSeconds, startServedSeconds, startWholeSeconds };
};

/** A broker dies, and comes back after a second. */
const killed = async (cluster: MillraceCluster, topics: readonly string[]): Promise<Sample> => {
  await cluster.topic(busy, busyPartitions);
  const client = await cluster.connect();
  const load = new SteadyLoad({ client, topic: busy, partitions: busyPartitions });
  try {
    await load.untilAnswered(performance.now(), patienceMs);
    await sleep(1000);
    const [first] = await cluster.partitions([busy]);
    const victim = first?.leader ?? -1;
    const struckMs = performance.now();
    await cluster.act("kill", `broker-${victim}`);
    const isMoved = (leader: number): boolean => leader >= 0 && leader !== victim;
    await cluster.untilLed((victim + 1) % 3, topics, isMoved, patienceMs);
    const movedSeconds = elapsed(struckMs);
    await load.untilAnswered(struckMs + 100, patienceMs);
    const span = { fromMs: struckMs, toMs: performance.now() };
    const all = Array.from({ length: busyPartitions }, (_, p) => p);
    const loadStallMs = load.stall(all, span);
    await cluster.untilWhole([...topics, busy], patienceMs);
    const brokerRssEndMiB = Math.max(...cluster.rssMiB("broker"));
    return { movedSeconds, loadStallMs, wholeSeconds: elapsed(struckMs), brokerRssEndMiB };
  } finally {
    await load.stop().finally(() => client.close());
  }
};

/** The number stands for itself in a full run; a quick look may take fewer, and says so. */
export const manyPartitions = (scale: number): ClusterCase => {
  const count = scale >= 0.3 ? 10 : 2;
  const topics = Array.from({ length: count }, (_, i) => `many-${i}`);
  const own = new OwnCluster();
  const less = { better: "less" } as const;
  return {
    id: "many-partitions",
    title: `${(count * perTopic).toLocaleString("en-US")} partitions, three replicas each`,
    ...{ rounds: 1, uses: [] },
    claims: [
      { ...less, metric: "createSeconds" },
      { ...less, metric: "createServedSeconds" },
      { ...less, metric: "brokerRssMaxMiB", must: 572, aim: 476 },
      { ...less, metric: "controllerRssMaxMiB" },
      { ...less, metric: "etcdRssMiB" },
      { ...less, metric: "cleanStopSeconds" },
      { ...less, metric: "allLedSeconds" },
      { ...less, metric: "startServedSeconds" },
      { ...less, metric: "startWholeSeconds" },
      { ...less, metric: "movedSeconds" },
      { ...less, metric: "loadStallMs" },
      { ...less, metric: "wholeSeconds" },
      { ...less, metric: "brokerRssEndMiB", must: 572, aim: 476 },
    ],
    before: async (peers) => {
      await own.start(peers);
    },
    after: () => own.end("many-partitions"),
    contenders: {
      millrace: async () => {
        const { cluster } = own;
        const created = await create(cluster, topics);
        await sleep(2000);
        const memory = rss(cluster);
        const restarted = await restart(cluster, topics);
        return { ...created, ...memory, ...restarted, ...(await killed(cluster, topics)) };
      },
    },
  };
};
