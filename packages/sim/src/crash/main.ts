/**
 * The crash suite as a campaign: seed after seed, until the time is over or a promise is broken too
 * often.
 */
import { parseArgs } from "node:util";
import { Counts } from "./faults.ts";
import { allKinds, kinds, switchesWithout } from "./kinds.ts";
import { explore, Finding } from "./suite.ts";

const usage = `node packages/sim/src/crash/main.ts [--minutes M] [--seed S] [--seeds N] [--step T] …
  --seed S      first seed (1)
  --seeds N     how many seeds; without it as many as the minutes allow
  --minutes M   end after so many minutes (1)
  --every K     crash at every K-th I/O step (1)
  --step T      crash at this step of the seed alone
  --operations N  operations of the first life (60)
  --without LIST  kinds of events to leave out, of ${allKinds.join(", ")}
  --trace       say what happens
  --findings N  end after so many findings (10)`;

const { values: options } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    seeds: { type: "string" },
    minutes: { type: "string", default: "1" },
    every: { type: "string", default: "1" },
    step: { type: "string" },
    operations: { type: "string", default: "60" },
    without: { type: "string", default: "" },
    findings: { type: "string", default: "10" },
    trace: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (options.help) {
  console.log(usage);
  for (const kind of allKinds) console.log(`  ${kind.padEnd(30)} ${kinds[kind]}`);
  process.exit(0);
}

type Numbered = "seed" | "seeds" | "minutes" | "every" | "step" | "operations" | "findings";

/** A campaign of no minutes, or of no crashes, would look clean. */
const above = (least: number, name: Numbered): number => {
  const value = Number(options[name]);
  if (value > least && Number.isFinite(value)) return value;
  console.error(`error: --${name} ${options[name]} is not allowed: use a number above ${least}`);
  console.error(usage);
  process.exit(2);
};

const firstSeed = above(-1, "seed");
const seeds = options.seeds === undefined ? Number.POSITIVE_INFINITY : above(0, "seeds");
const endMs = Date.now() + above(0, "minutes") * 60_000;
const every = above(0, "every");
const only = options.step === undefined ? undefined : above(-1, "step");
const operations = above(0, "operations");
const findingsMax = above(0, "findings");
const names = options.without.split(",").filter((name) => name !== "");
const counts = new Counts();
const findings: Finding[] = [];

let ran = 0;
for (
  let seed = firstSeed;
  ran < (only === undefined ? seeds : 1) && Date.now() < endMs;
  seed += 1
) {
  const crashesAt = (step: number): boolean =>
    only === undefined ? (step + seed) % every === 0 : step === only;
  ran += 1;
  try {
    const plan = { seed, on: switchesWithout(names), counts, operations, crashesAt };
    await explore(options.trace ? { ...plan, trace: console.log } : plan);
  } catch (thrown) {
    if (!(thrown instanceof Finding)) throw thrown;
    findings.push(thrown);
    console.log(thrown.message);
    if (only !== undefined) console.log(thrown.cause);
    if (findings.length >= findingsMax) break;
  }
}
for (const [what, count] of counts.entries()) console.log(`${String(count).padStart(9)} ${what}`);
console.log(`${ran} seeds, ${findings.length} findings`);
process.exitCode = findings.length > 0 ? 1 : 0;
