import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { flipBit, partitionsIn } from "./disk-faults.ts";

const [first, second] = [`${"ab".repeat(16)}-00000`, `${"ab".repeat(16)}-00001`];

/** A data directory with the files of two partitions. */
const setUp = (context: TestContext) => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-disks-"));
  context.after(() => rmSync(directory, { recursive: true }));
  const files = [`${first}/0.log`, `${first}/meta`, `${second}/0.log`, `${second}/0.index`];
  for (const name of [first, second, `${first}.7.deleted`]) {
    mkdirSync(join(directory, "partitions", name), { recursive: true });
  }
  for (const name of files) writeFileSync(join(directory, "partitions", name), name.repeat(10));
  writeFileSync(join(directory, "partitions", second, "empty"), "");
  const read = () =>
    files.map((name) => readFileSync(join(directory, "partitions", name)).toString("hex"));
  return { directory, read };
};

test("partitions are those that are not deleted", (context) => {
  const { directory } = setUp(context);
  assert.deepEqual(
    partitionsIn(directory),
    [first, second].map((name) => join(directory, "partitions", name)),
  );
  assert.equal(readdirSync(join(directory, "partitions")).length, 3);
});

const bitsOf = (hex: string): bigint => BigInt(`0x1${hex}`);

test("one bit of one file is flipped, in any of them, and never in an empty one", (context) => {
  const { directory, read } = setUp(context);
  const hit = new Set<number>();
  for (let pick = 0; pick < 1; pick += 0.01) {
    const before = read();
    flipBit(directory, pick);
    const changed = read().flatMap((content, i) => {
      const difference = bitsOf(content) ^ bitsOf(before[i] ?? "");
      return difference === 0n ? [] : [{ i, ones: difference.toString(2).replaceAll("0", "") }];
    });
    assert.deepEqual(
      changed.map(({ ones }) => ones),
      ["1"],
    );
    for (const { i } of changed) hit.add(i);
  }
  assert.equal(hit.size, 4);
});
