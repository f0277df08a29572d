import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { commandInside, laboratoryMissing } from "./laboratory.ts";

const skip = laboratoryMissing() ?? false;
const trial = fileURLToPath(new URL("network-trial.ts", import.meta.url));

test("links lose one direction, refuse, are slow, and heal; other links stay", { skip }, () => {
  const { args, command, env } = commandInside(trial, []);
  const { stderr, stdout } = spawnSync(command, args, { encoding: "utf8", env, timeout: 60_000 });
  assert.equal(stdout, "ok\n", stderr);
});
