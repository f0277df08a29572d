/**
 * What Dockerfile and .dockerignore say, carried out without an engine: images are made of this,
 * and so is what the tests start.
 */
import assert from "node:assert/strict";
import { cpSync, existsSync, readFileSync } from "node:fs";
import { join, matchesGlob, relative } from "node:path";
import { root } from "../pack/workspace.ts";

const read = (name: string): string => readFileSync(join(root, name), "utf8");

export interface Instruction {
  readonly word: string;
  readonly rest: string;
}

const words = new Set(
  "ARG FROM WORKDIR COPY RUN ENV USER VOLUME EXPOSE STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD".split(
    " ",
  ),
);

/** The instructions of the Dockerfile, by stage; the first ones, before any stage, are stage 0. */
export const stages = (): Instruction[][] => {
  const lines = read("Dockerfile").replaceAll(/^\s*#.*\n/gm, "");
  const found: Instruction[][] = [[]];
  for (const line of lines.replaceAll(/\\\n\s*/g, "").split("\n")) {
    if (line.trim() === "") continue;
    const [, word = "", rest = ""] = /^([A-Z]+) (\S.*)$/.exec(line) ?? [];
    assert.ok(words.has(word), `no instruction: ${line}`);
    if (word === "FROM") found.push([]);
    found.at(-1)?.push({ word, rest });
  }
  return found;
};

/** What an instruction that stands once in a stage says. */
export const only = (stage: readonly Instruction[], word: string): string => {
  const all = stage.filter((one) => one.word === word);
  assert.equal(all.length, 1, `${all.length} times ${word}`);
  return all[0]?.rest ?? "";
};

/** A command in exec form: no shell is needed. */
export const execForm = (text: string): string[] => {
  const command: unknown = JSON.parse(text.slice(text.indexOf("[")));
  assert.ok(Array.isArray(command) && command.every((one) => typeof one === "string"), text);
  return command;
};

/** The variables of a stage. */
export const variables = (stage: readonly Instruction[]): Record<string, string> =>
  Object.fromEntries(
    only(stage, "ENV")
      .split(/\s+/)
      .map((pair): [string, string] => {
        const at = pair.indexOf("=");
        return [pair.slice(0, at), pair.slice(at + 1)];
      }),
  );

const rules = read(".dockerignore")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"));

/** Whether a path of the clone reaches the builder: the last rule that fits decides. */
export const isSent = (path: string): boolean => {
  const parts = path.split("/");
  const paths = parts.map((_, i) => parts.slice(0, i + 1).join("/"));
  let sent = true;
  for (const rule of rules) {
    const pattern = rule.replace(/^!/, "");
    // Docker's star takes a leading dot, too.
    const fits = pattern === "*" || paths.some((one) => matchesGlob(one, pattern));
    if (fits) sent = rule.startsWith("!");
  }
  return sent;
};

/** Does what the COPY instructions of a stage say. `from` are directories of other stages. */
export const copyStage = (
  stage: readonly Instruction[],
  into: string,
  from: Readonly<Record<string, string>>,
): void => {
  const workdir = only(stage, "WORKDIR");
  for (const { rest } of stage.filter(({ word }) => word === "COPY")) {
    const parts = rest.split(/\s+/);
    const flag = parts[0]?.startsWith("--from=") ? parts.shift() : undefined;
    const to = join(into, parts.pop() ?? "");
    for (const source of parts) {
      const base = flag === undefined ? root : from[flag.slice("--from=".length)];
      assert.ok(base !== undefined, rest);
      const path = join(base, flag === undefined ? source : relative(workdir, source));
      assert.ok(existsSync(path), `COPY ${rest}: ${source} is not there`);
      const filter = (one: string): boolean =>
        flag !== undefined || one === path || isSent(relative(root, one));
      assert.ok(flag !== undefined || isSent(source.replace(/\/$/, "")), `${source} is ignored`);
      // A directory's content is copied, a file keeps its name.
      const target = source.endsWith("/") ? to : join(to, source);
      cpSync(path, target, { recursive: true, filter, verbatimSymlinks: true });
    }
  }
};
