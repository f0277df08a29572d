/** `npm run test:chaos`, for half a minute of faults. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { skipped } from "./etcd.ts";

const main = fileURLToPath(new URL("../chaos/main.ts", import.meta.url));

test("half a minute of faults loses nothing, and stores nothing twice", { skip: skipped }, () => {
  // Of processes, links and disks, in any plan: machines have different faults.
  const args = [main, "--minutes", "0.5", "--seed", "1805"];
  const { status, stderr, stdout } = spawnSync(process.execPath, args, { encoding: "utf8" });
  assert.equal(status, 0, `${stdout}${stderr}`);
  assert.match(stdout, /(^|\n)seed 1805, 0\.5 min, in .*\n +\d+\.\d{3} s .* FAULT [a-z ]+: /);
  assert.match(stdout, /\nlost +0\n(.*\n)*violations +0\n$/);
});

test("a scenario that is not there, and a fault that is none, are refused", () => {
  for (const [flag, value] of [
    ["--scenario", "etcd-up"],
    ["--faults", "kill broker,kill people"],
  ] as const) {
    const { status, stderr } = spawnSync(process.execPath, [main, flag, value], {
      encoding: "utf8",
    });
    assert.equal(status, 2);
    assert.match(stderr, new RegExp(`^error: ${flag} (etcd-up|kill people) is not allowed: use `));
  }
});

test("a wrong command line ends with 2, and the usage", () => {
  const { status, stderr } = spawnSync(process.execPath, [main, "--minutes", "0"], {
    encoding: "utf8",
  });
  assert.equal(status, 2);
  assert.match(stderr, /^error: --minutes 0 is not allowed: .*\nnpm run test:chaos \[/);
});
