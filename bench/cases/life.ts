/** Starting, waiting and coming back, on servers and directories of their own. */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freeBytes } from "../lib/disk.ts";
import { Millrace } from "../lib/millrace.ts";
import type { Sample } from "../lib/report.ts";
import type { Case, Peers } from "./case.ts";

const fresh = ({ directory }: Peers): Millrace =>
  new Millrace(mkdtempSync(join(directory, "own-")));

/** The server that `before` has started. */
const started = (server: Millrace | undefined): Millrace => {
  if (server === undefined) throw new Error("the server was not started");
  return server;
};

const elapsed = (sinceMs: number): number => (performance.now() - sinceMs) / 1000;

const stopSeconds = async (server: Millrace): Promise<number> => {
  const startedMs = performance.now();
  await server.stop();
  return elapsed(startedMs);
};

/** From the spawn of the process, on an empty directory. */
export const start = (): Case => ({
  id: "start",
  title: "start on an empty directory",
  claims: [
    { metric: "readySeconds", better: "less", must: 2, aim: 1 },
    { metric: "readySeconds", peer: "kafka", better: "less", must: 1 },
    // 150 MB.
    { metric: "idleRssMiB", better: "less", must: 143 },
  ],
  contenders: {
    millrace: async (peers) => {
      const server = fresh(peers);
      await server.start();
      const { readySeconds } = server;
      await sleep(2000);
      const idleRssMiB = server.rssMiB();
      await server.stop();
      server.remove();
      return { readySeconds, idleRssMiB };
    },
    kafka: async ({ kafka }) => ({ readySeconds: kafka.readySeconds }),
  },
});

const perTopic = 1000;

/** The bounds are of 10,000; a quick look takes fewer, and says so. */
export const idlePartitions = (scale: number): Case => {
  const topics = scale >= 1 ? 10 : 3;
  let own: Millrace | undefined;
  const measure = async (server: Millrace): Promise<Sample> => {
    await sleep(2000);
    const idleRssMiB = server.rssMiB();
    const openFiles = server.openFiles();
    const cleanStopSeconds = await stopSeconds(server);
    await server.start();
    const cleanStartSeconds = server.readySeconds;
    await server.stop("SIGKILL");
    await server.start();
    const startAfterKillSeconds = server.readySeconds;
    return {
      ...{ idleRssMiB, openFiles, cleanStopSeconds, cleanStartSeconds, startAfterKillSeconds },
      rssAfterKillMiB: server.rssMiB(),
    };
  };
  return {
    id: "idle-partitions",
    title: `${(topics * perTopic).toLocaleString("en-US")} idle partitions`,
    claims: [
      // 500 MB.
      { metric: "idleRssMiB", better: "less", must: 476 },
      { metric: "rssAfterKillMiB", better: "less", must: 476 },
      { metric: "openFiles", better: "less", must: 4096 },
      { metric: "cleanStartSeconds", better: "less", must: 10 },
      { metric: "startAfterKillSeconds", better: "less", must: 10 },
    ],
    before: async (peers) => {
      own = fresh(peers);
      await own.start();
      for (let i = 0; i < topics; i += 1) await own.topic(`idle-${i}`, perTopic);
    },
    after: async () => {
      await own?.stop("SIGKILL");
      own?.remove();
    },
    contenders: { millrace: async () => measure(started(own)) },
  };
};

const partitions = 100;

/** Spawns the server; seconds until it has served a record that was there before. */
const servedSeconds = async (server: Millrace, partition: number): Promise<number> => {
  await server.start();
  // A consumer that begins at an offset asks nobody where the topic is.
  await server.client.partitionCount("kept");
  const consumer = server.client.consumer();
  await consumer.assign([{ topic: "kept", partition, from: { offset: 10 } }]);
  const first = await consumer.records().next();
  const seconds = elapsed(server.spawnedMs);
  await consumer.close();
  if (first.value?.offset !== 10n) throw new Error(`got offset ${first.value?.offset}, not 10`);
  return seconds;
};

const appendedSeconds = async (server: Millrace, partition: number): Promise<number> => {
  await using producer = server.client.producer();
  await producer.send({ topic: "kept", partition, value: "after the start" });
  return elapsed(server.spawnedMs);
};

/** Ends the server while a load writes to it as fast as it can. */
const killWhileWriting = async (server: Millrace): Promise<void> => {
  const end = async () =>
    (await server.client.admin.listOffset({ topic: "kept", partition: 0, at: "latest" }))?.offset ??
    0n;
  const before = await end();
  const endLoad = server.background("produce", { topic: "kept", partitions, records: 1e7 });
  try {
    await sleep(2000);
    if ((await end()) <= before) throw new Error("nothing was written before the kill");
    await server.stop("SIGKILL");
  } finally {
    await endLoad();
  }
};

const measureRestart = async (server: Millrace): Promise<Sample> => {
  await killWhileWriting(server);
  const fetchAfterKillSeconds = await servedSeconds(server, 57);
  const appendAfterKillSeconds = await appendedSeconds(server, 58);
  const cleanStopSeconds = await stopSeconds(server);
  const fetchAfterCleanStopSeconds = await servedSeconds(server, 59);
  return {
    ...{ fetchAfterKillSeconds, cleanStopSeconds, fetchAfterCleanStopSeconds },
    servedAfterKillSeconds: Math.max(fetchAfterKillSeconds, appendAfterKillSeconds),
  };
};

export const restart = (scale: number): Case => {
  const gib = scale >= 1 ? 10 * scale : 1;
  // The load's warm-up is a fifth on top.
  const records = Math.round((gib * 2 ** 20) / 1.2);
  let own: Millrace | undefined;
  return {
    id: "restart",
    title: `restart with ${gib} GiB in ${partitions} partitions`,
    claims: [
      { metric: "servedAfterKillSeconds", better: "less", must: 5 },
      { metric: "fetchAfterCleanStopSeconds", better: "less", must: 2 },
    ],
    obstacle: ({ directory }) => {
      const free = Math.floor(freeBytes(directory) / 2 ** 30);
      return free < 3 * gib
        ? `${3 * gib} GiB of free disk are needed, there are ${free}`
        : undefined;
    },
    before: async (peers) => {
      own = fresh(peers);
      await own.start();
      await own.topic("kept", partitions);
      await own.load("produce", { topic: "kept", partitions, records });
    },
    after: async () => {
      await own?.stop();
      console.error(`restart: log verify: ${started(own).verify()}`);
      own?.remove();
    },
    contenders: { millrace: async () => measureRestart(started(own)) },
  };
};
