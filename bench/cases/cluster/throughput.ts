/** Writing to three replicas as fast as it goes. */
import { ofPartitions, rate } from "../case.ts";
import { type ClusterCase, onKafka, onNats, onOurs } from "./peers.ts";

export const produce = (size: number, partitions: number, scale: number): ClusterCase => {
  const count = Math.round((size === 100 ? 3_000_000 : 600_000) * scale);
  const flags = { topic: "bench", size, partitions, records: count };
  // A stream of JetStream is one partition; it has one message in each of 500 requests under way.
  const messages = Math.round(100_000 * scale);
  const single = partitions === 1;
  return {
    id: `produce-${size}-${partitions}`,
    uses: single ? ["millrace", "kafka", "nats", "natsAlways"] : ["millrace", "kafka"],
    title: `produce ${size} B, ${ofPartitions(partitions)}, three replicas`,
    claims: [
      { metric: rate, peer: "kafka", better: "more", must: 1 },
      { metric: rate, ours: "millrace-client", peer: "kafka", better: "more", must: 1 },
      ...(single
        ? ([
            { metric: rate, peer: "nats", better: "more", must: 1 },
            { metric: rate, peer: "nats-always", better: "more", must: 1 },
          ] as const)
        : []),
      { metric: "clientCpuSecondsPerMillion", peer: "kafka", better: "less" },
      { metric: "serverCpuSecondsPerMillion", peer: "kafka", better: "less" },
      { metric: "cpuSecondsPerMillion", peer: "kafka", better: "less" },
      { metric: "writtenPerByte", peer: "kafka", better: "less" },
      { metric: "serverRssMaxMiB", peer: "kafka", better: "less" },
    ],
    contenders: {
      millrace: (p) => onOurs(p, partitions, (millrace) => millrace.load("produce", flags)),
      "millrace-client": (p) =>
        onOurs(p, partitions, (millrace) => millrace.load("client-produce", flags)),
      kafka: (p) => onKafka(p, partitions, (kafka) => kafka.produce("bench", count, size)),
      ...(single ? onNats(["pub", "async"], messages, [`--size=${size}B`, "--batch=500"]) : {}),
    },
  };
};

/** The same client with the same number of batches in flight. */
export const idempotence = (partitions: number, scale: number): ClusterCase => {
  const records = Math.round(1_000_000 * scale);
  const flags = { topic: "bench", size: 1024, partitions, records };
  return {
    id: `idempotence-${partitions}`,
    uses: ["millrace"],
    // Rounds differ by more than what is to be seen.
    rounds: 5,
    title: `Node client, produce 1 KiB with idempotence and without, ${ofPartitions(partitions)}`,
    claims: [
      { metric: rate, peer: "without", better: "more", must: 0.97 },
      { metric: "cpuSecondsPerMillion", peer: "without", better: "less" },
    ],
    contenders: {
      millrace: (p) => onOurs(p, partitions, (millrace) => millrace.load("client-produce", flags)),
      without: (p) =>
        onOurs(p, partitions, (millrace) =>
          millrace.load("client-produce", { ...flags, idempotence: 0 }),
        ),
    },
  };
};
