/** `npm run fuzz -- --minutes N [--seed S] [--target NAME]`. Exits with 1 and the inputs when something was found. */
import { parseArgs } from "node:util";
import { fuzz, summary } from "./run.ts";
import { targets } from "./targets.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string" },
    target: { type: "string", default: "" },
  },
});
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
const endMs = performance.now() + Number(values.minutes) * 60_000;
console.log(`seed ${seed}`);
const { counts, findings } = await fuzz(await targets(), {
  seed,
  only: values.target,
  goOn: () => performance.now() < endMs,
});
console.log(summary(counts));
for (const { target, input, error } of findings)
  console.log(`\nFOUND in ${target}\n${input}\n${error}`);
console.log(`findings: ${findings.length}`);
process.exit(findings.length === 0 ? 0 : 1);
