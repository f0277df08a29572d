import assert from "node:assert/strict";
import { test } from "node:test";
import { digitsText, sizeText } from "./size.ts";

test("sizes have the largest unit that says exactly as much", () => {
  for (const [bytes, text] of [
    [0, "0 bytes"],
    [1, "1 byte"],
    [999, "999 bytes"],
    [1000, "1,000 bytes"],
    [1024, "1 KiB"],
    [4096, "4 KiB"],
    [1500 * 1024, "1,500 KiB"],
    [8 * 1024 ** 2, "8 MiB"],
    [8 * 1024 ** 2 + 1, "8,388,609 bytes"],
    [2 ** 31 - 1, "2,147,483,647 bytes"],
    [2 ** 30, "1 GiB"],
    [2 ** 40, "1 TiB"],
  ] as const) {
    assert.equal(sizeText(bytes), text);
  }
  assert.deepEqual([-1234567, 123456, 100].map(digitsText), ["-1,234,567", "123,456", "100"]);
});
