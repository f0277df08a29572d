import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startEnv, startFlags, startVariables } from "./start-command.ts";

test("Node takes the flags of npm start, and keeps what it has compiled", () => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-test-"));
  try {
    const env = { ...startEnv(), NODE_COMPILE_CACHE: directory };
    const args = [...startFlags(), new URL("start-command.ts", import.meta.url).pathname];
    const run = spawnSync(process.execPath, args, { env, encoding: "utf8" });
    assert.equal(run.status, 0, run.stderr);
    const [version = ""] = readdirSync(directory);
    assert.notEqual(readdirSync(join(directory, version)).length, 0);
  } finally {
    rmSync(directory, { recursive: true });
  }
  assert.ok(startFlags().includes("--v8-pool-size=1"));
  // One of the two alone would make the other a constant: each large buffer is mapped and unmapped.
  const names = ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "NODE_COMPILE_CACHE"];
  assert.deepEqual(Object.keys(startVariables()).toSorted(), names);
});
