/** The judge of races sees what it is there for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { Kernel } from "@millrace/sim";
import { Race } from "./race.ts";

/** A race in which "a" and "b" have expected the log to end at 0, and "c" at 1. */
const sent = () => {
  const { marks } = new Kernel(1);
  const client = () => assert.fail("nobody runs");
  const race = new Race(1, { marks, client, sleep: async () => {} });
  for (const [value, expected] of [
    ["a", 0],
    ["b", 0],
    ["c", 1],
  ] as const) {
    race.sends(value, expected);
  }
  return { marks, race };
};

const mismatch = (actualEndOffset: bigint): MillraceError =>
  new MillraceError(ErrorCode.END_OFFSET_MISMATCH, "m", { actualEndOffset });

test("a race in which everybody got what was promised is one", () => {
  const { marks, race } = sent();
  race.wins("a", 0);
  race.wins("c", 1);
  assert.equal(race.loses("b", mismatch(1n)), 1);
  race.check(["a", "c"]);
  assert.equal(marks.broken, undefined);
});

test("two winners of one offset are noticed, and one that is elsewhere", () => {
  const { marks, race } = sent();
  race.wins("a", 0);
  race.wins("b", 0);
  assert.match(String(marks.broken), /b and a have both won 0/);
  const other = sent();
  other.race.wins("b", 1);
  assert.match(String(other.marks.broken), /b is at 1 and expected 0/);
});

test("what is lost, elsewhere, there twice, or said not to be there is noticed in the end", () => {
  const { race } = sent();
  race.wins("a", 0);
  assert.throws(() => race.check(["b"]), /acknowledged 0 of the race is not there/);
  assert.throws(() => race.check(["a", "b"]), /b is at 1 of the race/);
  assert.throws(() => race.check(["a", "a"]), /a is at 1 of the race/);
  race.loses("c", mismatch(2n));
  assert.throws(() => race.check(["a", "c"]), /c at 1 was said not to be written/);
  assert.throws(() => race.check(["a"]), /it ends at 1, not 2/);
});

test("of what failed with an unknown outcome anything may be", () => {
  const { race } = sent();
  race.loses("a", new MillraceError(ErrorCode.UNAVAILABLE, "m"));
  race.check(["a"]);
  race.check([]);
});
