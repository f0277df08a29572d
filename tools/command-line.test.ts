import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

const run = (...args: string[]) => {
  const { status, stderr, stdout } = spawnSync(process.execPath, args, {
    ...{ cwd: root, encoding: "utf8", timeout: 30_000 },
  });
  return { status, stderr, stdout };
};

const programs = ["bench/run.ts", "test/fuzz/main.ts", "test/hostile/main.ts"];

test("a program says what it takes, on stdout when asked, and with exit 2 otherwise", () => {
  for (const program of [...programs, "test/mutants/main.ts"]) {
    const asked = run(program, "--help");
    assert.deepEqual([asked.status, asked.stderr], [0, ""], program);
    const wrong = run(program, "--nonsense");
    assert.deepEqual([wrong.status, wrong.stdout], [2, ""], program);
    assert.match(wrong.stderr, /^error: Unknown option '--nonsense'/);
    assert.ok(wrong.stderr.endsWith(asked.stdout), program);
  }
});

test("a campaign over nothing is refused: it would end at once, and look clean", () => {
  const wrong: readonly [string, string, string, RegExp][] = [
    ["test/fuzz/main.ts", "--minutes", "one", /use a number above 0/],
    ["test/fuzz/main.ts", "--seed", "-1", /use a whole number from 0 on|argument is ambiguous/],
    ["test/fuzz/main.ts", "--target", "nonsense", /use directories, live, or a part of/],
    ["test/hostile/main.ts", "--clients", "0", /use a number above 0/],
    ["bench/run.ts", "--rounds", "Infinity", /use a number above 0/],
    ["bench/run.ts", "--only", "nonsense", /choose from/],
    ["test/mutants/main.ts", "--jobs", "two", /use a number above 0/],
    ["test/mutants/main.ts", "--only", "nonsense", /chooses no mutant/],
  ];
  for (const [program, name, value, why] of wrong) {
    const { status, stderr } = run(program, name, value);
    assert.match(stderr, why, `${program} ${name}`);
    assert.equal(status, 2, `${program} ${name}`);
  }
});
