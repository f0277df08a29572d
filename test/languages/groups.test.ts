/** A member on bare stubs of Python shares a group with one of the client. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "@millrace/client";
import { missing } from "../../tools/languages/fetch.ts";
import { ServerProcess, withDirectory } from "../integration/server.ts";
import { copyInto, root, runGuide, withKits } from "./copy.ts";

const limit = { timeout: 120_000, skip: missing("python") };

const until = async (what: string, holds: () => boolean): Promise<void> => {
  const endMs = performance.now() + 30_000;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`it does not come about: ${what}`);
    await sleep(20);
  }
};

test("Python and TypeScript share a group: every record once", limit, async (context) => {
  await withDirectory(async (cwd) => {
    copyInto(cwd);
    const env = withKits("python");
    runGuide("Python", { cwd, env });
    const server = new ServerProcess(join(cwd, "data"));
    context.after(() => server.kill("SIGKILL"));
    const { client: address } = await server.ready();
    await using client = await connect({ bootstrap: address });
    await client.admin.createTopic({ name: "events", partitions: 4 });
    const consumer = client.consumer({ group: "g", topics: ["events"], from: "earliest" });
    const ours: string[] = [];
    const reading = (async () => {
      for await (const record of consumer.records()) ours.push(record.text() ?? "");
    })();
    await until("one has all", () => consumer.assignment().length === 4);
    const args = ["examples/python/group.py", address, "events", "g"];
    const python = spawn("python", args, { cwd, env, stdio: ["pipe", "pipe", "inherit"] });
    context.after(() => python.kill("SIGKILL"));
    const left = new Promise<number | null>((resolve) => python.once("exit", resolve));
    let printed = "";
    python.stdout.on("data", (chunk: Buffer) => {
      printed += chunk.toString();
    });
    const theirs = (): string[] =>
      printed
        .split("\n")
        .slice(0, -1)
        .map((line) => line.split(" ")[3] ?? "");
    await until("two share four", () => consumer.assignment().length === 2);
    const producer = client.producer();
    const send = (from: number, to: number): Promise<unknown> =>
      Promise.all(
        Array.from({ length: to - from }, (_, i) => {
          const n = from + i;
          return producer.send({ topic: "events", partition: n % 4, key: "k", value: `v${n}` });
        }),
      );
    await send(0, 400);
    await until("both have their half", () => ours.length === 200 && theirs().length === 200);
    python.stdin.end();
    await send(400, 800);
    assert.equal(await left, 0, "it has left in order");
    await until("one has all again", () => consumer.assignment().length === 4);
    await until("all are read", () => ours.length + theirs().length >= 800);
    await consumer.close();
    await reading;
    const expected = Array.from({ length: 800 }, (_, n) => `v${n}`);
    assert.deepEqual([...ours, ...theirs()].sort(), expected.sort());
  });
});

test("a member needs no more than 60 lines", () => {
  const source = readFileSync(join(root, "examples/python/group.py"), "utf8");
  assert.ok(source.trimEnd().split("\n").length <= 60);
});
