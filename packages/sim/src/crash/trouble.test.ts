import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom } from "../random.ts";
import type { CrashRun } from "./run.ts";
import { oldRounds, rot } from "./trouble.ts";

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

/** Files that rot in many tries, in a run where nothing else happens. */
const rotten = (paths: readonly string[], tries: number): readonly string[] => {
  const found: string[] = [];
  const run = {
    disk: {
      paths: () => paths,
      content: () => Buffer.alloc(0),
      durableBytes: () => 100,
      flipBit: (path: string) => found.push(path) > 0,
    },
    rottenRounds: new Set<string>(),
    slots: [],
    trace: () => {},
    counts: { add: () => {} },
  } as unknown as CrashRun;
  const random = new SeededRandom(1);
  for (let i = 0; i < tries; i += 1) rot(run, random, false);
  return found;
};

test("every kind of file rots, but for the directory's meta", () => {
  const partition = `partitions/${"0123456789abcdef".repeat(2)}-00000`;
  const inPartition = [
    `${"0".repeat(20)}.log`,
    `${"0".repeat(20)}.index`,
    `${"0".repeat(20)}.timeindex`,
    "leader-epochs",
    `producers.${"0".repeat(20)}`,
    "meta",
    "offline",
  ];
  const files = ["journal-files", ...inPartition.map((name) => `${partition}/${name}`)];
  assert.deepEqual(new Set(rotten([...files, "meta"], 1000)), new Set(files));
  for (const file of ["recovery-points", "recovery-points.copy"]) {
    assert.deepEqual(new Set(rotten([file], 100)), new Set([file]));
  }
});

test("the recovery points and their copy do not both rot", () => {
  const files = rotten(["recovery-points", "recovery-points.copy"], 1000);
  assert.ok(files.length > 50 && new Set(files).size === 1, `${files.length} times`);
});
