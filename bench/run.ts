/**
 * `npm run bench [-- --quick] [--only PATTERN] [--rounds N] [--out DIRECTORY]`: every workload,
 * ours and the peers', interleaved round by round on this machine. Prints the table; with `--out`
 * also writes results.json and plot.svg.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Case, cases, type Peers } from "./cases.ts";
import { Millrace, startTransport } from "./lib/millrace.ts";
import { plotOf } from "./lib/plot.ts";
import { stopAll } from "./lib/processes.ts";
import { type CaseResult, machine, type Sample } from "./lib/report.ts";
import { tableOf } from "./lib/table.ts";
import { fetchPeers } from "./peers/fetch.ts";
import { Kafka } from "./peers/kafka.ts";
import { Nats } from "./peers/nats.ts";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string", default: "" },
    rounds: { type: "string" },
    out: { type: "string" },
    scale: { type: "string" },
  },
});
const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
const scale = Number(values.scale ?? (values.quick ? 0.3 : 1));

const start = async (directory: string): Promise<Peers> => {
  const root = fetchPeers();
  const millrace = new Millrace(join(directory, "millrace"));
  await millrace.start();
  return {
    directory,
    millrace,
    transport: await startTransport(join(directory, "transport")),
    kafka: await Kafka.start(root, join(directory, "kafka")),
    nats: await Nats.start(root, join(directory, "nats"), 14222, false),
    natsAlways: await Nats.start(root, join(directory, "nats-always"), 14223, true),
  };
};

const failures: string[] = [];

/** Does a part of a case; a failure is told, and fails the run at its end, but does not end it. */
const attempt = async (what: string, part: () => Promise<void> | undefined): Promise<boolean> => {
  try {
    await part();
    return true;
  } catch (thrown) {
    failures.push(`${what}: ${thrown instanceof Error ? thrown.message : thrown}`);
    console.error(failures.at(-1));
    return false;
  }
};

const measure = async (of: Case, peers: Peers): Promise<CaseResult> => {
  const { id, title, claims } = of;
  const startedMs = performance.now();
  const samples: Record<string, Sample[]> = {};
  const result = (skipped?: string): CaseResult => {
    const seconds = (performance.now() - startedMs) / 1000;
    return { id, title, claims, samples, seconds, ...(skipped === undefined ? {} : { skipped }) };
  };
  const obstacle = of.obstacle?.(peers);
  if (obstacle !== undefined) return result(obstacle);
  const prepared = await attempt(`${id} before`, () => of.before?.(peers));
  for (let round = 0; prepared && round < rounds; round += 1) {
    for (const [name, run] of Object.entries(of.contenders)) {
      await attempt(`${id} ${name}`, async () => {
        const list = samples[name] ?? [];
        list.push(await run(peers));
        samples[name] = list;
      });
    }
  }
  await attempt(`${id} after`, () => of.after?.(peers));
  return result();
};

/** Writes something of every kind, stops our server and checks every byte that it has. */
const verified = async (millrace: Millrace): Promise<string> => {
  await millrace.topic("verified", 16);
  const flags = { topic: "verified", partitions: 16, records: 50_000 };
  await millrace.load("produce", { ...flags, size: 100 });
  await millrace.load("client-produce", { ...flags, size: 1024 });
  await millrace.stop();
  return millrace.verify();
};

const all = cases(scale);
// `produce-1024-1` is one case, `produce-1024` are two.
const exact = all.filter(({ id }) => id === values.only);
const chosen = exact.length > 0 ? exact : all.filter(({ id }) => id.includes(values.only));
if (chosen.length === 0) {
  console.error(
    `error: no case matches ${values.only}: choose from ${all.map(({ id }) => id).join(", ")}`,
  );
  process.exit(2);
}

const directory = mkdtempSync(join(tmpdir(), "millrace-bench-"));
const startedMs = performance.now();
const results: CaseResult[] = [];
let verdict = "";
try {
  const peers = await start(directory);
  console.error(`peers started: ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
  for (const of of chosen) {
    const result = await measure(of, peers);
    results.push(result);
    console.error(tableOf([result]).split("\n").slice(2).join("\n"));
  }
  await peers.kafka.disconnect();
  await attempt("log verify of our server after all cases", async () => {
    verdict = await verified(peers.millrace);
  });
} finally {
  await stopAll();
  rmSync(directory, { recursive: true, force: true });
}
const minutes = ((performance.now() - startedMs) / 60_000).toFixed(1);
const took = results.map(({ id, seconds }) => `${id} ${seconds.toFixed(0)} s`).join(", ");
console.log(`${machine()}; ${rounds} round(s), ${minutes} min\n`);
console.log(tableOf(results));
console.log(`took: ${took}`);
console.log(`log verify after all cases: ${verdict || "failed"}`);
if (values.out !== undefined) {
  mkdirSync(values.out, { recursive: true });
  writeFileSync(
    join(values.out, "results.json"),
    `${JSON.stringify({ machine: machine(), rounds, verdict, failures, results }, undefined, 1)}\n`,
  );
  writeFileSync(join(values.out, "table.md"), tableOf(results));
  writeFileSync(join(values.out, "plot.svg"), plotOf(results));
}
for (const failure of failures) console.error(`FAILED ${failure}`);
process.exit(failures.length === 0 ? 0 : 1);
