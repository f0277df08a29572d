import assert from "node:assert/strict";
import { test } from "node:test";
import { parseBody } from "./body.ts";
import { BatchBuilder } from "./builder.ts";
import { decodeRecords } from "./records.ts";
import { RecordWalk } from "./walk.ts";

test("a record is the same in memory of its own, which has nothing else in it", () => {
  const builder = new BatchBuilder();
  const key = Buffer.from("key");
  builder.append({ key, value: Buffer.from("v".repeat(300)), timestampMs: 1_000 });
  builder.append({ key, value: null, timestampMs: 1_007 });
  const headers = [
    { name: "a", value: Buffer.from("x") },
    { name: "b", value: undefined },
  ];
  builder.append({ value: Buffer.from("w"), timestampMs: 990, headers });
  const { baseTimestampMs, records } = parseBody(builder.finishPlain());
  const walk = new RecordWalk(records, baseTimestampMs);
  for (const record of decodeRecords(records, baseTimestampMs)) {
    assert.ok(walk.next());
    const copy = walk.decodeCopy();
    assert.deepEqual(
      { ...copy, ...ownBytesOf(copy) },
      { ...record, ...ownBytesOf(record) },
      "the same bytes",
    );
    for (const view of [copy.key, copy.value, copy.headers[0]?.value]) {
      if (view !== undefined) assert.equal(view.buffer.byteLength, walk.end - walk.bodyStart);
    }
  }
  assert.ok(!walk.next());
});

/** Without the buffers that they are views of. */
const ownBytesOf = ({ headers, key, value }: ReturnType<RecordWalk["decodeCopy"]>) => ({
  key: key && Buffer.from(key),
  value: value && Buffer.from(value),
  headers: headers.map((one) => ({ ...one, value: one.value && Buffer.from(one.value) })),
});
