import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ErrorCode, hasCode } from "@millrace/errors";
import { ListOffsetsRequestSchema, LogService } from "@millrace/proto/broker";
import { methodOf } from "./method.ts";
import { elementsMax, prescan } from "./prescan.ts";

const { input } = methodOf(LogService.method.listOffsets);
const desc = ListOffsetsRequestSchema;

const ofQueries = (count: number): Uint8Array => {
  const queries = Array.from({ length: count }, (_, partition) => ({ topic: "t", partition }));
  return toBinary(desc, create(desc, { queries }));
};

test("a request of ten thousand partitions passes", () => {
  const bytes = ofQueries(10_000);
  assert.equal(prescan(desc, bytes), "ok");
  assert.equal(input.decode(bytes).queries.length, 10_000);
});

test("half a million empty elements are refused before they are decoded", () => {
  const bytes = Buffer.alloc(1_000_000);
  for (let i = 0; i < bytes.length; i += 2) bytes[i] = 0x0a;
  const startedMs = performance.now();
  assert.throws(
    () => input.decode(bytes),
    (thrown) => hasCode(thrown, ErrorCode.INVALID_REQUEST) && /elements/.test(thrown.message),
  );
  assert.ok(performance.now() - startedMs < 100);
  assert.equal(prescan(desc, ofQueries(elementsMax + 1)), "too_many");
});

test("what lies about its lengths, or is a group, is malformed", () => {
  for (const hex of ["0a05", "0b0b0b", "0affffffffff7f", "ff", "0a80", "09aa", "0dbb", "0c"]) {
    assert.equal(prescan(desc, Buffer.from(hex, "hex")), "malformed", hex);
  }
  assert.equal(prescan(desc, Buffer.from("ea3f0161", "hex")), "ok", "an unknown field");
});
