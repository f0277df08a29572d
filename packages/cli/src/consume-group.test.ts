import assert from "node:assert/strict";
import { test } from "node:test";
import { checkGroupFlags, groupStart, partitionsText } from "./consume-group.ts";
import { sourceOf } from "./consume-range.ts";

test("partitions are told by topic, in ranges", () => {
  const of = (topic: string, ...partitions: number[]) =>
    partitions.map((partition) => ({ topic, partition }));
  assert.equal(partitionsText([]), "none");
  assert.equal(partitionsText(of("t", 3)), "t 3");
  assert.equal(partitionsText(of("t", 10, 0, 2, 1, 9, 5)), "t 0-2,5,9-10");
  assert.equal(partitionsText([...of("b", 0), ...of("a", 1, 0)]), "a 0-1; b 0");
});

test("flags that the group decides are refused, whatever their value", () => {
  assert.throws(() => checkGroupFlags({ untilEnd: true }), /--until-end does not go with --group/);
  assert.throws(() => checkGroupFlags({ partition: ["0"] }), /--partition does not go/);
  assert.throws(() => checkGroupFlags({ to: "1" }), /--to does not go/);
  checkGroupFlags({ from: "latest", max: "1" });
  assert.equal(groupStart("earliest"), "earliest");
  assert.throws(() => groupStart("-1h"), /millrace group reset moves a group/);
});

test("a pattern of the command line is a regular expression of whole names", () => {
  const matches = (pattern: string, name: string): boolean =>
    new RegExp(`^(?:${sourceOf(pattern)})$`).test(name);
  assert.ok(matches("orders.*", "orders.eu") && !matches("orders.*", "ordersXeu"));
  assert.ok(matches("a?c", "abc") && !matches("a?c", "ac"));
  assert.ok(matches("a|b*", "a|bc") && !matches("a|b*", "a"));
});
