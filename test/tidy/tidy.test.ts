/** Rules of the repository that no compiler knows. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, globSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { errorCodeByName } from "@millrace/errors";
import { functionLengths } from "../../tools/function-lengths.ts";
import { allTestFiles, filesOf, type Tier, tiers } from "../../tools/tiers.ts";
import { importsOf } from "./imports.ts";
import { linesOf, none, production, read, root, sources } from "./repository.ts";

test("files have at most 600 lines", () => {
  const lengths = sources.map((path) => [path, linesOf(path).length - 1] as const);
  none(
    lengths.filter(([, lines]) => lines > 600).map(([path, lines]) => `${path}: ${lines} lines`),
  );
});

test("functions are measured with their signatures", () => {
  const lines = ["const f = (", "  a: number,", "): number => {", "  return a;", "};"];
  assert.deepEqual(functionLengths(lines), [[1, 5]]);
  assert.deepEqual(functionLengths(["  #g(): void {", "    if (a) {", "    }", "  }"]), [[1, 4]]);
});

test("functions have at most 70 lines", () => {
  const problems: string[] = [];
  for (const path of production) {
    for (const [line, length] of functionLengths(linesOf(path))) {
      if (length > 70) problems.push(`${path}:${line}: ${length} lines`);
    }
  }
  none(problems);
});

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
  server: ["config", "env", "errors", "metadata", "observability", "rpc"],
  sim: ["env", "errors", "proto", "record", "log", "metadata", "rpc", "client"],
  cli: [
    "client",
    "config",
    "env",
    "errors",
    "log",
    "proto",
    "record",
    "rpc",
    "server",
    "standalone",
  ],
  broker: [
    "config",
    "env",
    "errors",
    "log",
    "metadata",
    "observability",
    "proto",
    "record",
    "rpc",
    "server",
  ],
  controller: [
    "config",
    "env",
    "errors",
    "metadata",
    "observability",
    "proto",
    "record",
    "rpc",
    "server",
  ],
  "group-coordinator": [
    "broker",
    "config",
    "env",
    "errors",
    "metadata",
    "observability",
    "proto",
    "record",
    "rpc",
    "server",
  ],
  standalone: [
    "broker",
    "config",
    "controller",
    "env",
    "errors",
    "group-coordinator",
    "log",
    "metadata",
    "observability",
    "proto",
    "record",
    "rpc",
    "server",
  ],
  operator: ["client", "config", "env", "errors", "observability", "proto", "rpc", "server"],
};

const packageOf = (path: string): string => {
  const [top = "", name = ""] = path.split("/");
  return top === "operator" ? top : name;
};

test("packages import only what lies below them", () => {
  const problems: string[] = [];
  for (const path of production.filter((one) => !one.startsWith("tools/"))) {
    const own = packageOf(path);
    const allowed = layers[own];
    assert.ok(allowed !== undefined, `${own} has no layer`);
    for (const name of importsOf(path)) {
      const used = /^@millrace\/([a-z-]+)/.exec(name)?.[1];
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
  re2js: "group-coordinator",
};

test("libraries that we wrap have one importer", () => {
  const problems: string[] = [];
  for (const path of production) {
    for (const name of importsOf(path)) {
      const owner = soleImporters[name];
      if (owner === undefined || owner === packageOf(path)) continue;
      // The lock of the data directory is a file of SQLite's, too.
      if (path === "packages/server/src/node/data-directory.ts") continue;
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
  /^services\/standalone\/(?!src\/boot\/)/,
  /^services\/(broker|controller|group-coordinator)\/src\/process\/(main|server)\.ts$/,
  /^operator\/src\/(main|process\/server)\.ts$/,
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
  directories.push("operator");
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

test("no value passes for any type: nothing is cast to never", () => {
  none(production.filter((path) => /\bas never\b/.test(read(path))));
});

test("generated code and references are current", () => {
  const done = spawnSync(process.execPath, ["tools/generate.ts", "--check"], {
    cwd: root,
    encoding: "utf8",
  });
  assert.equal(done.status, 0, done.stderr);
});

test("every test file is run by one command, and every command that tests runs some", () => {
  const scripts: Record<string, string> = JSON.parse(read("package.json")).scripts;
  const runs = new Map<string, string[]>();
  for (const tier of Object.keys(tiers) as Tier[]) {
    assert.ok(scripts[tier] !== undefined, `npm run ${tier}`);
    const files = filesOf(root, tier);
    assert.notEqual(files.length, 0, tier);
    for (const file of files) runs.set(file, [...(runs.get(file) ?? []), tier]);
  }
  const all = allTestFiles(root);
  none(all.filter((file) => !runs.has(file)).map((file) => `${file} is run by nothing`));
  none([...runs].filter(([, by]) => by.length > 1).map(([file, by]) => `${file}: ${by.join()}`));
});

test("scripts look for node anew after the install", () => {
  // The shell remembers where it found node before there was one in node_modules.
  const { scripts }: { scripts: Record<string, string> } = JSON.parse(read("package.json"));
  const again = Object.entries(scripts).filter(
    ([, script]) =>
      script.includes("ensure.mjs") &&
      !/ensure\.mjs.* && (exec )?env (\w+=\S+ )*node /.test(script),
  );
  none(again.map(([name]) => name));
});
