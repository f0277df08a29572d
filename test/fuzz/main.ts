/**
 * `npm run fuzz`: as `usage` says. Exits with 1 and the inputs when something was found, with 2 for
 * a wrong command line.
 */
import { above0, commandLine, refuse, whole } from "../../tools/command-line.ts";
import { directorySummary, fuzzDirectories } from "./directories/campaign.ts";
import { fuzzLive, liveSummary } from "./live/campaign.ts";
import { type Finding, fuzz, summary } from "./run.ts";
import { targets } from "./targets.ts";

const usage = `npm run fuzz [-- [--minutes N] [--seed S] [--target NAME] [--input N]]

  --minutes N    shared between codecs, data directories and a live server (1)
  --seed S       another one each time, which the first line says
  --target NAME  directories, live, or a part of codecs' names (all)
  --input N      that input of directories or live alone, once more`;

const values = commandLine(usage, {
  minutes: { type: "string", default: "1" },
  seed: { type: "string" },
  target: { type: "string", default: "" },
  input: { type: "string" },
});
const minutes = above0("minutes", values.minutes, usage);
const seed = whole("seed", values.seed ?? String(Date.now() % 2 ** 31), usage);
const input = values.input === undefined ? undefined : whole("input", values.input, usage);
const only = values.target;

/** What a part of the fuzzer counted and found. */
interface Done {
  readonly text: string;
  readonly findings: readonly Finding[];
}

type GoOn = () => boolean;

const codecs = async (goOn: GoOn): Promise<Done> => {
  const all = await targets();
  if (!all.some(({ name }) => name.includes(only))) {
    const names = all.map(({ name }) => name).join(", ");
    refuse(`--target ${only} is unknown: use directories, live, or a part of ${names}`, usage);
  }
  const { counts, findings } = await fuzz(all, { seed, only, goOn });
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
  const endMs = performance.now() + (minutes * 60_000) / chosen.length;
  const { text, findings } = await part(() => performance.now() < endMs);
  console.log(text);
  for (const { target, input: what, error } of findings)
    console.log(`\nFOUND in ${target}\n${what}\n${error}`);
  found += findings.length;
}
console.log(`findings: ${found}`);
process.exit(found === 0 ? 0 : 1);
