import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { collect } from "../testing/collect.ts";
import { CutLineError, LineTooLongError, linesOf } from "./lines.ts";

async function* pieces(text: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (let i = 0; at < text.length; i += 1) {
    const size = sizes[i % sizes.length] ?? 1;
    yield text.subarray(at, at + size);
    at += size;
  }
}

test("lines are the same however they are cut, in the middle of characters as well", async () => {
  const line = fc
    .string({ unit: "grapheme", minLength: 1 })
    .map((one) => one.replaceAll("\n", "x"));
  const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 });
  await fc.assert(
    fc.asyncProperty(fc.array(line), sizes, async (lines, each) => {
      const bytes = new TextEncoder().encode(lines.map((one) => `${one}\n`).join(""));
      const whole = lines.map((one) => one.toWellFormed());
      assert.deepEqual(await collect(linesOf(pieces(bytes, each), 10_000)), whole);
    }),
  );
});

test("half a line is none", async () => {
  const seen: string[] = [];
  const read = async (): Promise<void> => {
    const bytes = new TextEncoder().encode('{"a":1}\n{"b":');
    for await (const line of linesOf(pieces(bytes, [4]), 100)) seen.push(line);
  };
  await assert.rejects(read, CutLineError);
  assert.deepEqual(seen, ['{"a":1}']);
});

test("a line without end is given up", async () => {
  const bytes = new Uint8Array(1000).fill(65);
  await assert.rejects(collect(linesOf(pieces(bytes, [100]), 250)), LineTooLongError);
  const ended = Uint8Array.from([...bytes, 10]);
  await assert.rejects(collect(linesOf(pieces(ended, [2000]), 250)), LineTooLongError);
});
