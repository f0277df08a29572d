import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { orderOf, UsageError } from "./command-line.ts";

const main = fileURLToPath(new URL("main.ts", import.meta.url));

const run = (...args: string[]) => {
  const { status, stderr, stdout } = spawnSync(process.execPath, [main, ...args], {
    encoding: "utf8",
    timeout: 20_000,
  });
  return { status, stderr, stdout };
};

const refusals: readonly (readonly [args: string, text: RegExp])[] = [
  ["--brokers 0", /^--brokers 0 is not allowed: use a whole number from 1 to 20$/],
  ["--brokers 21", /--brokers 21 is not allowed/],
  ["--brokers 1.5", /--brokers 1\.5 is not allowed/],
  ["--brokers 1e1", /--brokers 1e1 is not allowed/],
  ["--controllers ten", /^--controllers ten is not allowed: use a whole number from 1 to 9$/],
  ["--etcd 2", /^--etcd 2 is not allowed: use 1, 3 or 5$/],
  ["--etcd 15", /--etcd 15 is not allowed/],
  ["--base-port 80", /^--base-port 80 is not allowed: use a whole number from 1024 to 65000$/],
  ["--base-port=-1", /--base-port -1 is not allowed/],
  ["--replicas 3", /Unknown option '--replicas'/],
  ["--brokers", /argument missing/],
  ["destroy broker-0", /^there is no command destroy: use one of stop, start, restart, kill, /],
  ["kill", /^kill needs the NAME of a process$/],
  ["kill broker-0 broker-1", /^kill takes one NAME, not 2: repeat the command$/],
  ["kill broker-0 --dir /no/such/place", /^--dir \/no\/such\/place: there is no such directory$/],
];

for (const [args, text] of refusals) {
  test(`refused: ${args}`, () => {
    assert.throws(
      () => orderOf(args.split(" ")),
      (thrown) => {
        assert.ok(thrown instanceof UsageError);
        assert.match(thrown.message, text);
        return true;
      },
    );
  });
}

test("without arguments three brokers run on one etcd, in ./cluster", () => {
  const layout = { directory: resolve("cluster"), brokers: 3, controllers: 3, etcd: 1 };
  const expected = { ...layout, groupCoordinators: 3, basePort: 7400, etcdEndpoints: [] };
  assert.deepEqual(orderOf([]), { kind: "run", layout: expected });
});

test("an etcd that runs already takes the place of members", () => {
  const order = orderOf(["--etcd-endpoints", "http://a:1,http://b:2", "--etcd", "3"]);
  assert.ok(order.kind === "run");
  assert.equal(order.layout.etcd, 0);
  assert.deepEqual(order.layout.etcdEndpoints, ["http://a:1", "http://b:2"]);
});

test("a command names a process, and a directory that is there", () => {
  assert.deepEqual(orderOf(["pause", "etcd-0", "--dir", tmpdir()]), {
    ...{ kind: "act", directory: tmpdir(), command: { action: "pause", name: "etcd-0" } },
  });
});

test("help is printed; a wrong command line ends with 2, and the usage", () => {
  const help = run("--help");
  assert.deepEqual([help.status, help.stderr], [0, ""]);
  assert.match(help.stdout, /^npm run cluster \[-- \[--dir D\]/);
  const wrong = run("--brokers", "0");
  assert.equal(wrong.status, 2);
  assert.match(wrong.stderr, /^error: --brokers 0 is not allowed: .*\nnpm run cluster \[/);
});

test("a command where no cluster runs ends with 1, and says so", (context) => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-cluster-"));
  context.after(() => rmSync(directory, { recursive: true }));
  const { status, stderr } = run("kill", "broker-0", "--dir", directory);
  assert.equal(status, 1);
  assert.match(stderr, /^error: no cluster runs in \S+: connect ENOENT \S+control\.sock\n$/);
});
