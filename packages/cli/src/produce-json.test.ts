/** `produce --format json` takes what `consume --format json` prints. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HeaderInput } from "@millrace/client";
import { ErrorCode, hasCode } from "@millrace/errors";
import fc from "fast-check";
import { formatterOf, type Shown } from "./format.ts";
import { recordOf, shapeOf } from "./produce-input.ts";
import { recordOfJson } from "./produce-json.ts";

const bytes = fc.option(fc.uint8Array({ maxLength: 20 }), { nil: null });
const records: fc.Arbitrary<Shown> = fc.record({
  topic: fc.constant("from"),
  partition: fc.nat(9),
  offset: fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }),
  timestampMs: fc.integer({ min: 0, max: 9e15 }),
  key: bytes,
  value: bytes,
  headers: fc.array(fc.record({ name: fc.string({ minLength: 1, maxLength: 5 }), value: bytes })),
  leaderEpoch: fc.constant(1),
});

const asBytes = (value: Uint8Array | string | null | undefined): Buffer | null =>
  value === null || value === undefined ? null : Buffer.from(value);

const json = formatterOf("json");

test("every record comes back as it was", () => {
  fc.assert(
    fc.property(records, (record) => {
      const read = recordOfJson(json(record));
      assert.deepEqual(asBytes(read.key), asBytes(record.key));
      assert.deepEqual(asBytes(read.value), asBytes(record.value));
      assert.equal(read.timestampMs, record.timestampMs);
      assert.deepEqual(
        read.headers.map(({ name, value }) => [name, asBytes(value)]),
        record.headers.map(({ name, value }) => [name, asBytes(value)]),
      );
    }),
  );
});

test("flags add to an object, and topic and partition are theirs", () => {
  const shape = shapeOf("to", { format: "json", header: ["h=2"], partition: "5" });
  const piece = Buffer.from(
    '{"topic":"x","partition":1,"offset":9,"key":"k","headers":[{"name":"g"}]}',
  );
  const record = recordOf(piece, shape);
  assert.deepEqual(
    [record.topic, record.partition, record.key, record.value],
    ["to", 5, "k", null],
  );
  assert.ok(Array.isArray(record.headers));
  assert.deepEqual(
    record.headers.map(({ name }: HeaderInput) => name),
    ["g", "h"],
  );
  assert.equal(recordOf(piece, shapeOf("to", { format: "json", key: "mine" })).key, "mine");
  assert.throws(
    () => shapeOf("to", { format: "json", nullValue: "x" }),
    /--null-value is for lines/,
  );
  assert.throws(() => shapeOf("to", { format: "json", keySeparator: ":" }), /--key-separator is/);
});

test("what is no record is refused, with what to do", () => {
  const wrong = [
    "x",
    "3",
    "null",
    "[]",
    '{"value":3}',
    '{"value_base64":"?"}',
    '{"key":{}}',
    '{"headers":3}',
    '{"headers":[3]}',
    '{"headers":[{"value":"x"}]}',
    '{"timestamp":"noon"}',
  ];
  for (const text of wrong) {
    assert.throws(
      () => recordOfJson(Buffer.from(text)),
      (thrown) => hasCode(thrown, ErrorCode.INVALID_REQUEST) && /: \w/.test(thrown.message),
      text,
    );
  }
});
