/** What a case is, and what cases share. */
import type { Millrace, Target } from "../lib/millrace.ts";
import type { Claim, Sample } from "../lib/report.ts";
import type { Kafka } from "../peers/kafka.ts";
import type { Nats } from "../peers/nats.ts";

export interface Peers {
  /** For what a case keeps for itself, as a server of its own. Removed after the run. */
  readonly directory: string;
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
  /** Why the case cannot be measured here; undefined when it can. */
  readonly obstacle?: (peers: Peers) => string | undefined;
  /** Before the first round and after the last, where rounds share data. */
  readonly before?: (peers: Peers) => Promise<void>;
  readonly after?: (peers: Peers) => Promise<void>;
}

export const onOurs = async (
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

export const onKafka = async (
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

export const rate = "recordsPerSecond" as const;

export const ofPartitions = (count: number): string =>
  `${count.toLocaleString("en-US")} partition${count > 1 ? "s" : ""}`;
