/** One scenario: a steady load, a trouble in the middle of it, figures, and the check. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Violation } from "./checker.ts";
import { ChaosCluster } from "./cluster.ts";
import { checkReplicas } from "./replicas.ts";
import { leaderChanges, tableOf } from "./report.ts";
import type { RunLog } from "./run-log.ts";
import type { Scenario } from "./scenarios.ts";
import { type Phase, SteadyLoad } from "./steady-load.ts";
import type { Totals } from "./tally.ts";
import { watch } from "./watch.ts";

export interface ScenarioOptions {
  readonly directory: string;
  readonly scenario: Scenario;
  readonly minutes: number;
}

export interface ScenarioOutcome {
  readonly phases: readonly Phase[];
  readonly totals: readonly Totals[];
  readonly leaderChanges: number;
  readonly violations: readonly Violation[];
}

/** Until clients and servers are at their speed, and then with no trouble, before and after. ms */
const warmUpMs = 10_000;
const calmMs = 15_000;
/** Longest wait for a whole cluster after the trouble, ms. */
const healMs = 120_000;

const broken = (text: string): Violation => ({ promise: "progress", text });

/** What the figures of a partition say is wrong with it. */
export const wrongIn = (totals: readonly Totals[]): Violation[] =>
  totals.flatMap(({ disordered, duplicated, lost }, partition) => {
    const wrong = Object.entries({ lost, duplicated, disordered }).filter(([, count]) => count > 0);
    if (wrong.length === 0) return [];
    const counts = wrong.map(([what, count]) => `${count} ${what}`).join(", ");
    return [{ promise: "acknowledged", text: `partition ${partition}: ${counts}` }];
  });

/** The trouble itself, and the way back. */
const act = async (
  cluster: ChaosCluster,
  { minutes, scenario }: ScenarioOptions,
  load: SteadyLoad,
  log: RunLog,
  signal: AbortSignal,
): Promise<Violation[]> => {
  const violations: Violation[] = [];
  await sleep(warmUpMs);
  load.begin("before");
  await sleep(calmMs);
  load.begin("during");
  try {
    await scenario.run({ cluster, minutes, tell: log.tell, signal });
  } catch (thrown) {
    violations.push(broken(thrown instanceof Error ? thrown.message : String(thrown)));
  }
  load.begin("healing");
  const missing = await cluster.untilWhole(healMs);
  if (missing !== undefined) violations.push(broken(`not whole after ${healMs} ms: ${missing}`));
  log.tell({ kind: "note", text: "the trouble is over" });
  load.begin("after");
  await sleep(calmMs);
  await load.stop();
  return violations;
};

const runOn = async (
  cluster: ChaosCluster,
  options: ScenarioOptions,
  log: RunLog,
  signal: AbortSignal,
): Promise<ScenarioOutcome> => {
  const stopWatching = new AbortController();
  await cluster.start();
  const clients = await Promise.all([cluster.connect(), cluster.connect()]);
  const [writer, reader] = clients;
  const { leaderChangesMax = Number.POSITIVE_INFINITY, ratePerSecond } = options.scenario;
  const watching = watch(cluster, log, stopWatching.signal);
  const load = new SteadyLoad(writer, reader, ratePerSecond);
  const violations = await act(cluster, options, load, log, signal);
  stopWatching.abort();
  await watching;
  await Promise.all(clients.map((client) => client.close()));
  const { failures, phases, totals } = load;
  const changes = leaderChanges(log.events);
  if (changes > leaderChangesMax) violations.push(broken(`${changes} leader changes`));
  for (const [what, all] of Map.groupBy(failures, (one) => one)) {
    log.tell({ kind: "note", text: `${what} ×${all.length}` });
    violations.push(broken(`${what} ×${all.length}`));
  }
  violations.push(...wrongIn(totals));
  return { phases, totals, leaderChanges: changes, violations };
};

export const runScenario = async (
  options: ScenarioOptions,
  log: RunLog,
  signal: AbortSignal,
): Promise<ScenarioOutcome> => {
  const cluster = new ChaosCluster(options.directory, { network: false, disks: false });
  const outcome = await runOn(cluster, options, log, signal).finally(() => cluster.stop());
  const stopped = checkReplicas(cluster.brokerDirectories);
  return { ...outcome, violations: [...outcome.violations, ...stopped] };
};

const at = (sorted: readonly number[], fraction: number): number =>
  sorted[Math.ceil(sorted.length * fraction) - 1] ?? 0;

export const scenarioReport = (outcome: ScenarioOutcome): string => {
  const { phases, totals } = outcome;
  const before = phases.find(({ name }) => name === "before")?.latenciesMs ?? [];
  const times = phases.map(({ latenciesMs, name }) => {
    const p99 = at(latenciesMs, 0.99);
    const ratio = (p99 / at(before, 0.99)).toFixed(2);
    const shown = [at(latenciesMs, 0.5), p99, at(latenciesMs, 1)].map((ms) => ms.toFixed(1));
    return [name, String(latenciesMs.length), ...shown, ratio];
  });
  const gaps = totals.map((one, partition) => {
    const { acked, disordered, duplicated, lost, sent } = one;
    const counts = [sent, acked, lost, duplicated, disordered].map(String);
    return [String(partition), one.longestGapMs.toFixed(0), ...counts];
  });
  return [
    ...tableOf([
      ["sends", "acknowledged", "p50 ms", "p99 ms", "max ms", "p99 to before"],
      ...times,
    ]),
    "",
    ...tableOf([
      [
        "partition",
        ...["longest gap ms", "sent", "acknowledged", "lost", "duplicated", "disordered"],
      ],
      ...gaps,
    ]),
    "",
    `leader changes ${outcome.leaderChanges}`,
    `violations     ${outcome.violations.length}`,
  ].join("\n");
};
