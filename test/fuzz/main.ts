/**
 * `npm run fuzz -- --minutes N [--seed S] [--target NAME] [--input N]`. The time is shared between
 * codecs, data directories and a live server; `--target` is `directories`, `live`, or a part of
 * codecs' names. `--input` makes one input of the former two again. Exits with 1 and the inputs
 * when something was found.
 */
import { parseArgs } from "node:util";
import { directorySummary, fuzzDirectories } from "./directories/campaign.ts";
import { fuzzLive, liveSummary } from "./live/campaign.ts";
import { type Finding, fuzz, summary } from "./run.ts";
import { targets } from "./targets.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string" },
    target: { type: "string", default: "" },
    input: { type: "string" },
  },
});
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
const input = values.input === undefined ? undefined : Number(values.input);
const only = values.target;

/** What a part of the fuzzer counted and found. */
interface Done {
  readonly text: string;
  readonly findings: readonly Finding[];
}

type GoOn = () => boolean;

const codecs = async (goOn: GoOn): Promise<Done> => {
  const { counts, findings } = await fuzz(await targets(), { seed, only, goOn });
  return { text: summary(counts), findings };
};

const directories = async (goOn: GoOn): Promise<Done> => {
  const { counts, findings } = await fuzzDirectories({ seed, goOn, input, findingsMax: 10 });
  return { text: directorySummary(counts), findings };
};

const live = async (goOn: GoOn): Promise<Done> => {
  const { counts, findings } = await fuzzLive({ seed, goOn, input, findingsMax: 10 });
  return { text: liveSummary(counts), findings };
};

const chosen =
  only === ""
    ? [codecs, directories, live]
    : [only === "directories" ? directories : only === "live" ? live : codecs];

console.log(`seed ${seed}`);
let found = 0;
for (const part of chosen) {
  const endMs = performance.now() + (Number(values.minutes) * 60_000) / chosen.length;
  const { text, findings } = await part(() => performance.now() < endMs);
  console.log(text);
  for (const { target, input: what, error } of findings)
    console.log(`\nFOUND in ${target}\n${what}\n${error}`);
  found += findings.length;
}
console.log(`findings: ${found}`);
process.exit(found === 0 ? 0 : 1);
