/** `./millrace`: the command line of a clone. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { withDirectory } from "./server.ts";

const command = fileURLToPath(new URL("../../millrace", import.meta.url));

test("./millrace runs from anywhere, by any name, on the Node that npm installed", async () => {
  await withDirectory(async (directory) => {
    const link = join(directory, "mr");
    symlinkSync(command, link);
    const env = { ...process.env, PATH: "/usr/local/bin:/usr/bin:/bin" };
    const told = spawnSync(link, ["--version"], { cwd: directory, env, encoding: "utf8" });
    assert.match(told.stdout, /^millrace \d+\.\d+\.\d+ \(.+, Node \d+\.\d+\.\d+\)\n$/, told.stderr);
    assert.ok(told.stdout.includes(`Node ${process.versions.node})`), told.stdout);
    const words = ["topic", "create", "a b", "--partitions", "many"];
    const wrong = spawnSync(link, words, { cwd: directory, env, encoding: "utf8" });
    assert.equal(wrong.status, 2, wrong.stderr);
  });
});
