/** Whatever a pattern is, its weight bounds what it is compiled to, and parsing it is an answer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import fc from "fast-check";
import { RE2JS } from "re2js";
import { TopicPattern } from "./pattern.ts";
import { weightOf } from "./weight.ts";

const pieces = ["a", ".", "(", "(?:", "(?i)", "(?P<n>", ")", "[", "]", "^", "[a-z]", "[:alpha:]"];
const others = ["\\", "\\Q", "\\E", "\\pL", "\\x{61}", "{3}", "{2,}", "{0,20}", "*", "?", "|", "-"];
const patterns = fc
  .array(fc.oneof(fc.constantFrom(...pieces, ...others), fc.constantFrom("a", ")", "{3}")), {
    maxLength: 24,
  })
  .map((list) => list.join(""));

/** Instructions; undefined for what is no pattern, or where it would take too long. */
const sizeOf = (text: string): number | undefined => {
  try {
    return weightOf(text) > 20_000 ? undefined : RE2JS.compile(text).programSize();
  } catch {
    return undefined;
  }
};

test("a pattern is compiled to about two instructions for a unit of its weight at most", () => {
  let compiled = 0;
  fc.assert(
    fc.property(patterns, (text) => {
      const size = sizeOf(text);
      if (size === undefined) return;
      compiled += 1;
      assert.ok(size <= 2.2 * weightOf(text) + 10, `${size} of ${weightOf(text)}`);
    }),
    { numRuns: 20_000 },
  );
  assert.ok(compiled > 1000, `${compiled} patterns`);
});

test("every text is a pattern, or is refused", () => {
  fc.assert(
    fc.property(fc.oneof(patterns, fc.string({ unit: "binary" })), (text) => {
      try {
        assert.equal(TopicPattern.parse(text).text, text);
      } catch (error) {
        assert.ok(error instanceof MillraceError, String(error));
        assert.equal(error.code, ErrorCode.INVALID_REGULAR_EXPRESSION);
      }
    }),
    { numRuns: 1000 },
  );
});
