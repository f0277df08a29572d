import assert from "node:assert/strict";
import { test } from "node:test";
import { KeyHash } from "./key-hash.ts";

const secret = Uint8Array.from({ length: 16 }, (_, i) => i);

const hashOf = (hash: KeyHash, bytes: Uint8Array, start = 0, end = bytes.length): string => {
  hash.take(bytes, start, end);
  const words = Buffer.alloc(16);
  for (const [i, word] of [hash.a, hash.b, hash.c, hash.d].entries()) {
    words.writeUInt32LE(word, 4 * i);
  }
  return words.toString("hex");
};

test("the reference's vectors", () => {
  const hash = new KeyHash(secret);
  const input = Uint8Array.from({ length: 64 }, (_, i) => i);
  assert.equal(hashOf(hash, input, 0, 0), "a3817f04ba25a8e66df67214c7550293");
  assert.equal(hashOf(hash, input, 0, 1), "da87c1d86b99af44347659119b22fc45");
});

test("every byte, every length and the secret count", () => {
  const hash = new KeyHash(secret);
  const seen = new Set<string>();
  for (let length = 0; length < 40; length += 1) {
    const key = new Uint8Array(length);
    seen.add(hashOf(hash, key));
    for (let at = 0; at < length; at += 1) {
      key[at] = 1;
      seen.add(hashOf(hash, key));
      key[at] = 0;
    }
  }
  assert.equal(seen.size, 40 + (39 * 40) / 2);
  const other = new KeyHash(new Uint8Array(16));
  assert.notEqual(hashOf(other, new Uint8Array(3)), hashOf(hash, new Uint8Array(3)));
});

test("a part of a buffer hashes as the part alone", () => {
  const hash = new KeyHash(secret);
  const bytes = Buffer.from("abcdefghijklmnopqrstuvwxyz");
  assert.equal(hashOf(hash, bytes, 3, 17), hashOf(hash, Buffer.from("defghijklmnopq")));
});
