import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { differencesOf } from "./replicas.ts";

/** Data directories, each with the segments of one partition. */
const setUp = (context: TestContext, ...replicas: Readonly<Record<string, string>>[]): string[] => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-replicas-"));
  context.after(() => rmSync(directory, { recursive: true }));
  return replicas.map((segments, broker) => {
    const partition = join(directory, `broker-${broker}`, "partitions", "t-0");
    mkdirSync(partition, { recursive: true });
    for (const [name, text] of Object.entries(segments)) writeFileSync(join(partition, name), text);
    return join(directory, `broker-${broker}`);
  });
};

test("replicas may cut their segments where they like", (context) => {
  const directories = setUp(context, { "0.log": "abc" }, { "0.log": "a", "1.log": "bc" });
  assert.deepEqual(differencesOf(directories), []);
});

test("a replica with another byte, or without one, differs", (context) => {
  for (const other of ["abd", "ab"]) {
    const directories = setUp(context, { "0.log": "abc" }, { "0.log": other });
    const [violation, ...more] = differencesOf(directories);
    assert.match(violation?.text ?? "", /^partition t-0 differs: 3 bytes, \w+; [23] bytes, \w+$/);
    assert.deepEqual(more, []);
  }
});
