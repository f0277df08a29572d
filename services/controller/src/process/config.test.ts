import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { configFrom } from "@millrace/server/node";
import { controllerSchema } from "./config.ts";

const etcd = ["--etcd-endpoints", "http://etcd:2379"];
const resolve = (...argv: readonly string[]) =>
  configFrom(controllerSchema, [...etcd, ...argv], {}).values;

test("a controller needs its id and its etcd, and no directory", () => {
  const values = resolve("--controller-id", "0");
  assert.deepEqual(
    [values["controller-id"], values["data-dir"], values["default-replication-factor"]],
    [0, "", 3],
  );
  for (const argv of [[], ["--controller-id", "-1"]]) {
    assert.throws(
      () => resolve(...argv),
      (thrown) => hasCode(thrown, ErrorCode.INVALID_CONFIG),
    );
  }
});

test("a default replication factor is 1 to 32", () => {
  for (const bad of ["0", "33", "three"]) {
    assert.throws(
      () => resolve("--controller-id", "0", `--default-replication-factor=${bad}`),
      (thrown) => hasCode(thrown, ErrorCode.INVALID_CONFIG) && /1 to 32/.test(thrown.message),
    );
  }
});
