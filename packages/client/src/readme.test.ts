import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { test } from "node:test";
import { connect } from "./index.ts";
import { FakeBroker } from "./testing/fake-broker.ts";

const AsyncFunction = (async () => {}).constructor as new (
  ...parameters: string[]
) => (...values: unknown[]) => Promise<void>;

test("the examples of the README run", { timeout: 20_000 }, async () => {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const examples = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1] ?? "");
  assert.equal(examples.length, 3);
  const client = await connect({ bootstrap: ["fake:1"], dialer: new FakeBroker() });
  let lines = 0;
  const log = (): void => {
    lines += 1;
  };
  for (const example of examples) {
    const source = stripTypeScriptTypes(`async () => {${example}}`).slice(13, -1);
    await new AsyncFunction("client", "console", source)(client, { log });
  }
  assert.ok(lines > 6, `${lines} lines`);
  await client.close();
});
