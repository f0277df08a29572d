import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { ErrorCode, hasCode } from "@millrace/errors";
import { FetchRequestSchema, ListOffsetsRequestSchema, LogService } from "@millrace/proto/broker";
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
  const before = process.cpuUsage();
  assert.throws(
    () => input.decode(bytes),
    (thrown) => hasCode(thrown, ErrorCode.INVALID_REQUEST) && /elements/.test(thrown.message),
  );
  // Processor time: the machine may be busy with something else.
  assert.ok(process.cpuUsage(before).user < 100_000);
  assert.equal(prescan(desc, ofQueries(elementsMax + 1)), "too_many");
});

test("what lies about its lengths, or is a group, is malformed", () => {
  for (const hex of ["0a05", "0b0b0b", "0affffffffff7f", "ff", "0a80", "09aa", "0dbb", "0c"]) {
    assert.equal(prescan(desc, Buffer.from(hex, "hex")), "malformed", hex);
  }
  assert.equal(prescan(desc, Buffer.from("ea3f0161", "hex")), "ok", "an unknown field");
});

/** A Value in a list in a Value: two messages a level. */
const nested = (depth: number): Uint8Array => {
  let bytes = Buffer.alloc(0);
  for (let level = 0; level < depth; level += 1) {
    // Value.list_value, and in it ListValue.values.
    const list = Buffer.concat([Buffer.from([0x0a, bytes.length]), bytes]);
    bytes = Buffer.concat([Buffer.from([0x32, list.length]), list]);
  }
  return bytes;
};

test("messages in messages are bounded, and packed numbers count one by one", () => {
  assert.equal(prescan(ValueSchema, nested(7)), "ok");
  assert.equal(prescan(ValueSchema, nested(9)), "too_many");
  const packed = (count: number): Uint8Array => {
    const head = Buffer.from([0x12, 0, 0, 0]);
    head[1] = (count & 0x7f) | 0x80;
    head[2] = ((count >> 7) & 0x7f) | 0x80;
    head[3] = count >> 14;
    return Buffer.concat([head, Buffer.alloc(count, 1)]);
  };
  assert.equal(prescan(FetchRequestSchema, packed(elementsMax)), "ok");
  assert.equal(prescan(FetchRequestSchema, packed(elementsMax + 1)), "too_many");
});
