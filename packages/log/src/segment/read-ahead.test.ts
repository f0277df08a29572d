import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { ReadAhead } from "./read-ahead.ts";

const content = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919) % 251));

const fileOf = (length = content.length) => ({
  reading: 0,
  async read(target: Uint8Array, at: number, bytes: number, position: number): Promise<number> {
    this.reading += 1;
    await setImmediate();
    const part = content.subarray(position, Math.min(length, position + bytes));
    target.set(part, at);
    this.reading -= 1;
    return part.length;
  },
});

const walks = fc.record({
  partBytes: fc.integer({ min: 1, max: 700 }),
  /** How much of each part is kept for the next, and how many bytes are asked for. */
  steps: fc.array(fc.tuple(fc.nat(900), fc.nat(900)), { maxLength: 60, size: "max" }),
});

test("what follows is what the file has, however much is kept", () =>
  fc.assert(
    fc.asyncProperty(walks, async ({ partBytes, steps }) => {
      const file = fileOf();
      const ahead = new ReadAhead(file, content.length, partBytes);
      let shown: Buffer = Buffer.alloc(0);
      let end = 0;
      for (const [keep, bytes] of steps) {
        const kept = shown.subarray(Math.max(0, shown.length - keep));
        shown = await ahead.read(kept, end, bytes);
        const start = end - kept.length;
        end = start + shown.length;
        assert.deepEqual(shown, content.subarray(start, end));
        const wanted = Math.min(bytes, content.length - (start + kept.length));
        assert.ok(shown.length - kept.length >= wanted);
        // As long as it is looked at, it stays as it is.
        await setImmediate();
        await setImmediate();
        assert.deepEqual(shown, content.subarray(start, end));
      }
      await ahead.close();
      assert.equal(file.reading, 0);
    }),
    { numRuns: 150 },
  ));

test("another place than the next one is read, and nothing is when it is closed", async () => {
  const file = fileOf();
  const ahead = new ReadAhead(file, content.length, 100);
  await ahead.read(Buffer.alloc(0), 0, 10);
  assert.deepEqual(await ahead.read(Buffer.alloc(0), 777, 10), content.subarray(777, 877));
  assert.equal(file.reading, 1);
  await ahead.close();
  assert.equal(file.reading, 0);
});

test("a file that was cut has nothing more", async () => {
  const ahead = new ReadAhead(fileOf(150), 1000, 100);
  const first = await ahead.read(Buffer.alloc(0), 0, 10);
  assert.equal(first.length, 100);
  const second = await ahead.read(first.subarray(90), 100, 10);
  assert.equal(second.length, 60);
  assert.equal((await ahead.read(second, 150, 10)).length, 60);
  await ahead.close();
});

test("a read that failed is told when its bytes are asked for, and no sooner", async () => {
  const file = fileOf();
  const failing = {
    read: async (target: Uint8Array, at: number, bytes: number, position: number) => {
      if (position > 0) throw new Error("EIO");
      return file.read(target, at, bytes, position);
    },
  };
  const ahead = new ReadAhead(failing, content.length, 100);
  const first = await ahead.read(Buffer.alloc(0), 0, 10);
  await setImmediate();
  await assert.rejects(ahead.read(first, 100, 10), /EIO/);
  const another = new ReadAhead(failing, content.length, 100);
  await another.read(Buffer.alloc(0), 0, 10);
  await another.close();
});
