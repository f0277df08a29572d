/**
 * `npm run test:mutants`: puts one mistake after the other into a scratch copy and says which test
 * notices. Exit 0 only when every mutant is found and every test passes without one.
 *
 * Results are kept in `.cache/mutants.json` by the contents of the files concerned (`key.ts`), so
 * that a run that was ended goes on where it was.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { above0, commandLine, refuse } from "../../tools/command-line.ts";
import { Keys } from "./key.ts";
import { clusterBugs } from "./lists/cluster.ts";
import { allMutants } from "./lists/index.ts";
import type { Mutant } from "./mutant.ts";
import { Scratch } from "./scratch.ts";

interface Outcome {
  readonly found: boolean;
  readonly by: string;
  readonly seconds: number;
}

const root = fileURLToPath(new URL("../..", import.meta.url));
const statePath = join(root, ".cache", "mutants.json");

const usage = `npm run test:mutants -- [--only NAME|FILE …] [--jobs N] [--fresh] [--list] [--cluster]
  --only TEXT        mutants whose name or file contains TEXT; may be repeated
  --jobs N           scratch copies worked in at once (2)
  --limit-seconds S  longest run of one test file (600); a mutant that hangs is found after a
                     minute, or after twenty times what the file takes without one
  --fresh            forget the results of earlier runs
  --cluster          the bugs that the simulation of three brokers must find, and no others
  --list             names and what they break; runs nothing`;

const options = commandLine(usage, {
  only: { type: "string", multiple: true },
  jobs: { type: "string", default: "2" },
  "limit-seconds": { type: "string", default: "600" },
  fresh: { type: "boolean", default: false },
  list: { type: "boolean", default: false },
  cluster: { type: "boolean", default: false },
});
const jobs = Math.ceil(above0("jobs", options.jobs, usage));

const selected = (options.cluster ? clusterBugs : allMutants).filter(
  ({ name, file }) =>
    options.only === undefined ||
    options.only.some((text) => name.includes(text) || file.includes(text)),
);
if (selected.length === 0) refuse("--only chooses no mutant: --list shows their names", usage);

const envOf = (mutant: Mutant): Readonly<Record<string, string>> => mutant.env ?? {};

const known: Record<string, Outcome> =
  options.fresh || !existsSync(statePath) ? {} : JSON.parse(readFileSync(statePath, "utf8"));

const keep = (key: string, outcome: Outcome): void => {
  known[key] = outcome;
  mkdirSync(dirname(statePath), { recursive: true });
  writeFileSync(statePath, `${JSON.stringify(known, undefined, 1)}\n`);
};

const since = (startedMs: number): number => Math.round((performance.now() - startedMs) / 100) / 10;

const limitMs = above0("limit-seconds", options["limit-seconds"], usage) * 1000;
/** What a test may take with a mutant, times what it takes without one; and at least so long. */
const timesAlone = 20;
const limitMsMin = 60_000;
/** Time of tests without a mutant, ms. */
const aloneMs = new Map<string, number>();

const runOf = (file: string, env: Readonly<Record<string, string>>): string =>
  `${file} ${JSON.stringify(env)}`;

const limitOf = (run: string): number =>
  Math.min(limitMs, Math.max(limitMsMin, timesAlone * (aloneMs.get(run) ?? limitMs)));

const tryMutant = async (scratch: Scratch, mutant: Mutant): Promise<Outcome> => {
  const startedMs = performance.now();
  const takeOut = scratch.apply(mutant);
  try {
    if (!scratch.loads(mutant.file)) throw new Error(`${mutant.name}: the file does not load`);
    for (const file of mutant.tests) {
      const env = envOf(mutant);
      const run = await scratch.test(file, env, limitOf(runOf(file, env)));
      if (!run.passed) {
        return { found: true, by: `${file}: ${run.firstFailure}`, seconds: since(startedMs) };
      }
    }
    return { found: false, by: "", seconds: since(startedMs) };
  } finally {
    takeOut();
  }
};

/** Works through a queue in several scratch copies. */
const inParallel = async <T>(
  items: readonly T[],
  work: (scratch: Scratch, item: T) => Promise<void>,
): Promise<void> => {
  const queue = [...items];
  const worker = async (): Promise<void> => {
    if (queue.length === 0) return;
    const scratch = new Scratch(root);
    try {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
        await work(scratch, item);
      }
    } finally {
      scratch.remove();
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
};

/** A test that fails anyway finds nothing: each must pass on the unchanged sources. */
const checkBaseline = async (mutants: readonly Mutant[]): Promise<string[]> => {
  const runs = new Map<string, { file: string; env: Readonly<Record<string, string>> }>();
  for (const mutant of mutants) {
    for (const file of mutant.tests) {
      runs.set(runOf(file, envOf(mutant)), { file, env: envOf(mutant) });
    }
  }
  const broken: string[] = [];
  await inParallel([...runs.values()], async (scratch, { file, env }) => {
    const startedMs = performance.now();
    const run = await scratch.test(file, env, limitMs);
    aloneMs.set(runOf(file, env), performance.now() - startedMs);
    if (!run.passed) broken.push(`${file}: ${run.firstFailure}`);
  });
  return broken;
};

const main = async (): Promise<number> => {
  if (options.list) {
    for (const { name, file, breaks } of selected) console.log(`${name}  ${file}\n    ${breaks}`);
    console.log(`${selected.length} mutants`);
    return 0;
  }
  const startedMs = performance.now();
  // Sources that change meanwhile do not change what this run is about.
  const files = new Keys(root);
  const keys = new Map(selected.map((mutant) => [mutant, files.of(mutant)]));
  const outcomes = new Map([...keys].map(([mutant, key]) => [mutant, known[key]]));
  const open = selected.filter((mutant) => outcomes.get(mutant) === undefined);
  console.log(`${selected.length} mutants, ${selected.length - open.length} known from before`);
  const broken = await checkBaseline(open);
  for (const line of broken) console.log(`fails without a mutant: ${line}`);
  if (broken.length > 0) return 1;
  await inParallel(open, async (scratch, mutant) => {
    const outcome = await tryMutant(scratch, mutant);
    outcomes.set(mutant, outcome);
    keep(keys.get(mutant) ?? mutant.name, outcome);
    const verdict = outcome.found ? `found by ${outcome.by}` : "NOT FOUND";
    console.log(`${mutant.name}: ${verdict} (${outcome.seconds} s)`);
  });
  const missed = selected.filter((mutant) => outcomes.get(mutant)?.found !== true);
  for (const { name, file, breaks } of missed) console.log(`missed: ${name} in ${file}: ${breaks}`);
  console.log(
    `${selected.length} mutants, ${selected.length - missed.length} found, ` +
      `${missed.length} missed, ${since(startedMs)} s`,
  );
  return missed.length === 0 ? 0 : 1;
};

process.exitCode = await main();
