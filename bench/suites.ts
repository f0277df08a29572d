/** What can be measured in one run: cases, and everything that runs beside them. */
import { join } from "node:path";
import type { Case } from "./cases/case.ts";
import {
  type ClusterCase,
  type ClusterPeers,
  type Shared,
  sharedOf,
  sharedPort,
} from "./cases/cluster/peers.ts";
import { cases, clusterCases, type Peers } from "./cases.ts";
import { killClusters, MillraceCluster } from "./lib/cluster.ts";
import { Millrace, startTransport } from "./lib/millrace.ts";
import { stopAll } from "./lib/processes.ts";
import { fetchPeers } from "./peers/fetch.ts";
import { Kafka } from "./peers/kafka.ts";
import { Nats } from "./peers/nats.ts";

export interface Suite<P, C extends Case<P> = Case<P>> {
  /** What chooses one of its cases on the command line. */
  readonly option: string;
  readonly cases: readonly C[];
  /** Longest time of one contender's turn, ms. */
  readonly partMs: number;
  /** Starts what the chosen cases need, with its data in a directory. */
  readonly start: (directory: string, chosen: readonly C[]) => Promise<P>;
  /** Stops our servers cleanly and checks every byte that they have. */
  readonly verify: (peers: P) => Promise<string>;
  /** Ends whatever runs. */
  readonly end: () => Promise<void>;
}

export const standalone = (scale: number): Suite<Peers> => ({
  option: "--only",
  cases: cases(scale),
  partMs: 1_800_000,
  start: async (directory) => {
    const root = fetchPeers();
    const millrace = new Millrace(join(directory, "millrace"));
    await millrace.start();
    const nats = (name: string, port: number, always: boolean): Promise<Nats> =>
      Nats.start(root, join(directory, name), { port, always, servers: 1 });
    return {
      directory,
      millrace,
      transport: await startTransport(join(directory, "transport")),
      kafka: await Kafka.start(root, join(directory, "kafka")),
      nats: await nats("nats", 14222, false),
      natsAlways: await nats("nats-always", 14223, true),
    };
  },
  // After something of every kind was written.
  verify: async ({ kafka, millrace }) => {
    await kafka.disconnect();
    await millrace.topic("verified", 16);
    const flags = { topic: "verified", partitions: 16, records: 50_000 };
    await millrace.load("produce", { ...flags, size: 100 });
    await millrace.load("client-produce", { ...flags, size: 1024 });
    await millrace.stop();
    return millrace.verify();
  },
  end: stopAll,
});

/** Says how long a start has taken. */
const started = async <T>(name: string, start: () => Promise<T>): Promise<T> => {
  const startedMs = performance.now();
  const result = await start();
  console.error(`${name} started: ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
  return result;
};

/**
 * Code is compiled while it runs: the first ten thousand records take half as long again as those
 * behind them. Every broker leads a partition.
 */
const warmUp = async (millrace: MillraceCluster): Promise<void> => {
  await millrace.topic("warm", 3);
  const flags = { topic: "warm", partitions: 3, clients: 12, records: 60_000 };
  await millrace.load("one", flags);
  await millrace.drop("warm");
};

/** How each of the shared clusters starts. */
const starters = (root: string, directory: string) => {
  const nats = (name: string, port: number, always: boolean) => () =>
    Nats.start(root, join(directory, name), { port, always, servers: 3 });
  return {
    millrace: async () => {
      const options = { directory: join(directory, "millrace"), basePort: sharedPort };
      const millrace = new MillraceCluster(options);
      await millrace.start();
      await warmUp(millrace);
      return millrace;
    },
    kafka: () => Kafka.start(root, join(directory, "kafka"), 3),
    nats: nats("nats", 14322, false),
    natsAlways: nats("nats-always", 14332, true),
  } satisfies { [N in keyof Shared]: () => Promise<Shared[N]> };
};

export const cluster = (scale: number): Suite<ClusterPeers, ClusterCase> => ({
  option: "--cluster --only",
  cases: clusterCases(scale),
  partMs: 600_000,
  start: async (directory, chosen) => {
    const uses = new Set(chosen.flatMap((one) => one.uses));
    const all = starters(uses.size > 0 ? fetchPeers() : "", directory);
    const shared: { -readonly [N in keyof Shared]?: Shared[N] } = {};
    if (uses.has("millrace")) shared.millrace = await started("millrace", all.millrace);
    if (uses.has("kafka")) shared.kafka = await started("kafka", all.kafka);
    if (uses.has("nats")) shared.nats = await started("nats", all.nats);
    if (uses.has("natsAlways")) shared.natsAlways = await started("nats-always", all.natsAlways);
    return { directory, shared };
  },
  verify: async (peers) => {
    await peers.shared.kafka?.disconnect();
    if (peers.shared.millrace === undefined) return "each case has verified its own cluster";
    const millrace = sharedOf(peers, "millrace");
    // Cases with clusters of their own came last.
    await millrace.reconnect();
    await millrace.topic("verified", 16);
    const flags = { topic: "verified", partitions: 16, records: 50_000 };
    await millrace.load("produce", { ...flags, size: 100 });
    await millrace.load("client-produce", { ...flags, size: 1024 });
    await millrace.stop();
    return millrace.verify();
  },
  end: async () => {
    await Promise.all([killClusters(), stopAll()]);
  },
});
