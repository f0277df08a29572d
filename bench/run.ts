/**
 * `npm run bench [-- --quick] [--only PATTERN] [--rounds N] [--out DIRECTORY]`: every workload, ours and the peers',
 * interleaved round by round on this machine. Prints the table; with `--out` also writes results.json and plot.svg.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Case, cases, type Peers } from "./cases.ts";
import { Millrace, startTransport } from "./lib/millrace.ts";
import { stopAll } from "./lib/processes.ts";
import { type CaseResult, machine, plotOf, rowsOf, type Sample, tableOf } from "./lib/report.ts";
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
    millrace,
    transport: await startTransport(join(directory, "transport")),
    kafka: await Kafka.start(root, join(directory, "kafka")),
    nats: await Nats.start(root, join(directory, "nats"), 14222, false),
    natsAlways: await Nats.start(root, join(directory, "nats-always"), 14223, true),
  };
};

const measure = async (of: Case, peers: Peers): Promise<CaseResult> => {
  const samples: Record<string, Sample[]> = {};
  await of.before?.(peers);
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, run] of Object.entries(of.contenders)) {
      try {
        const sample = await run(peers);
        const list = samples[name] ?? [];
        list.push(sample);
        samples[name] = list;
      } catch (thrown) {
        console.error(`${of.id} ${name}: ${thrown instanceof Error ? thrown.message : thrown}`);
      }
    }
  }
  await of.after?.(peers);
  const { id, title, claims } = of;
  return { id, title, claims, samples };
};

const directory = mkdtempSync(join(tmpdir(), "millrace-bench-"));
const startedMs = performance.now();
const results: CaseResult[] = [];
try {
  const peers = await start(directory);
  const idle: Sample = {
    readySeconds: peers.millrace.readySeconds,
    idleRssMiB: peers.millrace.rssMiB(),
  };
  const claims = [
    { metric: "readySeconds", better: "less", must: 2, aim: 1 },
    { metric: "idleRssMiB", better: "less", must: 150 },
  ] as const;
  results.push({ id: "start", title: "start", claims, samples: { millrace: [idle] } });
  for (const of of cases(scale)) {
    if (!of.id.includes(values.only)) continue;
    const result = await measure(of, peers);
    results.push(result);
    console.error(
      tableOf(rowsOf([result]))
        .split("\n")
        .slice(2)
        .join("\n"),
    );
  }
  await peers.kafka.disconnect();
  await peers.millrace.stop();
} finally {
  await stopAll();
  rmSync(directory, { recursive: true, force: true });
}
const rows = rowsOf(results);
console.log(
  `${machine()}; ${rounds} round(s), ${((performance.now() - startedMs) / 60_000).toFixed(1)} min\n`,
);
console.log(tableOf(rows));
if (values.out !== undefined) {
  mkdirSync(values.out, { recursive: true });
  writeFileSync(
    join(values.out, "results.json"),
    `${JSON.stringify({ machine: machine(), rounds, results }, undefined, 1)}\n`,
  );
  writeFileSync(join(values.out, "table.md"), tableOf(rows));
  writeFileSync(join(values.out, "plot.svg"), plotOf(rows));
}
process.exit(0);
