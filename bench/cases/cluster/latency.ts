/** How soon a record is on its replicas, and what a cluster costs that has nothing to do. */
import { setTimeout as sleep } from "node:timers/promises";
import { cpuSeconds, rssMiB } from "../../lib/processes.ts";
import type { Sample } from "../../lib/report.ts";
import { rate } from "../case.ts";
import { type ClusterCase, onKafka, onNats, onOurs, sharedOf } from "./peers.ts";

export const single = (scale: number): ClusterCase => {
  const records = Math.round(5000 * scale);
  const acknowledged = { ours: "millrace-publish", better: "less" } as const;
  const p50 = { metric: "ackp50Ms", peerMetric: "p50Ms" } as const;
  const p99 = { metric: "ackp99Ms", peerMetric: "p99Ms" } as const;
  return {
    id: "one-at-a-time",
    uses: ["millrace", "kafka", "nats", "natsAlways"],
    title: "one record of 1 KiB at a time, three replicas",
    claims: [
      // Its percentiles are whole milliseconds, cut: a median of 0 says only that it is below 1.
      { metric: "meanMs", peer: "kafka", better: "less", must: 1 },
      { metric: "p50Ms", peer: "kafka", better: "less" },
      { metric: "p99Ms", peer: "kafka", better: "less", must: 1 },
      { ...acknowledged, ...p50, peer: "nats-always", must: 1 },
      { ...acknowledged, ...p99, peer: "nats-always", must: 1 },
      { ...acknowledged, ...p50, peer: "nats" },
      { ...acknowledged, ...p99, peer: "nats" },
    ],
    contenders: {
      millrace: (p) =>
        onOurs(p, 1, (millrace) => millrace.load("end-to-end", { topic: "bench", records })),
      // What JetStream's tool does: publish and wait, nobody reads.
      "millrace-publish": (p) =>
        onOurs(p, 1, async (millrace) => {
          const sample = await millrace.load("one", { topic: "bench", records });
          return { ackp50Ms: sample["p50Ms"] ?? 0, ackp99Ms: sample["p99Ms"] ?? 0 };
        }),
      kafka: (p) => onKafka(p, 1, (kafka) => kafka.endToEnd("bench", records, 1024)),
      ...onNats(["pub", "sync"], records, ["--size=1024B"]),
    },
  };
};

export const many = (scale: number): ClusterCase => {
  const messages = Math.round(20_000 * scale);
  const flags = { topic: "bench", clients: 64, records: Math.round(60_000 * scale) };
  return {
    id: "64-clients",
    uses: ["millrace", "nats", "natsAlways"],
    title: "64 clients, one record of 1 KiB at a time each, three replicas",
    claims: [
      { metric: rate, peer: "nats-always", better: "more", must: 1 },
      { metric: rate, peer: "nats", better: "more" },
    ],
    contenders: {
      millrace: (p) => onOurs(p, 1, (millrace) => millrace.load("one", flags)),
      ...onNats(["pub", "sync"], messages, ["--size=1024B", "--clients=64"]),
    },
  };
};

const idleMs = 5000;

/** CPU and memory of all processes of a cluster that nobody talks to. */
const idleCost = async (pids: readonly number[]): Promise<Sample> => {
  const sum = (of: (pid: number) => number): number => pids.reduce((all, pid) => all + of(pid), 0);
  const before = sum(cpuSeconds);
  await sleep(idleMs);
  const percent = ((sum(cpuSeconds) - before) / (idleMs / 1000)) * 100;
  return { idleCpuPercent: percent, clusterRssMiB: sum(rssMiB) };
};

export const idle = (): ClusterCase => ({
  id: "idle",
  uses: ["millrace", "kafka", "nats"],
  title: "a cluster with nothing to do, all its processes",
  claims: [
    { metric: "idleCpuPercent", peer: "kafka", better: "less" },
    { metric: "idleCpuPercent", peer: "nats", better: "less" },
    { metric: "clusterRssMiB", peer: "kafka", better: "less" },
    { metric: "clusterRssMiB", peer: "nats", better: "less" },
  ],
  contenders: {
    millrace: (p) => idleCost(sharedOf(p, "millrace").target.pids),
    kafka: (p) => idleCost(sharedOf(p, "kafka").pids),
    nats: (p) => idleCost(sharedOf(p, "nats").pids),
  },
});
