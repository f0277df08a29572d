/** Patterns: what they match, and what a hostile one can cost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { type TopicId, topicIdOf } from "@millrace/record";
import {
  patternCharactersMax,
  patternInstructionsMax,
  patternWeightMax,
  TopicPattern,
} from "./pattern.ts";
import { weightOf } from "./weight.ts";

const refusedWith =
  (text: RegExp) =>
  (error: unknown): boolean =>
    error instanceof MillraceError &&
    error.code === ErrorCode.INVALID_REGULAR_EXPRESSION &&
    text.test(error.message);

const idOf = (t: number): TopicId => topicIdOf(Buffer.alloc(16, t));

const matched = (pattern: string, names: readonly string[]): string[] =>
  names.filter((name) => TopicPattern.parse(pattern).matches(name));

test("a pattern matches whole names", () => {
  const names = ["orders", "orders-eu", "my-orders", "Orders", "a", "b", "ab"];
  assert.deepEqual(matched("orders", names), ["orders"]);
  assert.deepEqual(matched("orders.*", names), ["orders", "orders-eu"]);
  assert.deepEqual(matched("a|b", names), ["a", "b"]);
  assert.deepEqual(matched("(?i)orders", names), ["orders", "Orders"]);
  assert.deepEqual(matched("\\Qmy-\\E[\\pL&&]+", names), ["my-orders"]);
});

test("a pattern is resolved to the ids of topics", () => {
  const topics = ["log.a", "log.b", "other"].map((name, t) => ({ id: idOf(t), name }));
  const pattern = TopicPattern.parse("log\\..+");
  assert.deepEqual(pattern.topicIds(topics), new Set([idOf(0), idOf(1)]));
  assert.deepEqual(pattern.topicIds([]), new Set());
});

test("patterns that are none are refused, with what is wrong", () => {
  for (const [text, why] of [
    ["", /topic pattern "": is empty/],
    ["(", /missing closing \)/],
    ["a)", /unexpected \)/],
    ["[a", /missing closing \]/],
    ["*", /missing argument to repetition/],
    ["a\\", /trailing backslash/],
    ["(?=a)", /syntax of RE2, without look-around/],
    ["(?<!a)b", /syntax of RE2/],
    ["(a)\\1", /invalid escape/],
    ["a{1001}", /repeat count/],
    ["a**", /nested repetition/],
  ] as const) {
    assert.throws(() => TopicPattern.parse(text), refusedWith(why), text);
  }
});

test("a pattern has at most 1,000 characters, and the error does not repeat them all", () => {
  assert.equal(patternCharactersMax, 1000);
  TopicPattern.parse("a".repeat(1000));
  assert.throws(
    () => TopicPattern.parse("a".repeat(1001)),
    (error) =>
      refusedWith(/has 1001 characters, and 1000 are allowed/)(error) &&
      error instanceof Error &&
      error.message.length < 250,
  );
  const errorOf = (text: string): string => {
    try {
      TopicPattern.parse(text);
      return "";
    } catch (error) {
      return error instanceof Error ? error.message : "";
    }
  };
  assert.ok(errorOf(`(?P<${"x".repeat(900)}`).length < 500);
});

test("what weighs too much is refused before it is compiled", () => {
  const bombs = [
    `(?:${"[a-z]".repeat(190)}){1000}`,
    `(?:${"a".repeat(900)}){1000}`,
    `((((((a{10}){10}){10}){10}){10}){10}){10}`,
    "(?:(?:a{30}){30}){30}",
    "\\pL{1000}",
    "[^\\pL\\pN]{100}",
    `(?i)(?:${"\\pL".repeat(300)}){300}`,
    "(?:\\(a{40}\\)[)]){90}",
    "(?:[]a)]{50}\\Q)\\E){60}",
    "a{3,900}b{3,900}c{900,}",
  ];
  for (const bomb of bombs) {
    assert.ok(weightOf(bomb) > patternWeightMax, `${bomb.slice(0, 20)}: ${weightOf(bomb)}`);
    assert.throws(() => TopicPattern.parse(bomb), refusedWith(/repeats too much/));
  }
  assert.throws(() => TopicPattern.parse(".{1000}{1000}"), refusedWith(/repe/));
});

test("what people write is light", () => {
  const uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
  const names = Array.from({ length: 40 }, (_, i) => `some\\.long\\.topic\\.${i}`).join("|");
  for (const text of [uuid, names, ".{1,249}", "(?:eu|us|ap)-.*", "\\p{L}+(?:-\\p{L}+)*"]) {
    TopicPattern.parse(text);
  }
});

/** Time of the best of three. */
const bestMs = (work: () => void): number => {
  const times = [0, 1, 2].map(() => {
    const startedMs = performance.now();
    work();
    return performance.now() - startedMs;
  });
  return Math.min(...times);
};

test("patterns that are bombs elsewhere take linear time", () => {
  const short = `${"a".repeat(2000)}c`;
  const long = `${"a".repeat(16_000)}c`;
  for (const text of [
    "(a*)*b",
    "(a|a)*",
    "(a|aa)+$",
    "(.*)*(.*)*(.*)*x",
    ".{1000}",
    "(a?){400}b",
  ]) {
    const pattern = TopicPattern.parse(text);
    const match = (name: string) => () => {
      pattern.topicIds([{ id: idOf(1), name }]);
    };
    const [shortMs, longMs] = [bestMs(match(short)), bestMs(match(long))];
    // Eight times the length; a square would be 64 times.
    assert.ok(longMs <= 24 * Math.max(shortMs, 2), `${text}: ${shortMs} and ${longMs} ms`);
  }
});

test("the dearest patterns that are accepted are compiled soon, and are kept as their text", () => {
  const dear = [".{1000}", "(?:a?){490}", "(?:a|b)*a(?:a|b){380}", "(?i:\\pL{6})", "a{0,1000}"];
  for (const text of dear) {
    assert.ok(bestMs(() => TopicPattern.parse(text)) < 200, text);
    assert.deepEqual({ ...TopicPattern.parse(text) }, { text });
  }
});

test("what is larger than its weight is refused once it is compiled", () => {
  const text = "a{0,1000}b{0,990}";
  assert.ok(weightOf(text) <= patternWeightMax && patternInstructionsMax < 2 * patternWeightMax);
  assert.throws(() => TopicPattern.parse(text), refusedWith(/compiles to 39\d\d instructions/));
});

test("groups weigh what is in them", () => {
  for (const [text, weight] of [
    ["abc", 3],
    ["a{3}", 3],
    ["(?:a){3}", 9],
    ["(?P<n>ab)", 4],
    ["(?i-s:ab)", 4],
    ["(a{2}b){10}c", 51],
    ["a{2,}{3}", 6],
    ["(aa)(?i){20}", 80],
    ["a?(?i){20}", 40],
    ["a\\Q\\E{20}", 20],
    ["\\Qa(b\\E", 7],
    ["\\({4}", 4],
    ["\\pL", 300],
    ["[a-z]", 2],
  ] as const) {
    assert.equal(weightOf(text), weight, text);
  }
});

test("topics are matched in steps", () => {
  const topics = Array.from({ length: 200 }, (_, t) => ({
    id: idOf(t),
    name: `${"ab".repeat(120)}${t}`,
  }));
  let steps = 0;
  for (const computation = TopicPattern.parse("(?:.*a.{20}){20}x?").steps(topics); ; steps += 1) {
    if (computation.next().done === true) break;
  }
  assert.ok(steps >= 150, `${steps} steps`);
});
