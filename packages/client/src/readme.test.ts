/** The examples of the README run, each by itself, as a reader copies them. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { test } from "node:test";
import * as millrace from "./index.ts";
import { FakeBroker } from "./testing/fake-broker.ts";
import { FakeCoordinator } from "./testing/fake-coordinator.ts";

const AsyncFunction = (async () => {}).constructor as new (
  ...parameters: string[]
) => (...values: unknown[]) => Promise<void>;

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const examples = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1] ?? "");

/** The example as the body of a function, which gets the package as `millrace`. */
const bodyOf = (example: string): string => {
  const imported = /^import \{([^}]*)\} from "@millrace\/client";$/m;
  assert.match(example, imported);
  const source = example.replace(imported, (_, names: string) => {
    const values = names.split(",").filter((name) => !name.trim().startsWith("type "));
    return `const {${values.join(",")}} = millrace;`;
  });
  return stripTypeScriptTypes(`async () => {${source}}`).slice(13, -1);
};

test("the examples of the README run", { timeout: 20_000 }, async () => {
  assert.ok(examples.length >= 8, `${examples.length} examples`);
  const dialer = new FakeCoordinator(new FakeBroker());
  dialer.assigns = [0];
  const asked: unknown[] = [];
  const connect = ({ bootstrap }: millrace.ConnectOptions): Promise<millrace.Client> => {
    asked.push(bootstrap);
    return millrace.connect({ bootstrap: "fake:1", dialer });
  };
  let lines = 0;
  const log = (): void => {
    lines += 1;
  };
  for (const example of examples) {
    const run = new AsyncFunction("millrace", "console", bodyOf(example));
    await run({ ...millrace, connect }, { log, error: log });
  }
  assert.ok(lines > 6, `${lines} lines`);
  assert.deepEqual([...new Set(asked)], ["localhost:7400"]);
});
