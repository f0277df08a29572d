/**
 * `npm test`: lint, types, generated files, then every test. Ends with the runner's own summary.
 * `npm test -- PATTERN…` runs only the test files whose path contains one of the patterns.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runTests } from "./run-tests.ts";
import { filesOf } from "./tiers.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = (name: string): string => join(root, "node_modules", ".bin", name);
const patterns = process.argv.slice(2);

const run = (title: string, command: string, args: readonly string[]): void => {
  const started = Date.now();
  const done = spawnSync(command, args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, PATH: `${join(root, "node_modules", ".bin")}:${process.env["PATH"]}` },
  });
  if (done.status !== 0) {
    console.error(`${title} failed`);
    process.exit(done.status ?? 1);
  }
  console.error(`${title}: ok, ${((Date.now() - started) / 1000).toFixed(1)} s`);
};

if (patterns.length === 0) {
  run("lint (biome)", bin("biome"), ["check", "--error-on-warnings", "."]);
  run("types (tsc)", bin("tsc"), ["--noEmit", "-p", "tsconfig.json"]);
  run("protos (buf lint)", bin("buf"), ["lint"]);
}

runTests(root, filesOf(root, "test"), patterns);
