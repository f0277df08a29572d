import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { inspect } from "node:util";
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

test("an error prints the name of its code, and not its number", () => {
  const error = new MillraceError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "no topic x: create it");
  const head = "MillraceError [UNKNOWN_TOPIC_OR_PARTITION]: no topic x: create it";
  assert.equal(String(error), head);
  assert.equal(inspect(error).split("\n")[0], head);
  assert.doesNotMatch(inspect(error), /code|undefined|spec|36/);
  const cause = new TypeError("deeper");
  const refusal = MillraceError.refusal(ErrorCode.UNAVAILABLE, "gone", { cause });
  assert.match(
    inspect({ refusal }),
    /\[MillraceError \[UNAVAILABLE\]: gone\] \{\s+\[cause\]: TypeE/,
  );
});

test("so does one that nobody catches", () => {
  const path = new URL("./index.ts", import.meta.url).href;
  const program =
    `import { ErrorCode, MillraceError } from ${JSON.stringify(path)};` +
    'throw new MillraceError(ErrorCode.NOT_LEADER, "not here");';
  const { stderr } = spawnSync(process.execPath, ["--input-type=module", "--eval", program], {
    encoding: "utf8",
  });
  assert.match(stderr, /MillraceError \[NOT_LEADER\]: not here\n {4}at /);
  assert.doesNotMatch(stderr, /code|spec/);
});
