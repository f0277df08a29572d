/** Reading what only the disk has. */
import { diskReadBytes, dropObstacle, dropPageCache } from "../lib/disk.ts";
import type { Sample } from "../lib/report.ts";
import { type Case, ofPartitions } from "./case.ts";

/**
 * Of the bytes that were read, the part that must have come from the disk for a read to count as
 * cold.
 */
const coldShare = 0.9;

/**
 * Without page cache. What the server keeps in memory (its newest batches) is far from what is read
 * here.
 */
const withoutCache = async (
  pid: number,
  bytes: number,
  run: () => Promise<Sample>,
): Promise<Sample> => {
  dropPageCache();
  const before = diskReadBytes(pid);
  const sample = await run();
  const diskReadShare = (diskReadBytes(pid) - before) / bytes;
  if (diskReadShare < coldShare)
    throw new Error(`only ${(diskReadShare * 100).toFixed(0)} % came from the disk`);
  return { ...sample, diskReadShare };
};

export const cold = (partitions: number, scale: number): Case => {
  const records = Math.round(2 * 1024 * 1024 * scale);
  const flags = { topic: "cold", partitions, records, size: 1024 };
  const bytes = records * 1024;
  const claim = { peer: "kafka", better: "more", must: 1, aim: 1.5 } as const;
  return {
    id: `cold-${partitions}`,
    title: `read ${(records / 2 ** 20).toFixed(1)} GiB of 1 KiB, cold, ${ofPartitions(partitions)}`,
    claims: [
      { metric: "mibPerSecond", ...claim },
      { metric: "mibPerSecond", ours: "millrace-4", ...claim },
      { metric: "diskReadShare", better: "more", must: coldShare },
      { metric: "diskReadShare", ours: "millrace-4", better: "more", must: coldShare },
    ],
    obstacle: dropObstacle,
    before: async ({ millrace, kafka }) => {
      await millrace.topic("cold", partitions);
      await millrace.load("produce", flags);
      await kafka.topic("cold", partitions, false);
      await kafka.produce("cold", records, 1024);
    },
    after: async ({ millrace, kafka }) => {
      await millrace.drop("cold");
      await kafka.drop("cold");
    },
    contenders: {
      millrace: ({ millrace }) =>
        withoutCache(millrace.pid, bytes, () => millrace.load("consume", flags)),
      "millrace-4": ({ millrace }) =>
        withoutCache(millrace.pid, bytes, () => millrace.load("consume", { ...flags, clients: 4 })),
      kafka: ({ kafka }) => withoutCache(kafka.pid, bytes, () => kafka.consume("cold", records)),
    },
  };
};
