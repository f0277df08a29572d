/**
 * `npm run test:hostile`: hostile clients of every kind beside one that behaves. Tells counts, the
 * good client's latencies before and meanwhile, the server's memory, and verifies the log. Exits
 * with 1 when the server died, lost a record, or outgrew its budget, or when p99 more than doubled,
 * with 2 for a wrong command line.
 */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Client, connect, type Producer } from "@millrace/client";
import { above0, commandLine, whole } from "../../tools/command-line.ts";
import { startFlags } from "../../tools/start-command.ts";
import { ServerProcess, withDirectory } from "../integration/server.ts";

const usage = `npm run test:hostile [-- [--minutes N] [--clients N] [--seed S]]

  --minutes N  how long clients are hostile (10); a minute more for the good one alone
  --clients N  hostile clients at a time (100)
  --seed S     what they do; another one each time`;

const values = commandLine(usage, {
  minutes: { type: "string", default: "10" },
  clients: { type: "string", default: "100" },
  seed: { type: "string", default: String(Date.now() % 100_000) },
});
const seconds = Math.max(5, above0("minutes", values.minutes, usage) * 60);
const clients = String(Math.ceil(above0("clients", values.clients, usage)));
const seed = String(whole("seed", values.seed, usage));
const ratePerSecond = 100;
/**
 * What the limits add up to: the process itself, what clients may hold, what waits for the disk,
 * inflation.
 */
const budgetMib = 300 + 256 + 64 + 128;

interface Phase {
  readonly publishMs: number[];
  readonly endToEndMs: number[];
}

const quantile = (values: readonly number[], q: number): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
};

const line = (name: string, { publishMs, endToEndMs }: Phase): string => {
  const at = (list: readonly number[]): string =>
    [0.5, 0.99, 0.999].map((q) => quantile(list, q).toFixed(2)).join(" / ");
  return `${name}: ${publishMs.length} records, ack p50 / p99 / p99.9 ${at(publishMs)} ms, end to end ${at(endToEndMs)} ms`;
};

/** Records at a steady rate; latencies from the time at which each was due. */
const behave = async (producer: Producer, phase: Phase, forSeconds: number): Promise<number> => {
  const value = Buffer.alloc(1024, 7);
  const startMs = performance.now();
  const sends: Promise<void>[] = [];
  for (let i = 0; i < forSeconds * ratePerSecond; i += 1) {
    const dueMs = startMs + (i * 1000) / ratePerSecond;
    const waitMs = dueMs - performance.now();
    if (waitMs > 0) await sleep(waitMs);
    value.writeDoubleBE(dueMs, 0);
    const sent = producer.send({ topic: "good", partition: 0, value: Buffer.from(value) });
    sends.push(sent.then(() => void phase.publishMs.push(performance.now() - dueMs)));
  }
  await Promise.all(sends);
  return sends.length;
};

const statusMib = (pid: number, field: string): number => {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(text)?.[1]) / 1024;
};

const attack = (endpoint: string): Promise<string> => {
  const path = fileURLToPath(new URL("attacker.ts", import.meta.url));
  const options = {
    endpoint,
    clients,
    seconds: String(seconds),
    seed,
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  // Attackers have machines of their own; here they share one with what they attack. Every thread
  // of theirs is nice, the collector's, too: a process that sets its own priority sets that of one
  // thread.
  const child = spawn("nice", ["-n", "19", process.execPath, path, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  return new Promise((resolve) => {
    child.once("exit", () => resolve(out));
  });
};

const refusedBy = async (http: string): Promise<string[]> => {
  const text = await (await fetch(`http://${http}/metrics`)).text();
  return text
    .split("\n")
    .filter((one) => /^millrace_rpc_refused_total.*listener="client"/.test(one));
};

const printCounts = (json: string): void => {
  const counts: Record<string, Record<string, number>> = JSON.parse(json);
  let attacks = 0;
  for (const [name, outcomes] of Object.entries(counts)) {
    const parts = Object.entries(outcomes).map(([outcome, count]) => `${outcome} ×${count}`);
    attacks += Object.values(outcomes).reduce((sum, count) => sum + count, 0);
    console.log(`  ${name}: ${parts.join(", ")}`);
  }
  console.log(`${attacks} attacks of ${Object.keys(counts).length} kinds`);
};

/** Reads "good" from its start to its end: every record, once, in order. */
const readBack = async (client: Client, expected: number): Promise<boolean> => {
  const consumer = client.consumer({ untilEnd: true });
  await consumer.assign([{ topic: "good", partition: 0, from: "earliest" }]);
  let count = 0;
  for await (const record of consumer.records()) {
    if (record.offset !== BigInt(count)) return false;
    count += 1;
  }
  return count === expected;
};

const verify = (directory: string): boolean => {
  const cli = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
  const done = spawnSync(process.execPath, [cli, "log", "verify", directory], { encoding: "utf8" });
  console.log(`log verify: exit ${done.status}: ${done.stdout.trim().split("\n").at(-1) ?? ""}`);
  return done.status === 0;
};

const main = async (directory: string): Promise<void> => {
  const server = new ServerProcess(directory, [], startFlags());
  const endpoints = await server.ready();
  const state: { crash: string | undefined } = { crash: undefined };
  void server.exited.then(({ stderr }) => {
    state.crash = stderr;
  });
  console.log(`seed ${seed}, ${clients} hostile clients, ${seconds} s, server pid ${server.pid}`);
  const client = await connect({ bootstrap: [endpoints.client] });
  await client.admin.createTopic({ name: "good", partitions: 1 });
  await client.admin.createTopic({ name: "t", partitions: 2 });
  const blob = Buffer.alloc(100_000, 1);
  const producer = client.producer();
  await Promise.all(
    Array.from({ length: 300 }, () => producer.send({ topic: "t", partition: 0, value: blob })),
  );
  const phases: Phase[] = [0, 1, 2].map(() => ({ publishMs: [], endToEndMs: [] }));
  const [warm, before, meanwhile] = phases as [Phase, Phase, Phase];
  let phase = warm;
  const consumer = client.consumer();
  await consumer.assign([{ topic: "good", partition: 0, from: "earliest" }]);
  const reading = (async () => {
    for await (const record of consumer.records()) {
      const dueMs = Buffer.from(record.value ?? new Uint8Array(8)).readDoubleBE(0);
      phase.endToEndMs.push(performance.now() - dueMs);
    }
  })().catch(() => {});
  let sent = await behave(producer, warm, 3);
  phase = before;
  sent += await behave(producer, before, Math.min(60, Math.max(10, seconds / 5)));
  const quietMib = statusMib(server.pid, "VmRSS");
  phase = meanwhile;
  const attacking = attack(endpoints.client);
  sent += await behave(producer, meanwhile, seconds);
  const counts = await attacking;
  console.log(`server: ${state.crash === undefined ? "alive, 0 crashes" : `DIED\n${state.crash}`}`);
  const ok: boolean[] = [state.crash === undefined];
  printCounts(counts);
  if (state.crash === undefined) {
    const peakMib = statusMib(server.pid, "VmHWM");
    console.log(
      `RSS: ${quietMib.toFixed(0)} MiB before, peak ${peakMib.toFixed(0)} MiB, budget ${budgetMib} MiB`,
    );
    ok.push(peakMib <= budgetMib);
    for (const refused of await refusedBy(endpoints.http)) console.log(`  ${refused}`);
    ok.push(await readBack(client, sent));
    console.log(`read back: ${ok.at(-1) ? `all ${sent} records` : "RECORDS ARE MISSING"}`);
  }
  console.log(line("before   ", before));
  console.log(line("meanwhile", meanwhile));
  const ratio = quantile(meanwhile.publishMs, 0.99) / quantile(before.publishMs, 0.99);
  console.log(`p99 meanwhile: ${ratio.toFixed(2)}× of before (must 2)`);
  ok.push(ratio <= 2);
  await client.close();
  await reading;
  await server.kill("SIGTERM");
  ok.push(verify(directory));
  process.exitCode = ok.every(Boolean) ? 0 : 1;
};

await withDirectory(main);
process.exit();
