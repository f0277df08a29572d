/** What a case is, and what cases share. */
import type { Target } from "../lib/load.ts";
import type { Millrace } from "../lib/millrace.ts";
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

/** `P` is everything that runs while cases are measured. */
export interface Case<P = Peers> {
  readonly id: string;
  readonly title: string;
  readonly claims: readonly Claim[];
  readonly contenders: Readonly<Record<string, (peers: P) => Promise<Sample>>>;
  /** Absent: as many as the run has. */
  readonly rounds?: number;
  /** Why the case cannot be measured here; undefined when it can. */
  readonly obstacle?: (peers: P) => string | undefined;
  /** Before the first round and after the last, where rounds share data. */
  readonly before?: (peers: P) => Promise<void>;
  readonly after?: (peers: P) => Promise<void>;
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
