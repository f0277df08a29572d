/** The command line as its own process, against a real server. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { runMillrace as runWith, startMillrace as start, until, withServer } from "./command.ts";
import { ServerProcess, withDirectory } from "./server.ts";

test("a signal ends an idle produce, which stores what it has and says so", {
  timeout: 60_000,
}, async () => {
  await withServer(async (endpoint) => {
    await runWith(endpoint, "", "topic", "create", "t");
    const signals = [
      ["SIGINT", 130],
      ["SIGTERM", 143],
      ["SIGHUP", 129],
    ] as const;
    for (const [signal, code] of signals) {
      const { child, ended } = start(endpoint, "produce", "t", "--print-offsets");
      let printed = "";
      child.stdout?.on("data", (chunk: Buffer) => {
        printed += chunk.toString();
      });
      child.stdin?.write("one\ntwo\n");
      await until(() => printed.split("\n").length === 3);
      child.kill(signal);
      const result = await Promise.race([ended, sleep(5000)]);
      child.kill("SIGKILL");
      assert.equal(result?.code, code, signal);
      assert.match(result?.err ?? "", /^2 records, /m);
    }
    const { out } = await runWith(endpoint, "", "consume", "t", "--until-end");
    assert.equal(out, "one\ntwo\n".repeat(3));
  });
});

test("produce stores all its input when nobody reads the offsets any more", {
  timeout: 60_000,
}, async () => {
  await withServer(async (endpoint) => {
    await runWith(endpoint, "", "topic", "create", "t");
    const { child, ended } = start(endpoint, "produce", "t", "--print-offsets");
    child.stdout?.once("data", () => child.stdout?.destroy());
    child.stdin?.end("x\n".repeat(50_000));
    const { code, err } = await ended;
    assert.equal(code, 0);
    assert.match(err, /closed the pipe/);
    assert.match(err, /^50000 records, /m);
  });
});

test("consume reads partitions that are added while it runs", { timeout: 60_000 }, async () => {
  await withServer(async (endpoint) => {
    await runWith(endpoint, "", "topic", "create", "t");
    await runWith(endpoint, "first\n", "produce", "t");
    const { child, ended } = start(endpoint, "consume", "t", "--from", "earliest");
    let printed = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      printed += chunk.toString();
    });
    await until(() => printed === "first\n");
    await runWith(endpoint, "", "topic", "alter", "t", "--partitions", "3");
    await runWith(endpoint, "new\n", "produce", "t", "--partition", "2");
    await until(() => printed === "first\nnew\n");
    child.kill("SIGINT");
    assert.equal((await ended).code, 130);
  });
});

test("damage is an exit code although nobody reads the report", { timeout: 60_000 }, async () => {
  await withDirectory(async (directory) => {
    const server = new ServerProcess(directory);
    const { client: endpoint } = await server.ready();
    await runWith(endpoint, "", "topic", "create", "t");
    await runWith(endpoint, "a\nb\nc\n", "produce", "t");
    await server.kill("SIGTERM");
    const log = readdirSync(directory, { recursive: true, encoding: "utf8" }).find((path) =>
      path.endsWith(".log"),
    );
    assert.ok(log !== undefined);
    const bytes = readFileSync(join(directory, log));
    const at = bytes.indexOf("b", Math.floor(bytes.length / 2));
    bytes.writeUInt8(bytes.readUInt8(at < 0 ? 40 : at) ^ 0xff, at < 0 ? 40 : at);
    writeFileSync(join(directory, log), bytes);
    const { child, ended } = start(endpoint, "log", "verify", directory);
    child.stdout?.destroy();
    const { code, err } = await ended;
    assert.match(err, /^error: CORRUPT_MESSAGE: /m);
    assert.equal(code, 1);
  });
});

test("brokers are cordoned and drained, and partitions moved, by command", {
  timeout: 120_000,
}, async () => {
  await withServer(async (endpoint) => {
    const millrace = (...args: string[]) => runWith(endpoint, "", ...args);
    const done = async (...args: string[]): Promise<string> => {
      const { code, out, err } = await millrace(...args);
      assert.equal(code, 0, `${args.join(" ")}: ${err}`);
      return out + err;
    };
    const refused = async (expected: RegExp, ...args: string[]): Promise<void> => {
      const { code, err } = await millrace(...args);
      assert.equal(code, 1, args.join(" "));
      assert.match(err, expected);
    };
    await done("topic", "create", "t");
    assert.match(await done("broker", "list"), /INTENT.*\n0 +\S+ +- +active +yes +1 +1 +0\n/);
    assert.match(await done("broker", "cordon", "0"), /broker 0 gets no new replicas/);
    assert.match(await done("broker", "list", "--output", "json"), /"intent": "cordoned"/);
    await refused(/INVALID_REPLICATION_FACTOR/, "topic", "create", "u");
    await refused(/REASSIGNMENT_IN_PROGRESS/, "broker", "decommission", "0");
    await refused(/too few active brokers/, "broker", "drain", "0", "--wait");
    // Nobody reads stderr: work and exit code are the same.
    const unheard = start(endpoint, "broker", "drain", "0", "--wait");
    unheard.child.stderr?.destroy();
    assert.equal((await unheard.ended).code, 1);
    assert.match(await done("broker", "uncordon", "0"), /broker 0 is active/);
    await done("topic", "create", "u");
    for (const [code, ...words] of [
      [0, "topic", "create", "quiet", "--if-not-exists"],
      [0, "topic", "alter", "t", "--config", "retention.ms=1d"],
      [1, "topic", "create", "t"],
      [2, "topic", "create"],
    ] as const) {
      const command = start(endpoint, ...words);
      command.child.stderr?.destroy();
      assert.equal((await command.ended).code, code, words.join(" "));
    }
    const reassign = (...flags: string[]) => [
      "topic",
      "reassign",
      "t",
      "--partition",
      "0",
      ...flags,
    ];
    await refused(/INVALID_REPLICA_ASSIGNMENT/, ...reassign("--replicas", "0,1"));
    await refused(/NO_REASSIGNMENT_IN_PROGRESS/, ...reassign("--cancel"));
    assert.match(await done(...reassign("--replicas", "0")), /t-0 moves to brokers 0/);
    assert.match(await done("topic", "reassign", "t", "--list"), /PARTITION +REPLICAS/);
  });
});
