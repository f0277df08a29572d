import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { WireReader } from "./reader.ts";
import { writeVarint } from "./varint.ts";

const readerOf = (...bytes: number[]): WireReader =>
  new WireReader(Uint8Array.from(bytes), "Test", ErrorCode.CORRUPT_MESSAGE);

const refused = (read: () => unknown, reason: RegExp): void =>
  assert.throws(
    read,
    (thrown) => hasCode(thrown, ErrorCode.CORRUPT_MESSAGE) && reason.test(thrown.message),
  );

const varintOf = (value: bigint): number[] => {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 128n) return [...bytes, Number(rest)];
    bytes.push(Number(rest & 127n) | 128);
  }
};

test("varints: every length, up to 2^53 - 1 exactly, NaN above", () => {
  for (let bits = 0; bits < 53; bits += 1) {
    for (const value of [2 ** bits - 1, 2 ** bits, 2 ** bits + 1]) {
      const bytes = new Uint8Array(10);
      const end = writeVarint(bytes, 0, value);
      const reader = new WireReader(bytes.subarray(0, end), "Test");
      assert.equal(reader.varint(), value);
      assert.ok(reader.done);
    }
  }
  assert.equal(readerOf(...varintOf(2n ** 53n - 1n)).varint(), Number.MAX_SAFE_INTEGER);
  for (const value of [2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n]) {
    assert.ok(Number.isNaN(readerOf(...varintOf(value)).varint()), String(value));
    refused(() => readerOf(...varintOf(value)).uint64(), /2\^53 or more/);
    assert.equal(readerOf(...varintOf(value)).cappedUint64(), Number.MAX_SAFE_INTEGER);
  }
});

test("a number that does not end, or ends after ten bytes, is refused", () => {
  const long = Array.from({ length: 10 }, () => 0x80);
  for (const read of ["varint", "uint32"] as const) {
    refused(() => readerOf(0x80)[read](), /ends inside a number/);
    refused(() => readerOf(...long, 1)[read](), /longer than 10 bytes/);
    assert.equal(readerOf(...long.slice(1), 0)[read](), 0);
  }
});

test("32-bit numbers are truncated as protobuf does, and signed where they are", () => {
  assert.equal(readerOf(...varintOf(2n ** 32n - 1n)).uint32(), 0xffff_ffff);
  assert.equal(readerOf(...varintOf(2n ** 32n + 5n)).uint32(), 5);
  assert.equal(readerOf(...varintOf(2n ** 64n - 1n)).int32(), -1);
  assert.equal(readerOf(0xff, 0xff, 0xff, 0xff).fixed32(), 0xffff_ffff);
  assert.equal(readerOf(1, 2, 3, 4).fixed32(), 0x0403_0201);
});

test("fields end where their message does", () => {
  assert.deepEqual([...readerOf(2, 7, 8).view()], [7, 8]);
  refused(() => readerOf(3, 7, 8).view(), /ends inside a field/);
  refused(() => readerOf(...varintOf(2n ** 63n), 7).view(), /ends inside a field/);
  refused(() => readerOf(1, 2, 3).fixed32(), /ends inside a field/);
  refused(() => readerOf(1, 2, 3, 4, 5, 6, 7).skip(1), /ends inside a field/);
  refused(() => readerOf(2, 7).textBytes(), /ends inside a field/);
  for (const type of [3, 4, 6, 7]) refused(() => readerOf(0).skip(type), /wire type/);
});

test("field numbers are 1 and more, below 2^29", () => {
  assert.equal(readerOf(0x08).tag(), 8);
  assert.equal(readerOf(...varintOf(0xffff_ffffn)).tag(), 0xffff_ffff);
  refused(() => readerOf(0x07).tag(), /field number/);
  refused(() => readerOf(...varintOf(0x1_0000_0000n)).tag(), /field number/);
});

test("text is UTF-8, with its byte order mark kept", () => {
  const text = Buffer.from("\ufeffmäh");
  assert.equal(readerOf(text.length, ...text).text(), "\ufeffmäh");
  assert.equal(readerOf(text.length, ...text).textBytes(), text.length);
  for (const bad of [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0x61, 0x80]]) {
    refused(() => readerOf(bad.length, ...bad).text(), /not UTF-8/);
    refused(() => readerOf(bad.length, ...bad).textBytes(), /not UTF-8/);
  }
});
