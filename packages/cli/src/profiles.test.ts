/** Names for clusters: the file, and which address is used. */
import assert from "node:assert/strict";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { test } from "node:test";
import type { Io } from "./io.ts";
import { bootstrapOf, profilesPath } from "./profiles.ts";
import { run } from "./run.ts";
import { Kept } from "./testing.ts";

const withHome = async (
  body: (of: {
    io: (env?: Io["env"]) => Io;
    millrace: (...argv: string[]) => Promise<{ code: number; out: string; err: string }>;
  }) => Promise<void>,
): Promise<void> => {
  const home = await mkdtemp(join(tmpdir(), "millrace-profiles-"));
  const io = (env: Io["env"] = {}): Io => ({
    stdin: Readable.from([]),
    stdout: new PassThrough(),
    stderr: new PassThrough(),
    env: { XDG_CONFIG_HOME: home, ...env },
    signal: new AbortController().signal,
    progress: false,
    screen: false,
    columns: () => 80,
  });
  const millrace = async (...argv: string[]) => {
    const [stdout, stderr] = [new Kept(), new Kept()];
    const code = await run(argv, { ...io(), stdout, stderr });
    return { code, out: stdout.text, err: stderr.text };
  };
  try {
    await body({ io, millrace });
  } finally {
    await rm(home, { recursive: true });
  }
};

test("the nearest word names the servers", async () => {
  await withHome(async ({ io, millrace }) => {
    const of = async (flags: Parameters<typeof bootstrapOf>[1], env: Io["env"] = {}) =>
      (await bootstrapOf(io(env), flags)).bootstrap;
    assert.equal(await of({}), "localhost:7400");
    await millrace("profile", "add", "a", "--bootstrap", "a:1");
    await millrace("profile", "add", "b", "--bootstrap", "b:1,b:2");
    // The first one is the current one.
    assert.equal(await of({}), "a:1");
    assert.equal(await of({}, { MILLRACE_PROFILE: "b" }), "b:1,b:2");
    // An empty variable counts as unset.
    assert.equal(await of({}, { MILLRACE_PROFILE: "", MILLRACE_BOOTSTRAP: "" }), "a:1");
    assert.equal(await of({}, { MILLRACE_PROFILE: "b", MILLRACE_BOOTSTRAP: "e:1" }), "e:1");
    assert.equal(await of({ profile: "b" }, { MILLRACE_BOOTSTRAP: "e:1" }), "b:1,b:2");
    assert.equal(await of({ bootstrap: "f:1" }, { MILLRACE_BOOTSTRAP: "e:1" }), "f:1");
    await assert.rejects(of({ bootstrap: "f:1", profile: "b" }), /not both/);
    await assert.rejects(of({ profile: "c" }), /no profile c: use one of a, b/);
  });
});

test("profiles are added, changed, used, listed and deleted", async () => {
  await withHome(async ({ io, millrace }) => {
    assert.match((await millrace("profile", "list")).err, /no profiles in .*profiles.yaml/);
    assert.match((await millrace("profile", "add", "a", "-b", "a:1")).err, /a is the current one/);
    assert.match((await millrace("profile", "add", "a", "-b", "a:2")).err, /^changed profile a\n$/);
    await millrace("profile", "add", "b", "-b", "b:1");
    assert.match((await millrace("profile", "use", "b")).err, /b is the current one: b:1/);
    const { out } = await millrace("profile", "list", "--output", "json");
    assert.deepEqual(JSON.parse(out), [
      { name: "a", bootstrap: "a:2", current: false },
      { name: "b", bootstrap: "b:1", current: true },
    ]);
    assert.equal((await stat(profilesPath(io()))).mode & 0o777, 0o600);
    assert.equal((await millrace("profile", "delete", "b", "c")).code, 2);
    assert.equal((await millrace("profile", "delete", "b")).code, 0);
    assert.equal((await bootstrapOf(io(), {})).bootstrap, "localhost:7400");
  });
});

test("what cannot be a profile is refused, and nothing is written", async () => {
  await withHome(async ({ io, millrace }) => {
    for (const argv of [
      ["a b", "-b", "a:1"],
      ["", "-b", "a:1"],
      ["../a", "-b", "a:1"],
      ["a", "-b", "a"],
    ]) {
      assert.equal((await millrace("profile", "add", ...argv)).code, 2, argv.join(" "));
    }
    await assert.rejects(stat(profilesPath(io())), /ENOENT/);
  });
});

test("a file that is no list of profiles is named", async () => {
  await withHome(async ({ io, millrace }) => {
    await millrace("profile", "add", "a", "-b", "a:1");
    const wrong = ["[1]", "profiles: 3", "profiles: {a: {}}", "current: 3", "{{", "profiles:\n- a"];
    for (const text of wrong) {
      await writeFile(profilesPath(io()), text);
      const { code, err } = await millrace("topic", "list");
      assert.equal(code, 1, text);
      assert.match(
        err,
        /^error: INVALID_CONFIG: .*profiles.yaml .*: mend it, or remove it\n$/,
        text,
      );
    }
    await writeFile(profilesPath(io()), "");
    assert.equal((await bootstrapOf(io(), {})).bootstrap, "localhost:7400");
  });
});

test("an address that is no address is told with where it stands", async () => {
  await withHome(async ({ io, millrace }) => {
    await millrace("profile", "add", "a", "-b", "a:1");
    await writeFile(profilesPath(io()), "current: a\nprofiles: {a: {bootstrap: nowhere}}\n");
    const { code, err } = await millrace("topic", "list");
    assert.deepEqual(
      [code, err],
      [2, 'error: INVALID_REQUEST: profile a "nowhere": use HOST:PORT, such as nowhere:7400\n'],
    );
  });
});
