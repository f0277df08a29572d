import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { fromWireStatus, toWireStatus } from "./status.ts";

test("texts of errors fit the headers of any peer, and can be encoded, whatever is in them", () => {
  const texts = ["x".repeat(100_000), "😀".repeat(999), "a\ud800b", "\udc00".repeat(5000), "тема"];
  for (const text of texts) {
    const wire = toWireStatus(new MillraceError(ErrorCode.INVALID_CONFIG, text));
    const headers = encodeURI(wire.message).length + ((wire.details?.length ?? 0) * 4) / 3;
    assert.ok(headers < 6000, `${headers} bytes`);
    const back = fromWireStatus(wire);
    assert.equal(back.code, ErrorCode.INVALID_CONFIG);
    assert.ok(text.startsWith(back.message.slice(0, 1)) || !text.isWellFormed());
  }
});
