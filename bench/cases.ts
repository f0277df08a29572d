/** What is measured, and what is claimed of it. */
import type { Millrace, Target } from "./lib/millrace.ts";
import type { Claim, Sample } from "./lib/report.ts";
import type { Kafka } from "./peers/kafka.ts";
import type { Nats } from "./peers/nats.ts";

export interface Peers {
  readonly millrace: Millrace;
  readonly transport: Target;
  readonly kafka: Kafka;
  /** fsync every two minutes, the default. */
  readonly nats: Nats;
  /** fsync before every acknowledgement. */
  readonly natsAlways: Nats;
}

export interface Case {
  readonly id: string;
  readonly title: string;
  readonly claims: readonly Claim[];
  readonly contenders: Readonly<Record<string, (peers: Peers) => Promise<Sample>>>;
  /** Before the first round and after the last, where rounds share data. */
  readonly before?: (peers: Peers) => Promise<void>;
  readonly after?: (peers: Peers) => Promise<void>;
}

/** Scale of a run: 1 in full, less for a quick look. */
type Cases = (scale: number) => Case[];

const onOurs = async (
  peers: Peers,
  partitions: number,
  run: () => Promise<Sample>,
): Promise<Sample> => {
  await peers.millrace.topic("bench", partitions);
  try {
    return await run();
  } finally {
    await peers.millrace.drop("bench");
  }
};

const onKafka = async (
  peers: Peers,
  partitions: number,
  fsync: boolean,
  run: () => Promise<Sample>,
): Promise<Sample> => {
  await peers.kafka.topic("bench", partitions, fsync);
  try {
    return await run();
  } finally {
    await peers.kafka.drop("bench");
  }
};

const rate = "recordsPerSecond";
const cpu = (side: string): string => `${side}CpuSecondsPerMillion`;

const produce = (size: number, partitions: number, scale: number): Case => {
  const count = Math.round((size === 100 ? 3_000_000 : 600_000) * scale);
  const flags = { topic: "bench", size, partitions, records: count };
  return {
    id: `produce-${size}-${partitions}`,
    title: `produce ${size} B, ${partitions} partition${partitions > 1 ? "s" : ""}`,
    claims: [
      { metric: rate, peer: "kafka", better: "more", must: 1.3, aim: 2 },
      { metric: rate, peer: "librdkafka", better: "more", must: 0.8, aim: 1.2 },
      { metric: rate, peer: "kafka-fsync", better: "more", must: 3, aim: 6 },
      { metric: cpu("client"), peer: "kafka", better: "less", must: 0.7, aim: 0.4 },
      { metric: cpu("server"), peer: "kafka", better: "less", must: 0.7, aim: 0.4 },
      { metric: "serverCpuSecondsPerGiB", peer: "transport", better: "less", must: 1.5, aim: 1.2 },
      { metric: "serverRssMaxMiB", better: "less", must: 300 },
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

const clientProduce = (partitions: number, scale: number): Case => {
  const records = Math.round(300_000 * scale);
  return {
    id: `client-produce-${partitions}`,
    title: `Node client, produce 1 KiB, ${partitions} partition${partitions > 1 ? "s" : ""}`,
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

const consume = (partitions: number, scale: number): Case => {
  const records = Math.round(2 * 1024 * 1024 * scale);
  const flags = { topic: "read", partitions, records, size: 1024 };
  return {
    id: `consume-${partitions}`,
    title: `read ${(records / 2 ** 20).toFixed(1)} GiB of 1 KiB, ${partitions} partition${partitions > 1 ? "s" : ""}`,
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
      "millrace-4": (p) =>
        p.millrace.load("consume", { ...flags, clients: Math.min(4, partitions) }),
      "millrace-client": (p) => p.millrace.load("client-consume", flags),
      kafka: (p) => p.kafka.consume("read", records),
      kafkajs: (p) => p.kafka.nodeClient("kafkajs", "consume", "read", Math.round(records / 2)),
      nats: (p) => p.nats.bench(["ordered"], Math.round(records / 4), ["--size=1024B"]),
      transport: (p) => p.millrace.load("consume", flags, p.transport),
    },
  };
};

const single = (scale: number): Case => {
  const records = Math.round(5000 * scale);
  return {
    id: "one-at-a-time",
    title: "one record of 1 KiB at a time",
    claims: [
      { metric: "p50Ms", peer: "kafka", better: "less", must: 1 },
      { metric: "p99Ms", peer: "kafka", better: "less", must: 1, aim: 0.5 },
      { metric: "ackp50Ms", peer: "nats-always", peerMetric: "p50Ms", better: "less", must: 1 },
      {
        metric: "ackp99Ms",
        peer: "nats-always",
        peerMetric: "p99Ms",
        better: "less",
        must: 1,
        aim: 0.5,
      },
    ],
    contenders: {
      millrace: (p) =>
        onOurs(p, 1, () => p.millrace.load("end-to-end", { topic: "bench", records })),
      kafka: (p) => onKafka(p, 1, false, () => p.kafka.endToEnd("bench", records, 1024)),
      "nats-always": (p) => p.natsAlways.bench(["pub", "sync"], records, ["--size=1024B"]),
    },
  };
};

const many = (scale: number): Case => ({
  id: "64-clients",
  title: "64 clients, one record of 1 KiB at a time each",
  claims: [{ metric: rate, peer: "nats-always", better: "more", must: 4, aim: 8 }],
  contenders: {
    millrace: (p) =>
      onOurs(p, 1, () =>
        p.millrace.load("one", {
          topic: "bench",
          clients: 64,
          records: Math.round(60_000 * scale),
        }),
      ),
    "nats-always": (p) =>
      p.natsAlways.bench(["pub", "sync"], Math.round(20_000 * scale), [
        "--size=1024B",
        "--clients=64",
      ]),
  },
});

const openLoop = (perSecond: number, scale: number): Case => {
  const seconds = Math.max(5, Math.round(20 * scale));
  return {
    id: `rate-${perSecond}`,
    title: `open loop, ${perSecond / 1000} k records/s of 1 KiB`,
    claims: [
      { metric: "ackp99Ms", peer: "kafka", better: "less", must: 1 },
      { metric: "ackp99Ms", better: "less", must: 1000, aim: 3 },
      { metric: "endp99Ms", better: "less", must: 1000, aim: 3 },
      { metric: "ackp999Ms", peer: "kafka", better: "less", must: 1 },
    ],
    contenders: {
      millrace: (p) =>
        onOurs(p, 1, () =>
          p.millrace.load("rate", { topic: "bench", rate: perSecond, seconds, warmup: 3 }),
        ),
      // Kafka's tool counts from `send`, which flatters it: a late schedule is not part of its latency.
      kafka: (p) =>
        onKafka(p, 1, false, () =>
          p.kafka.produce("bench", perSecond * seconds, 1024, perSecond, [
            "linger.ms=1",
            "batch.size=131072",
          ]),
        ),
    },
  };
};

const spread = (scale: number): Case => {
  const seconds = Math.max(5, Math.round(15 * scale));
  const ours = (partitions: number) => (p: Peers) =>
    onOurs(p, partitions, () =>
      p.millrace.load("rate", { topic: "bench", rate: 1000, seconds, warmup: 2, partitions }),
    );
  const theirs = (partitions: number) => (p: Peers) =>
    onKafka(p, partitions, true, () =>
      p.kafka.produce("bench", 1000 * seconds, 1024, 1000, ["linger.ms=0"]),
    );
  return {
    id: "spread",
    title: "1,000 records/s of 1 KiB over 1,000 partitions",
    claims: [
      {
        metric: "ackp99Ms",
        ours: "millrace-1000",
        peer: "millrace-2",
        better: "less",
        must: 3,
        aim: 2,
      },
      {
        metric: "ackp99Ms",
        ours: "millrace-100",
        peer: "millrace-2",
        better: "less",
        must: 3,
        aim: 2,
      },
      {
        metric: "ackp99Ms",
        ours: "millrace-1000",
        peer: "kafka-fsync-1000",
        better: "less",
        must: 1,
      },
    ],
    contenders: {
      "millrace-2": ours(2),
      "millrace-100": ours(100),
      "millrace-1000": ours(1000),
      "kafka-fsync-100": theirs(100),
      "kafka-fsync-1000": theirs(1000),
    },
  };
};

/** Every case, in the order of the table of claims. */
export const cases: Cases = (scale) => [
  ...[100, 1024].flatMap((size) => [1, 16].map((partitions) => produce(size, partitions, scale))),
  clientProduce(1, scale),
  clientProduce(16, scale),
  consume(1, scale),
  consume(16, scale),
  single(scale),
  many(scale),
  openLoop(5000, scale),
  openLoop(10_000, scale),
  openLoop(20_000, scale),
  spread(scale),
];
