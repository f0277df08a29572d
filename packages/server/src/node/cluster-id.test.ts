import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { rememberCluster, wantedCluster } from "./cluster-id.ts";

test("a directory remembers its first cluster, and no setting may name another one", (context) => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-cluster-id-"));
  context.after(() => rmSync(directory, { recursive: true }));
  assert.equal(wantedCluster("", directory), undefined);
  assert.equal(wantedCluster("", undefined), undefined);
  assert.equal(wantedCluster("set", directory), "set");
  rememberCluster(directory, "ours");
  rememberCluster(directory, "another");
  assert.deepEqual(readdirSync(directory), ["cluster-id"]);
  assert.equal(readFileSync(join(directory, "cluster-id"), "utf8"), "ours\n");
  assert.deepEqual(
    ["", "ours"].map((set) => wantedCluster(set, directory)),
    ["ours", "ours"],
  );
  assert.throws(
    () => wantedCluster("theirs", directory),
    (thrown) =>
      hasCode(thrown, ErrorCode.INVALID_CONFIG) && /belongs to cluster ours/.test(`${thrown}`),
  );
  rememberCluster(undefined, "ours");
  assert.throws(
    () => rememberCluster(join(directory, "gone"), "ours"),
    (thrown) => hasCode(thrown, ErrorCode.DATA_DIRECTORY_UNUSABLE),
  );
});

test("a file without an id is no new directory", (context) => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-cluster-id-"));
  context.after(() => rmSync(directory, { recursive: true }));
  for (const content of ["", "\n", "a b\n", "x".repeat(65)]) {
    writeFileSync(join(directory, "cluster-id"), content);
    for (const call of [
      () => wantedCluster("", directory),
      () => rememberCluster(directory, "ours"),
    ]) {
      assert.throws(call, (thrown) => hasCode(thrown, ErrorCode.DATA_DIRECTORY_UNUSABLE));
    }
    assert.equal(readFileSync(join(directory, "cluster-id"), "utf8"), content);
  }
});
