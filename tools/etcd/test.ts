/**
 * `npm run test:etcd`: the tests that need a real etcd. Builds it first where it is missing;
 * without Go they are skipped by name. `npm run test:etcd -- PATTERN…` runs only the test files
 * whose path contains one of the patterns.
 */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { etcdPrograms, goVersion } from "./build.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const patterns = process.argv.slice(2);
if (goVersion() !== undefined) etcdPrograms();
const files = globSync("test/etcd/*.test.ts", { cwd: root })
  .filter((file) => patterns.length === 0 || patterns.some((pattern) => file.includes(pattern)))
  .sort();
if (files.length === 0) {
  console.error("no test file matches");
  process.exit(1);
}
const done = spawnSync(
  process.execPath,
  ["--test", "--test-concurrency=2", "--test-timeout=300000", "--test-reporter=spec", ...files],
  { cwd: root, stdio: "inherit" },
);
process.exit(done.status ?? 1);
