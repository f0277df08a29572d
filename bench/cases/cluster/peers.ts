/** What runs while cases of a cluster are measured, and what cases share. */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { MillraceCluster } from "../../lib/cluster.ts";
import type { Sample } from "../../lib/report.ts";
import type { Kafka } from "../../peers/kafka.ts";
import type { Nats } from "../../peers/nats.ts";
import type { Case } from "../case.ts";

/** Everything that several cases share. Only what the chosen cases use is started. */
export interface Shared {
  readonly millrace: MillraceCluster;
  /** Three nodes that are broker and controller each; no fsync, its default. */
  readonly kafka: Kafka;
  /** Three servers, fsync every two minutes, the default. */
  readonly nats: Nats;
  /** Three servers, fsync before every acknowledgement. */
  readonly natsAlways: Nats;
}

export type SharedName = keyof Shared;

export interface ClusterPeers {
  /** For what a case keeps for itself, as a cluster of its own. Removed after the run. */
  readonly directory: string;
  readonly shared: Partial<Shared>;
}

export interface ClusterCase extends Case<ClusterPeers> {
  /** What has to run beside it. */
  readonly uses: readonly SharedName[];
}

export const sharedOf = <N extends SharedName>({ shared }: ClusterPeers, name: N): Shared[N] => {
  const found = shared[name];
  if (found === undefined) throw new Error(`${name} is not started: add it to what the case uses`);
  // Indexed by a type parameter, the union of undefined stays in the type.
  return found as Shared[N];
};

/** Ports of our cluster that all cases share, and of those that cases have for themselves. */
export const sharedPort = 22_400;
const ownPort = 22_900;

export const onOurs = async (
  peers: ClusterPeers,
  partitions: number,
  run: (millrace: MillraceCluster) => Promise<Sample>,
): Promise<Sample> => {
  const millrace = sharedOf(peers, "millrace");
  await millrace.topic("bench", partitions);
  try {
    return await run(millrace);
  } finally {
    await millrace.drop("bench");
  }
};

export const onKafka = async (
  peers: ClusterPeers,
  partitions: number,
  run: (kafka: Kafka) => Promise<Sample>,
): Promise<Sample> => {
  const kafka = sharedOf(peers, "kafka");
  await kafka.topic("bench", partitions, false);
  try {
    return await run(kafka);
  } finally {
    await kafka.drop("bench");
  }
};

/** `nats bench js` on both, as contenders. */
export const onNats = (verb: readonly string[], messages: number, extra: readonly string[]) => ({
  nats: (p: ClusterPeers) => sharedOf(p, "nats").bench(verb, messages, extra),
  "nats-always": (p: ClusterPeers) => sharedOf(p, "natsAlways").bench(verb, messages, extra),
});

/** A cluster for one case alone, one at a time. */
export class OwnCluster {
  #cluster: MillraceCluster | undefined;

  get cluster(): MillraceCluster {
    if (this.#cluster === undefined) throw new Error("the cluster was not started");
    return this.#cluster;
  }

  async start({ directory }: ClusterPeers): Promise<MillraceCluster> {
    const own = mkdtempSync(join(directory, "own-"));
    this.#cluster = new MillraceCluster({ directory: own, basePort: ownPort });
    await this.#cluster.start();
    return this.#cluster;
  }

  /** Stops it cleanly, checks what its brokers have, and deletes everything. */
  async end(id: string): Promise<void> {
    const cluster = this.cluster;
    await cluster.stop();
    console.error(`${id}: log verify: ${cluster.verify()}`);
    cluster.remove();
  }
}
