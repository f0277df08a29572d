/** How soon: one at a time, at fixed rates, over many partitions. */
import type { Claim } from "../lib/report.ts";
import type { Metric } from "../lib/words.ts";
import { type Case, onKafka, onOurs, type Peers, rate } from "./case.ts";

const acknowledged = { ours: "millrace-publish", peer: "nats-always", better: "less" } as const;

export const single = (scale: number): Case => {
  const records = Math.round(5000 * scale);
  return {
    id: "one-at-a-time",
    title: "one record of 1 KiB at a time",
    claims: [
      // Its percentiles are whole milliseconds, cut: a median of 0 says only that it is below 1.
      { metric: "meanMs", peer: "kafka", better: "less", must: 1 },
      { metric: "p99Ms", peer: "kafka", better: "less", must: 1, aim: 0.5 },
      { ...acknowledged, metric: "ackp50Ms", peerMetric: "p50Ms", must: 1 },
      { ...acknowledged, metric: "ackp99Ms", peerMetric: "p99Ms", must: 1, aim: 0.5 },
    ],
    contenders: {
      millrace: (p) =>
        onOurs(p, 1, () => p.millrace.load("end-to-end", { topic: "bench", records })),
      // What JetStream's tool does: publish and wait, nobody reads.
      "millrace-publish": (p) =>
        onOurs(p, 1, async () => {
          const sample = await p.millrace.load("one", { topic: "bench", records });
          return { ackp50Ms: sample["p50Ms"] ?? 0, ackp99Ms: sample["p99Ms"] ?? 0 };
        }),
      kafka: (p) => onKafka(p, 1, false, () => p.kafka.endToEnd("bench", records, 1024)),
      "nats-always": (p) => p.natsAlways.bench(["pub", "sync"], records, ["--size=1024B"]),
    },
  };
};

/**
 * The server's own count of fsyncs beside the acknowledgements, at the settings that all cases run
 * with.
 */
export const fsyncs = (): Case => ({
  id: "fsyncs",
  title: "fsyncs for 1,000 records one at a time, by the server's own count",
  claims: [{ metric: "fsyncsPerAck", better: "more", must: 1 }],
  contenders: {
    millrace: (p) =>
      onOurs(p, 1, async () => {
        const before = await p.millrace.counter("millrace_log_fsyncs_total");
        const sample = await p.millrace.load("one", { topic: "bench", records: 1000 });
        const done = (await p.millrace.counter("millrace_log_fsyncs_total")) - before;
        return { ...sample, fsyncs: done, fsyncsPerAck: done / (sample["acks"] ?? Number.NaN) };
      }),
  },
});

export const many = (scale: number): Case => ({
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

/** Like loads: Kafka's tool does not read what it wrote. */
const below = (metric: Metric, peerMetric: Metric): Claim[] => [
  { metric, ours: "millrace-publish", peer: "kafka", peerMetric, better: "less", must: 1 },
];

export const openLoop = (perSecond: number, scale: number): Case => {
  const seconds = Math.max(5, Math.round(20 * scale));
  return {
    id: `rate-${perSecond}`,
    title: `open loop, ${perSecond / 1000} k records/s of 1 KiB`,
    claims: [
      ...below("ackp99Ms", "ackp99Ms"),
      ...below("sendp99Ms", "ackp99Ms"),
      ...below("sendp999Ms", "ackp999Ms"),
      { metric: "ackp99Ms", better: "less", must: 1000, aim: 3 },
      { metric: "endp99Ms", better: "less", must: 1000, aim: 3 },
    ],
    contenders: {
      millrace: (p) =>
        onOurs(p, 1, () =>
          p.millrace.load("rate", { topic: "bench", rate: perSecond, seconds, warmup: 3 }),
        ),
      // Like Kafka's tool: nobody reads. It counts from `send`, where a late schedule is not part
      // of the latency.
      "millrace-publish": (p) =>
        onOurs(p, 1, () =>
          p.millrace.load("rate", {
            ...{ topic: "bench", rate: perSecond, seconds, warmup: 3 },
            "no-consumer": 1,
          }),
        ),
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

export const spread = (scale: number): Case => {
  const seconds = Math.max(5, Math.round(15 * scale));
  const ours = (partitions: number) => (p: Peers) =>
    onOurs(p, partitions, () =>
      p.millrace.load("rate", {
        ...{ topic: "bench", rate: 1000, seconds, warmup: 2, partitions },
        // Nothing is read on many partitions; so nothing on the one that they are compared with.
        "no-consumer": 1,
      }),
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
        peer: "millrace-1",
        better: "less",
        must: 3,
        aim: 2,
      },
      {
        metric: "ackp99Ms",
        ours: "millrace-100",
        peer: "millrace-1",
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
      "millrace-1": ours(1),
      "millrace-100": ours(100),
      "millrace-1000": ours(1000),
      "kafka-fsync-100": theirs(100),
      "kafka-fsync-1000": theirs(1000),
    },
  };
};
