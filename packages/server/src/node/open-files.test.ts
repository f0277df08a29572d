import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { fileBudget, openFilesLimit } from "./open-files.ts";

test("files and connections fit into the limit of the process, with a reserve", () => {
  const wanted = { openFilesMax: 2048, connectionsMax: 4096 };
  assert.deepEqual(fileBudget(undefined, wanted), { ...wanted, reduced: false });
  assert.deepEqual(fileBudget(1_000_000, wanted), { ...wanted, reduced: false });
  assert.deepEqual(fileBudget(2048 + 4096 + 72, wanted), { ...wanted, reduced: false });
  const some = fileBudget(4096, wanted);
  assert.deepEqual(some, { openFilesMax: 2012, connectionsMax: 2012, reduced: true });
  for (let limit = 112; limit < 7000; limit += 1) {
    const { openFilesMax, connectionsMax } = fileBudget(limit, wanted);
    assert.ok(openFilesMax + connectionsMax + 72 <= limit, String(limit));
    assert.ok(openFilesMax >= 20 && connectionsMax >= 20, String(limit));
  }
  const few = { openFilesMax: 16, connectionsMax: 4096 };
  assert.deepEqual(fileBudget(1024, few), { openFilesMax: 16, connectionsMax: 936, reduced: true });
});

test("a limit that no server can live with is refused with what to do", () => {
  assert.throws(
    () => fileBudget(64, { openFilesMax: 2048, connectionsMax: 4096 }),
    (thrown) => hasCode(thrown, ErrorCode.INVALID_CONFIG) && /ulimit -n/.test(thrown.message),
  );
});

test("the limit of this process can be learnt", () => {
  const limit = openFilesLimit();
  assert.ok(limit === undefined || limit > 0);
  if (process.platform === "linux") assert.ok(limit !== undefined);
});
