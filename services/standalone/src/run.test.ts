import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import "./run.ts";

test("a standalone server loads no client of etcd", () => {
  const loaded = Object.keys(createRequire(import.meta.url).cache);
  assert.ok(loaded.some((path) => path.includes("/prom-client/")));
  assert.deepEqual(
    loaded.filter((path) => /\/(etcd3|protobufjs|cockatiel)\//.test(path)),
    [],
  );
});
