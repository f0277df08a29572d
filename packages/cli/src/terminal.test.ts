/** One writer of the terminal: what a person sees in the end. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { Interrupted, type Io } from "./io.ts";
import { Progress, timeLeftText } from "./progress.ts";
import { Terminal } from "./terminal.ts";
import { Kept } from "./testing.ts";

const screenOf = (changes: Partial<Io> = {}, isTyped = false) => {
  const screen = new Kept();
  const io: Io = {
    stdin: Readable.from([]),
    stdout: screen,
    stderr: screen,
    env: {},
    signal: new AbortController().signal,
    progress: true,
    screen: true,
    columns: () => 20,
    ...changes,
  };
  /** Everything that was written, as a terminal shows it: an erased line is gone. */
  const shown = (): string =>
    screen.text
      .split("\n")
      .map((line) => line.split("\r\u001b[2K").at(-1))
      .join("\n");
  return { terminal: new Terminal(io, isTyped), shown };
};

test("lines and output stand above the status line, which is written again in place", async () => {
  const { terminal, shown } = screenOf();
  terminal.status(() => "one");
  terminal.paint();
  assert.equal(shown(), "one");
  await terminal.result(Buffer.from("record 1\nrecord 2\n"));
  assert.equal(shown(), "record 1\nrecord 2\n");
  terminal.paint();
  await terminal.line("a line");
  terminal.status(() => "two");
  terminal.paint();
  assert.equal(shown(), "record 1\nrecord 2\na line\ntwo");
  terminal.close();
  assert.equal(shown(), "record 1\nrecord 2\na line\n");
});

test("a status line is cut to the width of the terminal", () => {
  const { terminal, shown } = screenOf();
  terminal.status(() => "x".repeat(100));
  terminal.paint();
  assert.equal(shown(), `${"x".repeat(18)}…`);
  terminal.status(() => "y".repeat(19));
  terminal.paint();
  assert.equal(shown(), "y".repeat(19));
  terminal.close();
});

test("behind a status line nobody types", async () => {
  const { terminal, shown } = screenOf({}, true);
  assert.equal(terminal.hasStatus, false);
  terminal.status(() => "status");
  terminal.paint();
  assert.equal(shown(), "");
  await terminal.line("a line");
  terminal.close();
  assert.equal(shown(), "a line\n");
});

test("what follows a Ctrl-C stands on a line of its own", async () => {
  const interrupted = (exitCode: number) => ({
    signal: AbortSignal.abort(new Interrupted(exitCode)),
  });
  const ended = screenOf(interrupted(130));
  ended.terminal.close();
  assert.equal(ended.shown(), "\n");
  const summed = screenOf(interrupted(130));
  await summed.terminal.line("a summary");
  summed.terminal.close();
  assert.equal(summed.shown(), "\na summary\n");
  // The status line goes, and the echo with it.
  const counting = screenOf(interrupted(130));
  counting.terminal.status(() => "status");
  counting.terminal.paint();
  counting.terminal.close();
  assert.equal(counting.shown(), "");
  // Nobody has typed this one.
  const killed = screenOf(interrupted(143));
  killed.terminal.close();
  assert.equal(killed.shown(), "");
});

test("output that ends within a line is not painted over", async () => {
  const { terminal, shown } = screenOf();
  terminal.status(() => "status");
  await terminal.result(Buffer.from("no newline"));
  terminal.paint();
  assert.equal(shown(), "no newline");
  await terminal.line("a line");
  assert.equal(shown(), "no newline\na line\n");
  terminal.close();
});

test("without a terminal there are lines and no status", async () => {
  const { terminal, shown } = screenOf({ progress: false, screen: false });
  terminal.status(() => "status");
  terminal.paint();
  await terminal.line("a line");
  terminal.close();
  assert.equal(shown(), "a line\n");
});

test("output that goes elsewhere leaves the status line alone", async () => {
  const stdout = new Kept();
  const { terminal, shown } = screenOf({ stdout, screen: false });
  terminal.status(() => "status");
  terminal.paint();
  await terminal.result(Buffer.from("record, no newline"));
  terminal.status(() => "more");
  terminal.paint();
  assert.equal(shown(), "more");
  terminal.close();
});

test("progress tells rate, megabytes, percent and time left", () => {
  let nowMs = 0;
  const progress = new Progress(() => nowMs, 4_000);
  assert.equal(progress.text(), "0 records, 0/s, 0.0 MB/s, 0 %");
  nowMs = 1_000;
  progress.took(1_000, 2_500_000, 1_000);
  assert.equal(progress.text(), "1,000 records, 1.0 k/s, 2.5 MB/s, 25 %, 3 s left");
  // The rate is that of the last seconds, not of all time.
  nowMs = 61_000;
  progress.text();
  nowMs = 67_000;
  progress.took(600, 0, 600);
  assert.match(progress.text(), /^1,600 records, 100\/s, 0.0 MB\/s, 40 %, 24 s left$/);
  progress.took(2_400, 0, 9_999);
  assert.match(progress.text(), /, 100 %$/);
  const endless = new Progress(() => nowMs);
  endless.took(1, 1, 1);
  nowMs += 1_000;
  assert.equal(endless.text(), "1 record, 1.0/s, 0.0 MB/s");
});

test("time left as people say it", () => {
  assert.deepEqual([4.4, 59.6, 125, 11_400].map(timeLeftText), [
    "4 s",
    "1 min 0 s",
    "2 min 5 s",
    "3 h 10 min",
  ]);
});
