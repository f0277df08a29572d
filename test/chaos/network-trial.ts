/** Three machines in a laboratory, and every fault of a link between them. Throws on a surprise. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface, type Interface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Network } from "./network.ts";

const probe = fileURLToPath(new URL("link-probe.ts", import.meta.url));
const port = "9000";
/** Longer than what a sender waits before it sends again what was lost. */
const againMs = 1500;

const network = new Network(["a", "b", "c"]);
const started: ChildProcess[] = [];

class Probe {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(machine: string, mode: string, host: string) {
    const [command = "", ...args] = [
      ...network.placeOf(machine).enter,
      ...[process.execPath, probe, mode, host, port],
    ];
    this.#child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    started.push(this.#child);
    const lines: Interface = createInterface({ input: this.#child.stdout ?? process.stdin });
    this.#lines = lines[Symbol.asyncIterator]();
  }

  async said(): Promise<string> {
    return String((await this.#lines.next()).value);
  }

  tell(line: string): Promise<string> {
    this.#child.stdin?.write(`${line}\n`);
    return this.said();
  }
}

process.once("exit", () => {
  for (const child of started) child.kill();
});

const { host } = network.placeOf("b");
const serve = new Probe("b", "serve", host);
assert.equal(await serve.said(), "listens");
const [a, c] = [new Probe("a", "hold", host), new Probe("c", "hold", host)];
assert.deepEqual([await a.said(), await c.said()], ["connect", "connect"]);
/** What a connection that is open makes of a line, and a new one. */
const both = async (of: Probe) => [await of.tell("x"), await of.tell("new"), await of.tell("x")];
const good = ["data", "connect", "data"];

for (const [from, to] of [
  ["a", "b"],
  ["b", "a"],
] as const) {
  network.lose(from, to);
  assert.equal(await a.tell("x"), "nothing", `${from} to ${to} is lost`);
  assert.deepEqual(await both(c), good, "others are as they were");
  network.heal();
  await sleep(againMs);
  assert.deepEqual(await both(a), good, "healed");
}
network.lose("a", "b");
assert.equal(await a.tell("new"), "nothing", "nobody answers a new connection");
network.heal();
assert.equal(await a.tell("new"), "connect");

network.refuse("a", "b");
assert.deepEqual([await a.tell("x"), await a.tell("new")], ["ECONNRESET", "ECONNREFUSED"]);
assert.deepEqual(await both(c), good, "others are as they were");
network.heal();
assert.equal(await a.tell("new"), "connect");
assert.deepEqual(await both(a), good, "healed");

network.slow("b");
assert.equal(await a.tell("x"), "data", "a slow cable passes everything on");
assert.equal(await a.tell("x".repeat(100_000)), "nothing", "but not within the patience");
network.heal();
console.log("ok");
process.exit();
