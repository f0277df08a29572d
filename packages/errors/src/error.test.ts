import assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceError } from "./error.ts";
import { ErrorCode } from "./table.ts";

test("a refusal is an error like others, without a stack", () => {
  const { stackTraceLimit } = Error;
  const refusal = MillraceError.refusal(ErrorCode.NOT_LEADER, "not here", { retryAfterMs: 5 });
  assert.ok(refusal instanceof MillraceError);
  assert.equal(refusal.code, ErrorCode.NOT_LEADER);
  assert.equal(refusal.retryAfterMs, 5);
  assert.doesNotMatch(String(refusal.stack), /\n\s+at /);
  assert.equal(Error.stackTraceLimit, stackTraceLimit);
  assert.match(String(new MillraceError(ErrorCode.NOT_LEADER, "").stack), /\n\s+at /);
});
