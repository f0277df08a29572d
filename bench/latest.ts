/**
 * `node bench/latest.ts`: how soon a server answers GetLatest of a key among many, and what a call
 * costs it: of one caller with one call at a time, and of several.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Client, connect } from "@millrace/client";
import { above0, commandLine, refuse } from "../tools/command-line.ts";
import { Millrace } from "./lib/millrace.ts";
import { cpuSeconds, rssMiB, stopAll } from "./lib/processes.ts";
import { machine } from "./lib/report.ts";
import { Latencies, median } from "./lib/stats.ts";

const codecs = ["none", "gzip", "zstd", "lz4"] as const;

const usage = `node bench/latest.ts [--keys N] [--size N] [--batch N] [--codec NAME] [--callers N]
    [--calls N] [--rounds N] [--hot N] [--directory PATH] [--profile PATH]

  --keys N          keys of the topic, a record each (1000000)
  --size N          bytes of a value, of which half do not compress (1024)
  --batch N         bytes of a batch (131072, as the client's producer has it)
  --codec NAME      none, gzip, zstd or lz4 (none)
  --callers N       callers of the second part, each with one call at a time (8)
  --calls N         calls of a round, over all callers (5000)
  --rounds N        rounds of each part, after one that does not count (5)
  --hot N           keys that are asked for (all)
  --directory PATH  where the data goes (the system's, for temporary files)
  --profile PATH    Node writes a CPU profile of the server that answers there`;

const values = commandLine(usage, {
  keys: { type: "string", default: "1000000" },
  size: { type: "string", default: "1024" },
  batch: { type: "string", default: "131072" },
  codec: { type: "string", default: "none" },
  callers: { type: "string", default: "8" },
  calls: { type: "string", default: "5000" },
  rounds: { type: "string", default: "5" },
  hot: { type: "string" },
  directory: { type: "string", default: tmpdir() },
  profile: { type: "string" },
});
const keys = above0("keys", values.keys, usage);
const sizeBytes = above0("size", values.size, usage);
const batchBytes = above0("batch", values.batch, usage);
const callers = above0("callers", values.callers, usage);
const calls = above0("calls", values.calls, usage);
const rounds = above0("rounds", values.rounds, usage);
const hot = above0("hot", values.hot ?? values.keys, usage);
const codec =
  codecs.find((name) => name === values.codec) ??
  refuse(`--codec ${values.codec} is not allowed: use ${codecs.join(", ")}`, usage);

const topic = "latest";
const adminTimeoutMs = 300_000;

/** Neighbours are far from each other: the step has no factor with most numbers of keys. */
const step = 7_919_999;
const keyOf = (i: number): string => `key-${String((i * step) % keys).padStart(12, "0")}`;

/** Bytes that do not compress, from a generator that always makes the same ones. */
const noise = (bytes: number): Buffer => {
  const made = Buffer.alloc(bytes);
  let state = 1;
  for (let i = 0; i < bytes; i += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    made[i] = state >>> 24;
  }
  return made;
};

const pool = noise(1024 * 1024);

/** The value of a key begins with it. */
const valueFor = (key: string, i: number): Buffer => {
  const value = Buffer.alloc(sizeBytes, "millrace ");
  const half = sizeBytes >> 1;
  const from = (i * 257) % Math.max(1, pool.length - half);
  pool.copy(value, sizeBytes - half, from, from + half);
  value.write(key);
  return value;
};

/** Writes the record of each key, as a stream. */
const fill = async (client: Client): Promise<void> => {
  // Nothing is cleaned while calls are measured.
  const configs = { "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "1" };
  await client.admin.createTopic({ name: topic, configs });
  const producer = client.producer({ batchBytesMax: batchBytes, compression: codec });
  const startMs = performance.now();
  for (let i = 0; i < keys; i += 1) {
    const key = keyOf(i);
    if (!producer.write({ topic, key, value: valueFor(key, i) })) await producer.drained();
  }
  await producer.close();
  const seconds = (performance.now() - startMs) / 1000;
  console.log(
    `filled: ${keys} keys, values of ${sizeBytes} bytes, batches of at most ${batchBytes} bytes ` +
      `(${codec}), in ${seconds.toFixed(1)} s`,
  );
};

interface Round {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly callsPerSecond: number;
  /** CPU time of the server for a call. */
  readonly cpuMs: number;
}

/** Keys are asked for in an order without a pattern, which goes on from round to round. */
let asked = 0;

const round = async (client: Client, pid: number, callersNow: number): Promise<Round> => {
  const latencies = new Latencies();
  let left = calls;
  const call = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      asked += 1;
      const key = keyOf((asked * 611_953) % hot);
      const startMs = performance.now();
      const found = await client.getLatest({ topic, key });
      latencies.add(performance.now() - startMs);
      const value = Buffer.from(found?.value ?? []);
      if (
        value.length !== sizeBytes ||
        !value.toString("latin1").startsWith(key.slice(0, sizeBytes))
      )
        throw new Error(`the latest record of ${key} is not the one that was written`);
    }
  };
  const cpuBefore = cpuSeconds(pid);
  const startMs = performance.now();
  await Promise.all(Array.from({ length: callersNow }, call));
  const seconds = (performance.now() - startMs) / 1000;
  const { p50Ms = 0, p99Ms = 0, maxMs = 0 } = latencies.summary("");
  const cpuMs = ((cpuSeconds(pid) - cpuBefore) * 1000) / calls;
  return { p50Ms, p99Ms, maxMs, callsPerSecond: calls / seconds, cpuMs };
};

const spread = (all: readonly Round[], metric: keyof Round, digits: number): string => {
  const found = all.map((one) => one[metric]);
  const [least, middle, most] = [Math.min(...found), median(found), Math.max(...found)];
  return `${middle.toFixed(digits)} (${least.toFixed(digits)}–${most.toFixed(digits)})`;
};

const measure = async (server: Millrace, client: Client, callersNow: number): Promise<void> => {
  const all: Round[] = [];
  for (let i = -1; i < rounds; i += 1) {
    const one = await round(client, server.pid, callersNow);
    if (i >= 0) all.push(one);
  }
  console.log(
    `${callersNow} at a time: p50 ${spread(all, "p50Ms", 2)} ms, p99 ${spread(all, "p99Ms", 2)} ms, ` +
      `max ${spread(all, "maxMs", 1)} ms; ${spread(all, "callsPerSecond", 0)} calls/s; ` +
      `server's CPU ${spread(all, "cpuMs", 3)} ms a call`,
  );
};

const directory = mkdtempSync(join(values.directory, "millrace-latest-"));
try {
  console.log(machine());
  const first = new Millrace(directory);
  await first.start();
  await fill(first.client);
  await first.stop();
  const server = new Millrace(directory);
  if (values.profile !== undefined) mkdirSync(values.profile, { recursive: true });
  // A server of its own: what it does to take in a million records is not measured with the calls.
  await server.start(
    [],
    values.profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${values.profile}`],
  );
  const client = await connect({ bootstrap: [server.endpoint], adminTimeoutMs });
  const startMs = performance.now();
  await client.getLatest({ topic, key: keyOf(0) });
  const seconds = (performance.now() - startMs) / 1000;
  console.log(`started anew: the index of the keys is there ${seconds.toFixed(1)} s after that`);
  for (const callersNow of new Set([1, callers])) await measure(server, client, callersNow);
  console.log(
    `median (min–max) of ${rounds} rounds of ${calls} calls; the server has ` +
      `${rssMiB(server.pid).toFixed(0)} MiB of memory`,
  );
  await client.close();
  await server.stop();
} finally {
  await stopAll();
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);
