/** Tables and colours, on terminals and elsewhere. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { type Io, styled } from "./io.ts";
import { tableText } from "./shared.ts";
import { Kept } from "./testing.ts";

const ioOf = (changes: Partial<Io>): Io => ({
  stdin: Readable.from([]),
  stdout: new Kept(),
  stderr: new Kept(),
  env: { NO_COLOR: "1" },
  signal: new AbortController().signal,
  progress: true,
  screen: true,
  columns: () => 60,
  ...changes,
});

const head = ["NAME", "PARTITIONS", "ID"];
const rows = [
  ["logs", 4, "f7d8c779a12e0d7e1ee92d474b346f29"],
  ["metrics", 16, "0123456789abcdef0123456789abcdef"],
];
const wide = `NAME     PARTITIONS  ID
logs     4           f7d8c779a12e0d7e1ee92d474b346f29
metrics  16          0123456789abcdef0123456789abcdef
`;

test("a table that fits stays a table", async () => {
  assert.equal(await tableText(ioOf({}), head, rows), wide);
  assert.equal(await tableText(ioOf({}), head, []), "NAME  PARTITIONS  ID\n");
});

test("on a narrow terminal each row is a block", async () => {
  const narrow = `NAME        logs
PARTITIONS  4
ID          f7d8c779a12e0d7e1ee92d474b346f29

NAME        metrics
PARTITIONS  16
ID          0123456789abcdef0123456789abcdef
`;
  assert.equal(await tableText(ioOf({ columns: () => 52 }), head, rows), narrow);
  assert.equal(await tableText(ioOf({ columns: () => 53 }), head, rows), wide);
});

test("what goes elsewhere is a table, however narrow the terminal is", async () => {
  assert.equal(await tableText(ioOf({ screen: false, columns: () => 10 }), head, rows), wide);
});

test("colours are for terminals that want them", () => {
  const red = "\u001b[31mx\u001b[39m";
  const of = (changes: Partial<Io>) => styled(ioOf(changes), "stderr", "red", "x");
  assert.equal(of({ env: {} }), red);
  assert.equal(of({ env: { NO_COLOR: "" } }), red);
  for (const plain of [{}, { env: { TERM: "dumb" } }, { env: {}, progress: false }]) {
    assert.equal(of(plain), "x");
  }
  assert.equal(styled(ioOf({ env: {}, screen: false }), "stdout", "red", "x"), "x");
});
