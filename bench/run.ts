/**
 * `npm run bench`: every workload, ours and the peers', interleaved round by round on this machine.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { above0, commandLine } from "../tools/command-line.ts";
import type { Case } from "./cases/case.ts";
import { type Measured, pageOf } from "./lib/page.ts";
import { plotOf } from "./lib/plot.ts";
import { type CaseResult, machine } from "./lib/report.ts";
import { Runner } from "./lib/runner.ts";
import { tableOf } from "./lib/table.ts";
import { cluster, type Suite, standalone } from "./suites.ts";

const usage = `npm run bench [-- [--cluster] [--quick] [--only TEXT] [--rounds N] [--out DIRECTORY]]

  --cluster        three brokers beside three nodes of the peers
  --quick          one round of three tenths of the work
  --only TEXT      the case of this name, or those whose names have it
  --rounds N       times that each case is measured (3)
  --scale N        share of the work (1)
  --out DIRECTORY  writes results.json, table.md and plot.svg; with --cluster DIRECTORY.md, too`;

const values = commandLine(usage, {
  cluster: { type: "boolean", default: false },
  quick: { type: "boolean", default: false },
  only: { type: "string", default: "" },
  rounds: { type: "string" },
  out: { type: "string" },
  scale: { type: "string" },
});
const rounds = above0("rounds", values.rounds ?? (values.quick ? "1" : "3"), usage);
const scale = above0("scale", values.scale ?? (values.quick ? "0.3" : "1"), usage);

/** Those of this run. */
const options = process.argv.slice(2).join(" ");

interface Outcome {
  readonly results: readonly CaseResult[];
  readonly failures: readonly string[];
  /** What `log verify` said of our data, or that it failed. */
  readonly verdict: string;
  readonly seconds: number;
}

/** Rejects when somebody wants this process to end. */
const interrupted = (): Promise<never> =>
  new Promise((_, reject) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.once(signal, () => reject(new Error(`ended by ${signal}`)));
    }
  });

const chosenOf = <C extends { readonly id: string }>(cases: readonly C[]): readonly C[] => {
  // `produce-1024-1` is one case, `produce-1024` are two.
  const exact = cases.filter(({ id }) => id === values.only);
  const chosen = exact.length > 0 ? exact : cases.filter(({ id }) => id.includes(values.only));
  if (chosen.length > 0) return chosen;
  const ids = cases.map(({ id }) => id).join(", ");
  console.error(`error: no case matches ${values.only}: choose from ${ids}`);
  process.exit(2);
};

/** Starts everything, measures, verifies, and leaves nothing behind. */
const run = async <P, C extends Case<P>>(suite: Suite<P, C>): Promise<Outcome> => {
  const chosen = chosenOf(suite.cases);
  const directory = mkdtempSync(join(tmpdir(), "millrace-bench-"));
  const startedMs = performance.now();
  const elapsed = (): number => (performance.now() - startedMs) / 1000;
  const runner = new Runner({ rounds, partMs: suite.partMs });
  const results: CaseResult[] = [];
  let verdict = "failed";
  const measureAll = async (): Promise<void> => {
    const peers = await suite.start(directory, chosen);
    console.error(`peers started: ${elapsed().toFixed(0)} s`);
    for (const of of chosen) {
      const result = await runner.measure(of, peers);
      results.push(result);
      console.error(tableOf([result], suite.option).split("\n").slice(2).join("\n"));
    }
    await runner.attempt("log verify of our data after all cases", async () => {
      verdict = await suite.verify(peers);
    });
  };
  try {
    await Promise.race([measureAll(), interrupted()]);
  } finally {
    await suite.end();
    rmSync(directory, { recursive: true, force: true });
  }
  return { results, failures: runner.failures, verdict, seconds: elapsed() };
};

const tell = ({ results, failures, seconds, verdict }: Outcome, option: string): void => {
  const took = results.map((one) => `${one.id} ${one.seconds.toFixed(0)} s`).join(", ");
  console.log(`${machine()}; ${rounds} round(s), ${(seconds / 60).toFixed(1)} min\n`);
  console.log(tableOf(results, option));
  console.log(`took: ${took}`);
  console.log(`log verify after all cases: ${verdict}`);
  if (values.out === undefined) return;
  const day = new Date().toISOString().slice(0, 10);
  const ran = { machine: machine(), day, minutes: seconds / 60, rounds, options, verdict };
  write(values.out, { ...ran, failures, results }, option);
};

/** The page of a cluster stands beside the directory of its results. */
const write = (directory: string, measured: Measured, option: string): void => {
  mkdirSync(directory, { recursive: true });
  const json = `${JSON.stringify(measured, undefined, 1)}\n`;
  writeFileSync(join(directory, "results.json"), json);
  writeFileSync(join(directory, "table.md"), tableOf(measured.results, option));
  writeFileSync(join(directory, "plot.svg"), plotOf(measured.results));
  if (!values.cluster) return;
  // The page links to the directory by its name.
  writeFileSync(`${directory}.md`, pageOf(measured, basename(directory)));
};

const main = async <P, C extends Case<P>>(suite: Suite<P, C>): Promise<number> => {
  const outcome = await run(suite);
  tell(outcome, suite.option);
  for (const failure of outcome.failures) console.error(`FAILED ${failure}`);
  return outcome.failures.length === 0 ? 0 : 1;
};

process.exit(values.cluster ? await main(cluster(scale)) : await main(standalone(scale)));
