import assert from "node:assert/strict";
import { test } from "node:test";
import { oldRounds } from "./trouble.ts";

const roundBytes = 4096;

/** The head of a journal round, as far as the simulator reads it. */
const head = (round: bigint): Buffer => {
  const bytes = Buffer.alloc(roundBytes);
  bytes.write("MJR1", 0, "latin1");
  bytes.writeUInt32LE(roundBytes, 4);
  bytes.writeBigUInt64LE(round, 24);
  return bytes;
};

const journal = "journal/00000000.journal";
const disk = (...rounds: bigint[]) => ({
  paths: () => [journal, "meta"],
  content: () => Buffer.concat(rounds.map(head)),
});
const numbers = (of: ReturnType<typeof disk>, rotten: readonly string[] = []): number[] =>
  oldRounds(of, new Set(rotten)).map(({ round }) => round);

test("rot spares the last rounds of the journal", () => {
  assert.deepEqual(numbers(disk(1n, 2n, 3n, 4n, 5n)), [1, 2]);
});

test("a round whose number rotted does not make the last ones old", () => {
  const rotten = [`${journal}@0`];
  assert.deepEqual(numbers(disk((1n << 60n) + 1n, 2n, 3n, 4n, 5n), rotten), [2]);
});
