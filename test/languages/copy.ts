/** A copy of what a person outside needs of the repository: the .proto files and the examples. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Kit, kitDirectory } from "../../tools/languages/fetch.ts";

export const root = fileURLToPath(new URL("../..", import.meta.url));
const guide = readFileSync(join(root, "docs/guides/any-language.md"), "utf8");

/** Copies into a directory, without stubs that somebody has made in the clone. */
export const copyInto = (directory: string): void => {
  for (const name of ["proto", "examples"]) {
    const filter = (path: string): boolean => !path.endsWith("/stubs");
    cpSync(join(root, name), join(directory, name), { recursive: true, filter });
  }
};

/** The environment with the programs of some kits first. */
export const withKits = (...kits: readonly Kit[]): NodeJS.ProcessEnv => {
  const own = kits.flatMap((kit) => {
    const directory = kitDirectory(kit) ?? "";
    return [join(directory, "bin"), directory];
  });
  const path = [...own, process.env["PATH"]].join(delimiter);
  return { ...process.env, PATH: path, GOTOOLCHAIN: "local", GOFLAGS: "-buildvcs=false" };
};

export interface Surroundings {
  readonly cwd: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
}

/** What a command prints that must succeed. */
export const mustRun = (
  [command = "", ...args]: readonly string[],
  { cwd, env = process.env, input = "" }: Surroundings,
): string => {
  const done = spawnSync(command, args, { cwd, env, input, encoding: "utf8", timeout: 240_000 });
  const what = `${command} ${args.join(" ")}: ${done.status ?? done.signal}\n`;
  assert.equal(done.status, 0, `${what}${done.stdout}${done.stderr}${done.error?.message ?? ""}`);
  return done.stdout;
};

/** The commands that the guide has below a heading. */
const guideCommands = (heading: string): string => {
  const [, section = ""] = guide.split(new RegExp(`\\n###? ${heading}\\n`));
  const [, commands] = /```sh\n([\s\S]*?)```/.exec(section.split("\n#")[0] ?? "") ?? [];
  assert.ok(commands !== undefined, `the guide has no commands for ${heading}`);
  return commands;
};

/** Runs the commands that the guide has below a heading, as they are. */
export const runGuide = (heading: string, surroundings: Surroundings): void => {
  mustRun(["bash", "-euc", guideCommands(heading)], surroundings);
};

/** The same, of a server that is elsewhere, and of another topic. Returns what they print. */
export const runGuideAt = (
  heading: string,
  [endpoint, topic]: readonly [endpoint: string, topic: string],
  surroundings: Surroundings,
): string => {
  const commands = guideCommands(heading).replaceAll("localhost:7400", endpoint);
  return mustRun(["bash", "-euc", commands.replaceAll('"clicks"', `"${topic}"`)], surroundings);
};

/** The guide's table of keys: the hash, unsigned, and the partitions of 3 and of 12. */
export const guideKeys = (): readonly (readonly [string, number, number, number])[] =>
  [...guide.matchAll(/^\| `"(.*)"` \| (\d+) \| (\d+) \| (\d+) \|$/gm)].map(
    ([, key = "", hash, of3, of12]) => [key, Number(hash), Number(of3), Number(of12)],
  );
