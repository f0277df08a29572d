/**
 * `npm run sim -- [--brokers N [--apart] [--groups]] --seeds N [--seed S] [--trace]`: simulates N
 * seeds from S on, outside of a test runner: a standalone server, or a cluster of N, whose
 * controllers are apart where the seed says so, or with `--apart`; `--groups`: with group
 * coordinators and members in every seed. Ends with 0 when every seed held, 1 after a failure, 2
 * for a wrong command line.
 */
import { parseArgs } from "node:util";
import { run } from "./run.ts";
import { type Layout, runCluster } from "./run-cluster.ts";
import { Totals } from "./totals.ts";

const usage =
  "usage: npm run sim -- [--brokers N [--apart] [--groups]] [--seeds N] [--seed S] [--trace]";

interface Wanted {
  /** Undefined: a standalone server. */
  readonly brokers: number | undefined;
  /** Undefined: each seed decides. */
  readonly layout: Layout | undefined;
  /** Undefined: each seed decides. */
  readonly groups: true | undefined;
  readonly first: number;
  readonly count: number;
  readonly trace: boolean;
}

const parse = (): Wanted => {
  const whole = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  const options = { brokers: whole, seed: whole, seeds: whole, trace: flag } as const;
  const flags = { apart: flag, groups: flag } as const;
  const { values } = parseArgs({ options: { ...options, ...flags } });
  const number = (name: "brokers" | "seed" | "seeds", fallback: number): number => {
    const text = values[name];
    if (text === undefined) return fallback;
    if (!/^[1-9][0-9]{0,8}$/.test(text)) {
      throw new Error(`--${name} ${text} is not allowed: use a whole number from 1 on`);
    }
    return Number(text);
  };
  const count = number("seeds", values.seed === undefined ? 60 : 1);
  const trace = values.trace === true;
  if (trace && count > 1) throw new Error("--trace is for one seed: leave --seeds out");
  const brokers = values.brokers === undefined ? undefined : number("brokers", 3);
  const layout = values.apart === true ? "apart" : undefined;
  if (layout !== undefined && brokers === undefined) {
    throw new Error("--apart is for a cluster: say --brokers N, too");
  }
  const groups = values.groups === true ? true : undefined;
  if (groups && brokers === undefined) {
    throw new Error("--groups is for a cluster: say --brokers N, too");
  }
  return { brokers, layout, groups, first: number("seed", 1), count, trace };
};

const simulate = async (wanted: Wanted): Promise<number> => {
  const { brokers, layout, groups, first, count, trace } = wanted;
  const totals = new Totals(brokers, layout);
  const startedMs = performance.now();
  let failures = 0;
  for (let seed = first; seed < first + count; seed += 1) {
    try {
      const onTrace = trace ? (line: string) => console.log(line) : undefined;
      const report = await (brokers === undefined
        ? run(seed, onTrace)
        : runCluster(seed, { brokers, layout, groups, onTrace }));
      totals.add(report);
      if (count === 1) console.log(`seed ${seed}: trace ${report.traceHash.toString(16)}`);
    } catch (thrown) {
      failures += 1;
      console.error(`FAILED ${thrown instanceof Error ? thrown.message : String(thrown)}`);
      const flags = `${layout ? "--apart " : ""}${groups ? "--groups " : ""}`;
      const which = brokers === undefined ? "" : `--brokers ${brokers} ${flags}`;
      console.error(`  replay: npm run sim -- ${which}--seed ${seed} --trace`);
    }
  }
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  console.log(`${totals.summary()}, ${failures} failed, in ${seconds} s`);
  for (const [name, times] of [...totals.marks].sort()) {
    console.log(`  ${String(times).padStart(8)}  ${name}`);
  }
  for (const name of totals.missing()) console.log(`         0  ${name}`);
  return failures === 0 ? 0 : 1;
};

const main = async (): Promise<number> => {
  let wanted: Wanted;
  try {
    wanted = parse();
  } catch (thrown) {
    console.error(`${thrown instanceof Error ? thrown.message : String(thrown)}\n${usage}`);
    return 2;
  }
  return simulate(wanted);
};

process.exitCode = await main();
