/** How fast a log is compacted, and what producers beside it notice. */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { Millrace } from "../lib/millrace.ts";
import { until } from "../lib/processes.ts";
import type { Sample } from "../lib/report.ts";
import type { Case, Peers } from "./case.ts";

/** Kafka and we call them the same. The log is left alone until it is filled. */
const filling = {
  "cleanup.policy": "compact",
  "segment.bytes": String(128 * 1024 * 1024),
  "min.compaction.lag.ms": String(24 * 60 * 60 * 1000),
} as const;
const beginning = { ...filling, "min.compaction.lag.ms": "0" } as const;
const compactTimeoutMs = 900_000;

interface Cleaned {
  readonly cleanedMiB: number;
  readonly cleanSeconds: number;
}

interface Side {
  /** A log with keys, and a topic beside it. */
  fill(): Promise<void>;
  /** Records at a steady pace to the topic beside: the p99 from `send`, ms. */
  pacedP99Ms(seconds: number): Promise<number>;
  begin(): Promise<void>;
  /** What the first cleaning said, once it is over. */
  cleaned(): Promise<Cleaned | undefined>;
}

const perSecond = 5000;

const measure = async (side: Side, seconds: number): Promise<Sample> => {
  await side.fill();
  const calmP99Ms = await side.pacedP99Ms(seconds);
  await side.begin();
  const besideP99Ms = await side.pacedP99Ms(seconds);
  let cleaned: Cleaned | undefined;
  const isOver = async (): Promise<boolean> => {
    cleaned = await side.cleaned();
    return cleaned !== undefined;
  };
  await until("the end of a cleaning", isOver, compactTimeoutMs);
  const { cleanedMiB = 0, cleanSeconds = 0 } = cleaned ?? {};
  return {
    ...{ cleanedMiBPerSecond: cleanedMiB / cleanSeconds, cleanSeconds, calmP99Ms, besideP99Ms },
    besideP99Times: besideP99Ms / calmP99Ms,
  };
};

interface Size {
  readonly records: number;
  readonly keys: number;
  readonly seconds: number;
}

const ours = async (
  { directory }: Peers,
  { keys, records, seconds }: Size,
  flags: readonly string[],
): Promise<Sample> => {
  const server = new Millrace(mkdtempSync(join(directory, "own-")));
  await server.start(["--log-cleaner-backoff", "1s", ...flags]);
  let cleanedMiB = 0;
  const side: Side = {
    fill: async () => {
      await server.client.admin.createTopic({ name: "keyed", partitions: 1, configs: filling });
      await server.topic("beside", 1);
      await server.load("client-produce", {
        topic: "keyed",
        records: Math.floor(records / 1.2),
        keys,
      });
    },
    pacedP99Ms: async (longSeconds) => {
      const flags = { topic: "beside", rate: perSecond, seconds: longSeconds, "no-consumer": 1 };
      return (await server.load("rate", flags))["sendp99Ms"] ?? Number.NaN;
    },
    begin: async () => {
      // What is read for the map and what is read for the copy are one counter.
      const size = 'millrace_log_topic_size_bytes{topic="keyed"}';
      cleanedMiB = (await server.counter(size)) / 2 ** 20;
      await server.client.admin.alterConfigs({ topic: "keyed", set: beginning });
    },
    cleaned: async () => {
      if ((await server.counter("millrace_log_cleaner_runs_total")) === 0) return undefined;
      const cleanSeconds = await server.counter("millrace_log_cleaner_last_run_seconds");
      return { cleanedMiB, cleanSeconds };
    },
  };
  const sample = await measure(side, seconds);
  await server.stop();
  server.remove();
  return sample;
};

const kafkas = async ({ kafka }: Peers, { keys, records, seconds }: Size): Promise<Sample> => {
  const side: Side = {
    fill: async () => {
      await kafka.topic("keyed", 1, false, filling);
      await kafka.topic("beside", 1, false);
      await kafka.nodeClient("platformatic", "produce", "keyed", Math.floor(records / 1.2), keys);
    },
    pacedP99Ms: async (longSeconds) => {
      const sample = await kafka.produce("beside", perSecond * longSeconds, 1024, perSecond);
      return sample["ackp99Ms"] ?? Number.NaN;
    },
    begin: () => kafka.configure("keyed", beginning),
    cleaned: async () => kafka.cleaned("keyed-0"),
  };
  const sample = await measure(side, seconds);
  await kafka.drop("keyed");
  await kafka.drop("beside");
  return sample;
};

export const compaction = (scale: number): Case => {
  const records = Math.round(10 * 1024 * 1024 * scale);
  const size = { records, keys: 1_000_000, seconds: Math.max(3, Math.round(30 * scale)) };
  return {
    id: "compaction",
    title: `compact ${(records / 2 ** 20).toFixed(1)} GiB of 1 KiB, 1 M keys, 5,000 records/s beside`,
    rounds: 1,
    claims: [
      {
        metric: "cleanedMiBPerSecond",
        ours: "millrace-unlimited",
        peer: "kafka",
        better: "more",
        must: 1,
      },
      { metric: "cleanedMiBPerSecond", peer: "kafka", better: "more" },
      { metric: "besideP99Times", better: "less", must: 1.5 },
      { metric: "besideP99Times", ours: "millrace-unlimited", peer: "kafka", better: "less" },
      { metric: "besideP99Ms", peer: "kafka", better: "less" },
    ],
    contenders: {
      millrace: (peers) => ours(peers, size, []),
      "millrace-unlimited": (peers) =>
        ours(peers, size, ["--log-cleaner-io-max-bytes-per-second", "0"]),
      kafka: (peers) => kafkas(peers, size),
    },
  };
};
