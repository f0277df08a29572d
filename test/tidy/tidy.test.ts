/** Rules of the repository that no compiler knows. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { errorCodeByName } from "@millrace/errors";

const root = fileURLToPath(new URL("../..", import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), "utf8");

const sources = globSync(
  ["packages/*/src/**/*.ts", "services/*/src/**/*.ts", "test/**/*.ts", "tools/*.ts"],
  {
    cwd: root,
  },
).sort();
const production = sources.filter(
  (path) => !/\.test\.ts$|^test\/|\/testing|\/contract\.ts$/.test(path),
);

const linesOf = (path: string): string[] => read(path).split("\n");

const none = (problems: readonly string[]): void => {
  assert.deepEqual(problems, []);
};

test("files have at most 600 lines, lines at most 125 columns", () => {
  const problems: string[] = [];
  for (const path of sources) {
    const lines = linesOf(path);
    if (lines.length > 601) problems.push(`${path}: ${lines.length} lines`);
    for (const [i, line] of lines.entries()) {
      // Mutants quote the sources, line breaks and all.
      if (line.length > 125 && !path.startsWith("test/mutants/lists/")) {
        problems.push(`${path}:${i + 1}: ${line.length} columns`);
      }
    }
  }
  none(problems);
});

const functionOpens = new RegExp(
  [
    "^( *)(export )?(const \\w+ = .*=> \\{",
    "(async )?function.*\\{",
    "(static )?(async )?\\*?#?\\w+(<.*>)?\\(.*\\{)$",
  ].join("|"),
);

/**
 * First and last line of every function, by indentation-free bracket matching of Biome's layout.
 */
const functionLengths = (path: string): [number, number][] => {
  const lines = linesOf(path);
  const found: [number, number][] = [];
  for (const [i, line] of lines.entries()) {
    const opens = functionOpens.exec(line);
    if (opens === null || /^ *(if|for|while|switch|describe|test|check)\b/.test(line)) continue;
    const end = lines.findIndex((other, k) => k > i && other.startsWith(`${opens[1]}}`));
    if (end > i) found.push([i + 1, end - i]);
  }
  return found;
};

test("functions have at most 70 lines", () => {
  const problems: string[] = [];
  for (const path of production) {
    for (const [line, length] of functionLengths(path)) {
      if (length > 70) problems.push(`${path}:${line}: ${length} lines`);
    }
  }
  none(problems);
});

/** Imports of a file: module names. */
const importsOf = (path: string): string[] =>
  [...read(path).matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1] ?? "");

/** Packages that each one may use. The order is the architecture's: lower ones first. */
const layers: Readonly<Record<string, readonly string[]>> = {
  proto: [],
  env: [],
  errors: ["proto"],
  config: ["errors"],
  record: ["env", "errors", "proto"],
  log: ["env", "errors", "proto", "record"],
  metadata: ["env", "errors", "proto", "record"],
  rpc: ["env", "errors", "proto", "record"],
  observability: ["env", "errors"],
  client: ["env", "errors", "proto", "record", "rpc"],
  sim: ["env", "errors", "proto", "record", "log", "metadata", "rpc", "client"],
  cli: ["client", "config", "env", "errors", "log", "proto", "record", "rpc", "standalone"],
  broker: ["config", "env", "errors", "log", "metadata", "observability", "proto", "record", "rpc"],
  controller: ["config", "env", "errors", "metadata", "observability", "proto", "record", "rpc"],
  standalone: [
    "broker",
    "config",
    "controller",
    "env",
    "errors",
    "log",
    "metadata",
    "observability",
    "proto",
    "record",
    "rpc",
  ],
};

const packageOf = (path: string): string => path.split("/")[1] ?? "";

test("packages import only what lies below them", () => {
  const problems: string[] = [];
  for (const path of production.filter((one) => !one.startsWith("tools/"))) {
    const own = packageOf(path);
    const allowed = layers[own];
    assert.ok(allowed !== undefined, `${own} has no layer`);
    for (const name of importsOf(path)) {
      const used = /^@millrace\/([a-z]+)/.exec(name)?.[1];
      if (used !== undefined && used !== own && !allowed.includes(used)) {
        problems.push(`${path} imports ${name}`);
      }
    }
  }
  none(problems);
});

/** Libraries with one importer. */
const soleImporters: Readonly<Record<string, string>> = {
  "@grpc/grpc-js": "rpc",
  etcd3: "metadata",
  pino: "observability",
  "pino-pretty": "observability",
  "prom-client": "observability",
  "@kubernetes/client-node": "operator",
  "node:sqlite": "metadata",
};

test("libraries that we wrap have one importer", () => {
  const problems: string[] = [];
  for (const path of production) {
    for (const name of importsOf(path)) {
      const owner = soleImporters[name];
      if (owner === undefined || owner === packageOf(path)) continue;
      // The lock of the data directory is a file of SQLite's, too.
      if (path === "services/standalone/src/data-directory.ts") continue;
      problems.push(`${path} imports ${name}`);
    }
  }
  none(problems);
});

/** Shell around the core: may use Node. */
const shells = [
  /\/node\//,
  /\/grpc\//,
  /^packages\/(cli|observability|proto)\//,
  /^packages\/client\/src\/(index\.ts|testing)/,
  /^services\/standalone\//,
  /^packages\/sim\/src\/(kernel|crash\/(main|suite))\.ts$/,
  /^tools\//,
];
const isCore = (path: string): boolean => !shells.some((shell) => shell.test(path));

test("core code knows no clock, no chance and no Node", () => {
  const banned = new RegExp(
    [
      "\\b(Date\\.now|new Date\\(|Math\\.random|setTimeout|setInterval|setImmediate|queueMicrotask",
      "performance\\.",
      "process\\.(?:env|exit|hrtime|nextTick|memoryUsage|uptime|on|once|std))",
    ].join("|"),
  );
  const problems: string[] = [];
  for (const path of production.filter(isCore)) {
    for (const name of importsOf(path)) {
      if (name.startsWith("node:")) problems.push(`${path} imports ${name}`);
    }
    for (const [i, line] of linesOf(path).entries()) {
      const code = line.replace(/\/\/.*$|^\s*\/?\*.*$/, "");
      if (banned.test(code)) problems.push(`${path}:${i + 1}: ${code.trim()}`);
    }
  }
  none(problems);
});

test("every package has a README", () => {
  const directories = ["packages", "services"].flatMap((parent) =>
    readdirSync(join(root, parent)).map((name) => `${parent}/${name}`),
  );
  none(directories.filter((directory) => !existsSync(join(root, directory, "README.md"))));
});

test("every `error: CODE` in documents and tests is in the enum", () => {
  const paths = globSync(
    ["*.md", "docs/**/*.md", "packages/*/README.md", "packages/*/src/**/*.ts"],
    { cwd: root },
  );
  const problems: string[] = [];
  for (const path of paths) {
    for (const match of read(path).matchAll(/error: ([A-Z][A-Z_]{3,})/g)) {
      const name = match[1] ?? "";
      if (name !== "CODE" && errorCodeByName(name) === undefined) problems.push(`${path}: ${name}`);
    }
  }
  none(problems);
});

test("nothing is left for later, and nothing is any", () => {
  const problems: string[] = [];
  for (const path of sources) {
    if (path === "test/tidy/tidy.test.ts") continue;
    for (const [i, line] of linesOf(path).entries()) {
      if (/\b(TODO|FIXME|XXX|HACK)\b/.test(line)) problems.push(`${path}:${i + 1}: ${line.trim()}`);
    }
  }
  none(problems);
});

test("generated code and references are current", () => {
  const done = spawnSync(process.execPath, ["tools/generate.ts", "--check"], {
    cwd: root,
    encoding: "utf8",
  });
  assert.equal(done.status, 0, done.stderr);
});
