/** The pack of the command line, installed for all users of a machine, on every Node. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { nodes, tooOldNode } from "../../tools/pack/runtimes.ts";
import { root, version } from "../../tools/pack/workspace.ts";
import { ServerProcess, withDirectory } from "../integration/server.ts";
import { commandPack, installBelow, mustRun, run, type Surroundings, withNode } from "./outside.ts";

const runtimes = await nodes();

/** What it should take is 0.3 s; this machine may be doing much else. */
const startMsMax = 3000;
/** What every command loads. */
const startBytesMax = 512 * 1024;

/** The text of a file and of all that it imports statically. */
const graphOf = (file: string, seen = new Set<string>()): string => {
  if (seen.has(file)) return "";
  seen.add(file);
  const text = readFileSync(file, "utf8");
  const imports = [...text.matchAll(/^import .*?"(\.[^"]+)";$/gm)].map((match) => match[1] ?? "");
  return text + imports.map((path) => graphOf(join(dirname(file), path), seen)).join("");
};

const checkContent = (prefix: string): void => {
  const installed = join(prefix, "lib/node_modules/millrace");
  const { dependencies } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
  assert.ok(!Object.keys(dependencies).some((name) => name.startsWith("@millrace/")));
  for (const file of ["LICENSE", "NOTICES", "README.md"]) {
    assert.ok(existsSync(join(installed, file)), file);
  }
  for (const file of globSync("{millrace,parts/*}.js", { cwd: installed })) {
    const text = readFileSync(join(installed, file), "utf8");
    assert.ok(!text.includes(root) && !text.includes("sourceMappingURL"), file);
    assert.doesNotMatch(text, /(?:from|import|require\() ?"@millrace\//, file);
    assert.ok(!text.includes("./millrace "), file);
  }
  const [run = ""] = globSync("parts/run-*.js", { cwd: installed });
  const loaded = graphOf(join(installed, run));
  assert.ok(loaded.length <= startBytesMax, `${loaded.length} bytes`);
  // Neither gRPC nor the server.
  assert.doesNotMatch(loaded, /"node:(?:http2|sqlite)"/);
};

const medianMs = (command: readonly string[], surroundings: Surroundings): number => {
  const times = Array.from({ length: 5 }, () => {
    const started = performance.now();
    mustRun(command, surroundings);
    return performance.now() - started;
  });
  return times.sort((a, b) => a - b)[2] ?? Number.NaN;
};

const checkCommands = (
  context: TestContext,
  millrace: string,
  topic: string,
  env: Readonly<Record<string, string>>,
): void => {
  const starts = { bare: ["node", "-e", "1"], help: [millrace, "topic", "list", "--help"] };
  assert.match(mustRun([millrace, "--version"], { env }), new RegExp(`^millrace ${version} \\(`));
  mustRun([millrace, "topic", "create", topic, "--partitions", "2"], { env });
  assert.match(mustRun([millrace, "topic", "list"], { env }), new RegExp(`^${topic} `, "m"));
  const input = Array.from({ length: 1000 }, (_, n) => `line ${n}\n`).join("");
  mustRun([millrace, "produce", topic, "--compression", "lz4"], { env, input });
  const back = mustRun([millrace, "consume", topic, "--until-end"], { env });
  assert.deepEqual(back.split("\n").sort(), input.split("\n").sort());
  const { code, err } = run([millrace, "topic", "describe", `${topic}-not`], { env });
  assert.equal(code, 1);
  assert.match(err, /^error: UNKNOWN_TOPIC_OR_PARTITION: /);
  const [bareMs, helpMs] = [medianMs(starts.bare, { env }), medianMs(starts.help, { env })];
  context.diagnostic(`help after ${helpMs.toFixed(0)} ms, Node alone ${bareMs.toFixed(0)} ms`);
  assert.ok(helpMs <= startMsMax, `${helpMs} ms`);
};

/** What a Node prints that the package is too new for. */
const checkRefusal = async (
  context: TestContext,
  millrace: string,
  env: Readonly<Record<string, string>>,
): Promise<void> => {
  const { name, command: [node = ""] = [] } = await tooOldNode();
  await context.test(`${name} is refused`, { skip: node === "" && "cannot be had" }, () => {
    for (const args of [["--version"], ["topic", "list"], ["serve"]]) {
      const { code, out, err } = run([millrace, ...args], { env: { ...env, ...withNode(node) } });
      assert.deepEqual([code, out], [2, ""]);
      assert.equal(
        err,
        "error: UNSUPPORTED_OPERATION: Node 20.20.2 is too old: use Node 22 or newer\n",
      );
    }
  });
};

/** A log that is large enough is compacted in a thread, which has a file of its own. */
const checkThread = async (
  millrace: string,
  directory: string,
  env: Readonly<Record<string, string>>,
): Promise<void> => {
  const lagOf = (ms: number): string[] => ["--config", `min.compaction.lag.ms=${ms}`];
  const compacted = ["--config", "cleanup.policy=compact", "--config", "segment.bytes=8388608"];
  mustRun([millrace, "topic", "create", "keyed", ...compacted, ...lagOf(3_600_000)], { env });
  const lines = Array.from({ length: 45_000 }, (_, i) => `${i % 100}:${"value ".repeat(160)}\n`);
  mustRun([millrace, "produce", "keyed", "--key-separator", ":"], { env, input: lines.join("") });
  // All of it at once.
  mustRun([millrace, "topic", "alter", "keyed", ...lagOf(0)], { env });
  const sizeOf = (): number =>
    globSync(`${directory}/partitions/*/*.log`).reduce((sum, path) => sum + statSync(path).size, 0);
  for (let i = 0; i < 300 && sizeOf() > 20_000_000; i += 1) await sleep(100);
  assert.ok(sizeOf() < 20_000_000, `${sizeOf()} bytes are left`);
};

/** `millrace serve` of the package, from its start to its end. */
const checkServe = async (
  millrace: string,
  directory: string,
  caches: Readonly<Record<string, string>>,
): Promise<void> => {
  const listens = ["listen", "internal-listen", "health-listen", "http-listen"];
  const addresses = listens.flatMap((flag) => [`--${flag}`, "127.0.0.1:0"]);
  const soon = ["--log-cleaner-backoff", "200ms", "--checkpoint-interval", "1s"];
  const flags = [...addresses, ...soon, "--log-cleaner-io-max-bytes-per-second", "0"];
  const node = { ...caches, ...withNode(process.execPath) };
  const child = spawn(millrace, ["serve", "--data-dir", directory, ...flags], {
    env: { ...process.env, ...node },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  try {
    const told = join(directory, "endpoints.json");
    for (let i = 0; i < 400 && !existsSync(told); i += 1) await sleep(50);
    const env = { MILLRACE_BOOTSTRAP: JSON.parse(readFileSync(told, "utf8")).client, ...node };
    mustRun([millrace, "topic", "create", "a"], { env });
    mustRun([millrace, "produce", "a"], { env, input: "hello\n" });
    await checkThread(millrace, directory, env);
  } finally {
    child.kill("SIGTERM");
  }
  assert.equal(await ended, 0);
  assert.match(
    mustRun([millrace, "log", "verify", directory], { env: node }),
    /, [1-9]\d* records, /,
  );
};

test("the pack of the command line", { timeout: 280_000 }, async (context) => {
  await withDirectory(async (directory) => {
    const prefix = join(directory, "installed");
    installBelow(prefix, commandPack);
    const millrace = join(prefix, "bin/millrace");
    await context.test("holds what it should", () => checkContent(prefix));
    // The caches of this machine's user are left alone.
    const env = { XDG_CACHE_HOME: join(directory, "caches") };
    const server = new ServerProcess(join(directory, "data"));
    try {
      const there = { ...env, MILLRACE_BOOTSTRAP: (await server.ready()).client };
      for (const [i, { name, command }] of runtimes.entries()) {
        const skip = command === undefined && "cannot be had";
        await context.test(name, { skip }, (inner) => {
          const [node = ""] = command ?? [];
          checkCommands(inner, millrace, `topic-${i}`, { ...there, ...withNode(node) });
        });
      }
      assert.ok(existsSync(join(env.XDG_CACHE_HOME, "millrace/compile")));
    } finally {
      await server.kill("SIGTERM");
    }
    await checkRefusal(context, millrace, env);
    await context.test("serves", () => checkServe(millrace, join(directory, "served"), env));
    const [older] = runtimes.slice(0, -1).flatMap(({ command }) => command ?? []);
    const skip = older === undefined && "no older Node can be had";
    await context.test("says which Node the server needs", { skip }, () => {
      const { code, err } = run([millrace, "serve"], { env: { ...env, ...withNode(older ?? "") } });
      assert.equal(code, 1);
      assert.match(
        err,
        /^error: UNSUPPORTED_OPERATION: the server needs Node 26, and this is Node/,
      );
    });
  });
});
