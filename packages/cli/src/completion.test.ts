/** What may come next in a command line, and that a shell asks for it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { run } from "./run.ts";
import { Kept } from "./testing.ts";

const complete = async (words: readonly string[], home = "/nowhere"): Promise<string[]> => {
  const stdout = new Kept();
  await run(["complete", "--", ...words], {
    stdin: Readable.from([]),
    stdout,
    stderr: new Kept(),
    // Nobody listens there.
    env: { XDG_CONFIG_HOME: home, MILLRACE_BOOTSTRAP: "127.0.0.1:1" },
    signal: new AbortController().signal,
    progress: false,
    screen: false,
    columns: () => 80,
  });
  return stdout.text.split("\n").filter((line) => line !== "");
};

test("commands, flags and values come from the commands themselves", async () => {
  assert.deepEqual(await complete(["pro"]), ["produce", "profile"]);
  const commands = await complete([""]);
  assert.ok(commands.includes("topic") && !commands.includes("complete"), commands.join());
  assert.ok((await complete(["topic", "de"])).includes("delete-records"));
  assert.ok(!(await complete(["topic", ""])).includes("truncate"));
  assert.deepEqual(await complete(["produce", "t", "--key"]), ["--key-separator", "--key"]);
  assert.deepEqual(await complete(["produce", "t", "-z", ""]), ["none", "gzip", "zstd", "lz4"]);
  assert.deepEqual(await complete(["produce", "--acks", "l"]), ["leader"]);
  assert.deepEqual(await complete(["completion", ""]), ["bash", "zsh", "fish"]);
});

test("without a server there are no topics, and no error", async () => {
  assert.deepEqual(await complete(["consume", ""]), []);
  assert.deepEqual(await complete(["topic", "create", ""]), []);
});

test("profiles are known by name", async () => {
  const home = await mkdtemp(join(tmpdir(), "millrace-completion-"));
  try {
    const profiles = "profiles: {one: {bootstrap: a:1}, other: {bootstrap: b:1}}\n";
    await mkdir(join(home, "millrace"));
    await writeFile(join(home, "millrace", "profiles.yaml"), profiles);
    const named = await complete(["topic", "list", "--profile", "o"], home);
    assert.deepEqual(named, ["one", "other"]);
    assert.deepEqual(await complete(["profile", "use", "ot"], home), ["other"]);
  } finally {
    await rm(home, { recursive: true });
  }
});

test("bash asks for every word", async () => {
  const stdout = new Kept();
  await run(["completion", "bash"], {
    stdin: Readable.from([]),
    stdout,
    stderr: new Kept(),
    env: {},
    signal: new AbortController().signal,
    progress: false,
    screen: false,
    columns: () => 80,
  });
  const script = `
millrace() { printf '%s\\n' "asked:$*" "two words"; }
${stdout.text}
COMP_WORDS=(millrace topic describe "a b" lo)
COMP_CWORD=4
_millrace
printf '<%s>' "\${COMPREPLY[@]}"
complete -p millrace`;
  const { stdout: out, stderr } = spawnSync("bash", ["--norc", "-c", script], { encoding: "utf8" });
  assert.equal(stderr, "");
  // Words stay whole, in both directions.
  const words = "<asked:complete><--><topic><describe><a b><lo><two words>";
  assert.equal(out, `${words}complete -o default -F _millrace millrace\n`);
});
