/** `npm run test:chaos`, for half a minute of faults. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { skipped } from "./etcd.ts";

const main = fileURLToPath(new URL("../chaos/main.ts", import.meta.url));

test("half a minute of faults loses nothing, and stores nothing twice", { skip: skipped }, () => {
  const args = [main, "--minutes", "0.5", "--seed", "5"];
  const { status, stderr, stdout } = spawnSync(process.execPath, args, { encoding: "utf8" });
  assert.equal(status, 0, `${stdout}${stderr}`);
  assert.match(stdout, /^seed 5, 0\.5 min, in .*\n +\d+\.\d{3} s .* FAULT kill controller: /);
  assert.match(stdout, /\nlost +0\n(.*\n)*violations +0\n$/);
});

test("a wrong command line ends with 2, and the usage", () => {
  const { status, stderr } = spawnSync(process.execPath, [main, "--minutes", "0"], {
    encoding: "utf8",
  });
  assert.equal(status, 2);
  assert.match(stderr, /^error: --minutes 0 is not allowed: .*\nnpm run test:chaos \[/);
});
