import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import {
  endProcess,
  isRunning,
  lastLines,
  launch,
  parseStat,
  startOf,
  waitUntil,
} from "./processes.ts";

const directory = mkdtempSync(join(tmpdir(), "millrace-processes-"));
after(() => rmSync(directory, { recursive: true, force: true }));

const idle = "setInterval(() => {}, 1000);";
const node = (name: string, code: string) =>
  launch(
    { name, program: process.execPath, args: ["-e", code] },
    { log: join(directory, `${name}.log`), outlives: false },
  );

test("state and start are read past a name that looks like more fields", () => {
  const fields = Array.from({ length: 40 }, (_, i) => `f${i + 3}`).join(" ");
  assert.deepEqual(parseStat(`17 (a) R 1 (b) ${fields}`), { state: "f3", ticks: "f22" });
});

test("a process runs until it is ended", async () => {
  const one = await node("kind", idle);
  assert.ok(isRunning(one));
  await endProcess(one, 5000);
  assert.ok(!isRunning(one));
  assert.equal(startOf(one.pid), undefined);
});

test("a process that has another start than the one known is left alone", async () => {
  const one = await node("foreign", idle);
  try {
    const known = { ...one, started: `${one.started}0` };
    assert.ok(!isRunning(known));
    await endProcess(known, 100);
    assert.ok(isRunning(one));
  } finally {
    await endProcess(one, 5000);
  }
});

test("a process that does not end by itself is ended by force", async () => {
  const one = await node("deaf", `process.on("SIGTERM", () => {}); console.log("here"); ${idle}`);
  const wait = { what: "it is there", deadlineMs: 10_000, processes: [one] };
  await waitUntil(() => lastLines(one.log) === "here", wait);
  await endProcess(one, 200);
  assert.ok(!isRunning(one));
});

test("a wait ends with the log of a process that has ended", async () => {
  const one = await node("fails", `console.error("no such flag"); process.exit(1);`);
  const wait = { what: "it is ready", deadlineMs: 10_000, processes: [one] };
  await assert.rejects(
    waitUntil(() => false, wait),
    /^Error: fails has ended \(.*fails\.log\):\nno such flag$/,
  );
});

test("a wait ends at its deadline, and where it is given up", async () => {
  const wait = { what: "the moon is full", deadlineMs: 10, processes: [] };
  await assert.rejects(
    waitUntil(() => false, wait),
    /not within 10 ms: the moon is full/,
  );
  const signal = AbortSignal.abort(new Error("enough"));
  await assert.rejects(
    waitUntil(() => false, { ...wait, deadlineMs: 10_000, signal }),
    /enough/,
  );
});

test("a program that is not there is said to be so", async () => {
  const command = { name: "none", program: join(directory, "none"), args: [] };
  const options = { log: join(directory, "none.log"), outlives: false };
  await assert.rejects(launch(command, options), /ENOENT/);
});
