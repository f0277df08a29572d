import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { isLocked, lockDirectory, prepareDirectory } from "./data-directory.ts";

const withDirectory = (body: (path: string) => void): void => {
  const path = mkdtempSync(join(tmpdir(), "millrace-directory-"));
  try {
    body(path);
  } finally {
    rmSync(path, { recursive: true });
  }
};

test("a directory with something else in it is refused, and left as it is", () => {
  withDirectory((path) => {
    writeFileSync(join(path, "thesis.tex"), "");
    assert.throws(
      () => prepareDirectory(path),
      (thrown) =>
        hasCode(thrown, ErrorCode.DATA_DIRECTORY_UNUSABLE) &&
        /has thesis.tex in it, and is no data directory: choose an empty/.test(thrown.message),
    );
    assert.deepEqual(readdirSync(path), ["thesis.tex"]);
    // What a server has used stays usable, whatever lies beside it.
    mkdirSync(join(path, "partitions"));
    prepareDirectory(path);
  });
});

test("a new volume counts as empty", () => {
  withDirectory((path) => {
    mkdirSync(join(path, "lost+found"));
    writeFileSync(join(path, ".keep"), "");
    prepareDirectory(path);
    prepareDirectory(join(path, "made"));
  });
});

test("whether a directory is in use can be seen without a trace", () => {
  withDirectory((path) => {
    assert.equal(isLocked(path), false);
    assert.deepEqual(readdirSync(path), []);
    const release = lockDirectory(path);
    assert.equal(isLocked(path), true);
    release();
    assert.equal(isLocked(path), false);
    lockDirectory(path)();
  });
});
