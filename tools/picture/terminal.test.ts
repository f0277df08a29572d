import assert from "node:assert/strict";
import { test } from "node:test";
import { terminalPicture } from "./terminal.ts";

test("what was typed and printed stands in lines, whatever characters it has", () => {
  const picture = terminalPicture("a <session>", [
    { typed: "echo '<&>'", printed: "<&>\n" },
    { typed: "true", printed: "" },
    { typed: "x".repeat(100), printed: "one\n\ntwo\n" },
  ]);
  const lines = [...picture.matchAll(/<text [^>]*>(.*)<\/text>/g)].map((match) => match[1]);
  assert.deepEqual(lines, [
    "$ echo '&lt;&amp;&gt;'",
    "&lt;&amp;&gt;",
    "",
    "$ true",
    "",
    `$ ${"x".repeat(90)}`,
    "x".repeat(10),
    "one",
    "",
    "two",
  ]);
  assert.match(picture, /<title>a &lt;session&gt;<\/title>/);
});
