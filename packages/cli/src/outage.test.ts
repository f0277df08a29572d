/** What a person is told while a server is away. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Io } from "./io.ts";
import { Outage } from "./outage.ts";
import { Terminal } from "./terminal.ts";
import { Kept } from "./testing.ts";

const error = new MillraceError(ErrorCode.UNAVAILABLE, "a:1 refuses connections: start it");

const watching = (isTerminal: boolean, isQuiet = false, columns = 80) => {
  const stderr = new Kept();
  const io: Io = {
    stdin: Readable.from([]),
    stdout: new Kept(),
    stderr,
    env: {},
    signal: new AbortController().signal,
    progress: isTerminal,
    screen: isTerminal,
    columns: () => columns,
  };
  let nowMs = 0;
  const terminal = new Terminal({ ...io, env: { NO_COLOR: "1" } });
  const outage = new Outage({ ...io, env: { NO_COLOR: "1" } }, terminal, isQuiet, () => nowMs);
  const lost = (): void => outage.onState({ type: "connection_lost", server: "a:1", error });
  const waits = (waitedMs: number): void => {
    nowMs += 1_000;
    outage.onState({ type: "waiting", sinceMs: 0, waitedMs, partitions: [], error });
  };
  const resumed = (waitedMs: number): void => outage.onState({ type: "resumed", waitedMs });
  return { outage, lost, waits, resumed, told: () => stderr.text };
};

test("without a terminal there is a line every ten seconds", () => {
  const { lost, resumed, told, waits } = watching(false);
  lost();
  for (let s = 1; s <= 25; s += 1) waits(s * 1_000);
  resumed(25_400);
  const why = "a:1 refuses connections: start it";
  assert.equal(
    told(),
    `lost a:1: it refuses connections: start it\nwaiting for 10 s: ${why}\nwaiting for 20 s: ${why}\ngoing on after 25 s\n`,
  );
});

test("what waits without a lost connection is told at once", () => {
  const { resumed, told, waits } = watching(false);
  waits(1_000);
  resumed(2_000);
  assert.equal(told(), "waiting for 1 s: a:1 refuses connections: start it\ngoing on after 2 s\n");
});

test("a terminal counts in its status line", () => {
  const { lost, outage, resumed, told, waits } = watching(true);
  lost();
  for (let s = 1; s <= 25; s += 1) waits(s * 1_000);
  assert.equal(told(), "lost a:1: it refuses connections: start it\n");
  assert.equal(outage.status(), "waiting for 25 s: a:1 refuses connections: start it");
  resumed(25_000);
  assert.equal(outage.status(), "");
  assert.match(told(), /\ngoing on after 25 s\n$/);
});

test("on a narrow terminal the reason stands whole, and what to do above it", () => {
  const { lost, outage, waits } = watching(true, false, 50);
  lost();
  waits(1_000);
  assert.equal(outage.status(), "waiting for 1 s: a:1 refuses connections");
});

test("a break that nobody noticed is not told as over", () => {
  const { resumed, told } = watching(false);
  resumed(100);
  assert.equal(told(), "");
});

test("quiet is quiet", () => {
  const { lost, resumed, told, waits } = watching(false, true);
  lost();
  waits(1_000);
  resumed(2_000);
  assert.equal(told(), "");
});
