/**
 * `npm run test:chaos`: a cluster of processes under load while one after another is killed, paused
 * and restarted. See `usage`. Ends with 0 when every promise was kept, 1 when one was not or when
 * the run failed, 2 for a wrong command line.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Violation } from "./checker.ts";
import { disksMissing } from "./disks.ts";
import type { Happening } from "./history.ts";
import { isLaboratory, laboratoryMissing, runInside } from "./laboratory.ts";
import { type FaultKind, faultKinds, isLinkKind, isRoomKind } from "./plan.ts";
import { reportOf } from "./report.ts";
import { type RunOptions, run } from "./run.ts";
import { RunLog } from "./run-log.ts";
import { runScenario, scenarioReport } from "./scenario-run.ts";
import { scenarios } from "./scenarios.ts";
import { lineOf, timelineOf } from "./timeline.ts";

const usage = `npm run test:chaos [-- [--minutes N] [--seed S] [--faults A,B…] [--keep DIR]]
npm run test:chaos -- --scenario NAME [--minutes N] [--keep DIR]

  --minutes N      how long faults go on, or the trouble of a scenario (1)
  --seed S         which faults, when and on what; the default is another one each time
  --faults A       kinds of faults, joined by commas (all that this machine has)
  --scenario NAME  one of ${Object.keys(scenarios).join(", ")}
  --keep DIR       directory of everything that the run leaves, also when every promise was kept`;

interface Wanted extends Omit<RunOptions, "directory"> {
  readonly scenario: string | undefined;
  readonly keep: string | undefined;
}

const refuse = (flag: string, value: string, use: string): never => {
  throw new Error(`--${flag} ${value} is not allowed: use ${use}`);
};

/** Throws for a wrong command line. */
const parse = (): Wanted => {
  const text = { type: "string" } as const;
  const options = { minutes: text, seed: text, faults: text, scenario: text, keep: text };
  const { faults, keep, scenario, ...numbers } = parseArgs({ options }).values;
  const { minutes = "1", seed = String(Date.now() % 1_000_000) } = numbers;
  if (!/^[0-9]{1,4}(\.[0-9]{1,3})?$/.test(minutes) || Number(minutes) === 0) {
    refuse("minutes", minutes, "a number above 0, such as 0.5");
  }
  if (!/^[0-9]{1,9}$/.test(seed)) refuse("seed", seed, "a whole number below a thousand million");
  const named = faults?.split(",");
  const unknown = named?.find((name) => !faultKinds.some((kind) => kind === name));
  if (unknown !== undefined) refuse("faults", unknown, `some of ${faultKinds.join(", ")}`);
  if (scenario !== undefined && scenarios[scenario] === undefined) {
    refuse("scenario", scenario, `one of ${Object.keys(scenarios).join(", ")}`);
  }
  const kinds = faultKinds.filter((kind) => named?.includes(kind) ?? true);
  return { minutes: Number(minutes), seed: Number(seed), kinds, scenario, keep };
};

const directoryOf = (keep: string | undefined): string => {
  if (keep === undefined) return mkdtempSync(join(tmpdir(), "millrace-chaos-"));
  const directory = resolve(keep);
  mkdirSync(directory, { recursive: true });
  return directory;
};

/** A log that prints faults as they happen. */
const printing = (directory: string): RunLog => {
  const log = new RunLog(directory);
  const { tell } = log;
  const loud = (happening: Happening): void => {
    tell(happening);
    const event = log.events.at(-1);
    if (event?.kind === "fault") console.log(lineOf(event, log.startedAtMs));
  };
  return Object.assign(log, { tell: loud });
};

/** Everything of a run: what it is told, what went wrong, and what it prints. */
interface Done {
  readonly violations: readonly Violation[];
  readonly report: string;
}

const carryThrough = async (
  wanted: Wanted,
  directory: string,
  log: RunLog,
  signal: AbortSignal,
): Promise<Done> => {
  const scenario = scenarios[wanted.scenario ?? ""];
  if (scenario !== undefined) {
    const { minutes } = wanted;
    const outcome = await runScenario({ directory, scenario, minutes }, log, signal);
    return { violations: outcome.violations, report: scenarioReport(outcome) };
  }
  const outcome = await run({ ...wanted, directory }, log, signal);
  return { violations: outcome.violations, report: reportOf(log.events, outcome) };
};

const perform = async (wanted: Wanted): Promise<number> => {
  const directory = directoryOf(wanted.keep);
  const what = wanted.scenario ?? `seed ${wanted.seed}`;
  console.log(`${what}, ${wanted.minutes} min, in ${directory}`);
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort());
  const log = printing(directory);
  const { report, violations } = await carryThrough(wanted, directory, log, stop.signal);
  await log.close();
  console.log(report);
  if (violations.length > 0 || wanted.keep !== undefined) {
    const text = timelineOf(log.events, violations, log.startedAtMs);
    writeFileSync(join(directory, "timeline.txt"), text);
  } else rmSync(directory, { recursive: true });
  for (const { promise, text } of violations.slice(0, 10))
    console.log(`VIOLATION ${promise}: ${text}`);
  if (violations.length > 0) console.log(`look into ${join(directory, "timeline.txt")}`);
  return violations.length === 0 ? 0 : 1;
};

/** Without the faults that this machine has not, which are named. */
const without = (
  wanted: Wanted,
  needs: (kind: FaultKind) => boolean,
  missing: () => string | undefined,
): Wanted => {
  const skipped = wanted.kinds.filter(needs);
  const why = skipped.length === 0 ? undefined : missing();
  if (why === undefined) return wanted;
  console.log(`skipped: ${skipped.join(", ")}: ${why}`);
  return { ...wanted, kinds: wanted.kinds.filter((kind) => !needs(kind)) };
};

const main = async (): Promise<number> => {
  let wanted: Wanted;
  try {
    wanted = parse();
  } catch (thrown) {
    console.error(`error: ${thrown instanceof Error ? thrown.message : String(thrown)}\n${usage}`);
    return 2;
  }
  if (wanted.scenario !== undefined) return perform(wanted);
  const needsInside = (kind: FaultKind): boolean => isLinkKind(kind) || isRoomKind(kind);
  if (!wanted.kinds.some(needsInside)) return perform(wanted);
  if (isLaboratory()) return perform(without(wanted, isRoomKind, disksMissing));
  const possible = without(wanted, needsInside, laboratoryMissing);
  if (possible !== wanted) return perform(possible);
  return runInside(fileURLToPath(import.meta.url), process.argv.slice(2));
};

process.exitCode = await main();
