/** Every attack once: it ends as it should, and a client that behaves goes on. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Client, connect, type Producer } from "@millrace/client";
import { ServerProcess, withDirectory } from "../integration/server.ts";
import { attacks } from "./attacks.ts";
import type { Target } from "./wire.ts";

/** As in production, only less patient. */
const flags = [
  ...["--preface-timeout", "500ms", "--request-timeout", "1s", "--slow-reader-timeout", "1s"],
];

let target: Target;
let client: Client;
let producer: Producer;
let server: ServerProcess;
let http = "";
/** What the server said when it died. */
let crash: string | undefined;
let finish: () => void = () => {};
let over: Promise<void> = Promise.resolve();

const metric = async (name: string): Promise<number> => {
  const text = await (await fetch(`http://${http}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(name));
  return Number(line?.split(" ").at(-1));
};

before(async () => {
  const started = Promise.withResolvers<void>();
  over = withDirectory(async (directory) => {
    server = new ServerProcess(directory, flags);
    const endpoints = await server.ready();
    void server.exited.then(({ stderr }) => {
      crash = stderr;
    });
    http = endpoints.http;
    client = await connect({ bootstrap: [endpoints.client] });
    await client.admin.createTopic({ name: "t", partitions: 2 });
    producer = client.producer();
    const value = Buffer.alloc(100_000, 1);
    await Promise.all(
      Array.from({ length: 300 }, () => producer.send({ topic: "t", partition: 0, value })),
    );
    const [host = "", port] = endpoints.client.split(":");
    target = { host, port: Number(port), topic: "t", patienceMs: 15_000 };
    started.resolve();
    await new Promise<void>((resolve) => {
      finish = resolve;
    });
    await client.close();
    await server.kill("SIGKILL");
  });
  await Promise.race([started.promise, over]);
});

after(async () => {
  try {
    const { offset } = await producer.send({ topic: "t", partition: 1, value: "x" });
    assert.equal(offset, BigInt(attacks.length), "all good records are there, and no other");
    const held = (): Promise<number> => metric('millrace_rpc_buffered_bytes{listener="client"}');
    const streams = (): Promise<number> => metric('millrace_rpc_streams{listener="client"}');
    for (let i = 0; i < 100 && (await streams()) + (await held()) > 10_000; i += 1)
      await sleep(100);
    assert.ok((await streams()) < 10 && (await held()) < 10_000, "everything is given back");
  } finally {
    finish();
    await over;
  }
});

interface Attacked {
  readonly outcome: string;
  readonly said: string;
  readonly signal: NodeJS.Signals | null;
}

const attackOnce = (number: number): Promise<Attacked> => {
  const script = fileURLToPath(new URL("one-attack.ts", import.meta.url));
  const child = spawn(process.execPath, [script, JSON.stringify(target), String(number)]);
  let outcome = "";
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    outcome += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  return new Promise((resolve) => {
    child.on("close", (_, signal) => resolve({ outcome, said, signal }));
  });
};

/**
 * Node's HTTP/2 client has a use after free: a process that destroys sessions in the middle of
 * their writes now and then dies in `Http2Stream::Destroy`. The attacker may; it then begins again.
 */
const runAttack = async (number: number): Promise<Attacked> => {
  for (let tries = 1; ; tries += 1) {
    const attacked = await attackOnce(number);
    if (attacked.signal !== "SIGSEGV" || tries === 3) return attacked;
    console.error(`the attacker of "${attacks[number]?.name}" died of ${attacked.signal}`);
  }
};

for (const [i, attack] of attacks.entries()) {
  test(`hostile: ${attack.name}`, { timeout: 60_000 }, async () => {
    assert.equal(crash, undefined);
    const { outcome, said, signal } = await runAttack(i);
    assert.equal(signal, null, said);
    assert.ok(attack.expected.includes(outcome), `it ended with: ${outcome}${said}`);
    await producer.send({ topic: "t", partition: 1, value: "x" });
  });
}
