/** As much as goes: writing and reading. */
import { type Case, ofPartitions, onKafka, onOurs, rate } from "./case.ts";

const cpu = (side: "client" | "server") => `${side}CpuSecondsPerMillion` as const;

export const produce = (size: number, partitions: number, scale: number): Case => {
  const count = Math.round((size === 100 ? 10_000_000 : 2_000_000) * scale);
  const flags = { topic: "bench", size, partitions, records: count };
  return {
    id: `produce-${size}-${partitions}`,
    title: `produce ${size} B, ${ofPartitions(partitions)}`,
    claims: [
      { metric: rate, peer: "kafka", better: "more", must: 1.3, aim: 2 },
      { metric: rate, peer: "librdkafka", better: "more", must: 0.8, aim: 1.2 },
      { metric: rate, peer: "kafka-fsync", better: "more", must: 3, aim: 6 },
      { metric: cpu("client"), peer: "kafka", better: "less", must: 0.7, aim: 0.4 },
      { metric: cpu("server"), peer: "kafka", better: "less", must: 0.7, aim: 0.4 },
      { metric: "cpuSecondsPerMillion", peer: "kafka", better: "less", must: 0.7, aim: 0.4 },
      { metric: "serverCpuSecondsPerGiB", peer: "transport", better: "less", must: 1.5, aim: 1.2 },
      // 300 MB.
      { metric: "serverRssMaxMiB", better: "less", must: 286 },
    ],
    contenders: {
      millrace: (p) => onOurs(p, partitions, () => p.millrace.load("produce", flags)),
      kafka: (p) => onKafka(p, partitions, false, () => p.kafka.produce("bench", count, size)),
      librdkafka: (p) =>
        onKafka(p, partitions, false, () => p.kafka.librdkafka("bench", count, size)),
      "kafka-fsync": (p) =>
        onKafka(p, partitions, true, () => p.kafka.produce("bench", Math.round(count / 3), size)),
      transport: (p) => p.millrace.load("produce", flags, p.transport),
    },
  };
};

export const clientProduce = (partitions: number, scale: number): Case => {
  const records = Math.round(1_000_000 * scale);
  return {
    id: `client-produce-${partitions}`,
    title: `Node client, produce 1 KiB, ${ofPartitions(partitions)}`,
    claims: [{ metric: rate, peer: "platformatic", better: "more", must: 1, aim: 1.5 }],
    contenders: {
      millrace: (p) =>
        onOurs(p, partitions, () =>
          p.millrace.load("client-produce", { topic: "bench", partitions, records }),
        ),
      platformatic: (p) =>
        onKafka(p, partitions, false, () =>
          p.kafka.nodeClient("platformatic", "produce", "bench", records),
        ),
    },
  };
};

export const consume = (partitions: number, scale: number): Case => {
  const records = Math.round(2 * 1024 * 1024 * scale);
  const flags = { topic: "read", partitions, records, size: 1024 };
  return {
    id: `consume-${partitions}`,
    title: `read ${(records / 2 ** 20).toFixed(1)} GiB of 1 KiB, hot, ${ofPartitions(partitions)}`,
    claims: [
      { metric: "mibPerSecond", peer: "kafka", better: "more", must: 1, aim: 1.5 },
      {
        metric: "mibPerSecond",
        ours: "millrace-4",
        peer: "kafka",
        better: "more",
        must: 1,
        aim: 1.5,
      },
      { metric: rate, ours: "millrace-client", peer: "kafkajs", better: "more", must: 1.5, aim: 2 },
      { metric: rate, peer: "nats", better: "more", must: 1, aim: 1.5 },
      { metric: "serverCpuSecondsPerGiB", peer: "transport", better: "less", must: 1.5, aim: 1.2 },
      { metric: "repeatedShare", better: "less", must: 0 },
    ],
    before: async ({ millrace, kafka, nats }) => {
      await millrace.topic("read", partitions);
      await millrace.load("produce", flags);
      await kafka.topic("read", partitions, false);
      await kafka.produce("read", records, 1024);
      await nats.bench(["pub", "async"], Math.round(records / 4), ["--size=1024B", "--batch=500"]);
    },
    after: async ({ millrace, kafka }) => {
      await millrace.drop("read");
      await kafka.drop("read");
    },
    contenders: {
      millrace: (p) => p.millrace.load("consume", flags),
      "millrace-4": (p) => p.millrace.load("consume", { ...flags, clients: 4 }),
      "millrace-client": (p) => p.millrace.load("client-consume", flags),
      kafka: (p) => p.kafka.consume("read", records),
      kafkajs: (p) => p.kafka.nodeClient("kafkajs", "consume", "read", Math.round(records / 2)),
      nats: (p) => p.nats.bench(["ordered"], Math.round(records / 4), ["--size=1024B"]),
      transport: (p) => p.millrace.load("consume", { ...flags, "any-offset": 1 }, p.transport),
    },
  };
};
