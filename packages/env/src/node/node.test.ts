import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { nodeClock, nodeDisk, nodeRandom } from "./index.ts";

const withDisk = async (run: (disk: ReturnType<typeof nodeDisk>) => Promise<void>) => {
  const root = mkdtempSync(join(tmpdir(), "millrace-disk-"));
  try {
    await run(nodeDisk(root));
  } finally {
    rmSync(root, { recursive: true });
  }
};

test("files are written in chunks, read back, truncated, renamed", async () => {
  await withDisk(async (disk) => {
    await disk.makeDirectory("d");
    const file = await disk.open("d/a", "create");
    const chunks = Array.from({ length: 3000 }, (_, i) => Buffer.alloc(3, i % 251));
    await file.write(chunks, 5);
    await file.sync();
    assert.equal(await file.size(), 9005);
    const target = Buffer.alloc(10_000);
    assert.equal(await file.read(target, 100, 9_900, 5), 9000);
    assert.deepEqual(target.subarray(100, 9100), Buffer.concat(chunks));
    await file.truncate(7);
    assert.equal(await disk.fileSize("d/a"), 7);
    await file.close();
    await disk.rename("d/a", "d/b");
    await disk.syncDirectory("d");
    assert.deepEqual(await disk.list("d"), ["b"]);
    assert.equal(await disk.fileSize("d/a"), undefined);
    assert.equal(await disk.fileSize("d"), undefined);
    await assert.rejects(disk.open("d/b", "create"), { code: "EEXIST" });
    await assert.rejects(disk.open("d/c", "read"), { code: "ENOENT" });
    await assert.rejects(disk.removeDirectory("d"), { code: "ENOTEMPTY" });
    await disk.unlink("d/b");
    await disk.removeDirectory("d");
    const { freeBytes, totalBytes } = await disk.space();
    assert.ok(freeBytes > 0 && freeBytes <= totalBytes);
  });
});

test("a file is closed after its writes, whichever way it was opened", async () => {
  await withDisk(async (disk) => {
    await (await disk.open("a", "create")).close();
    for (const mode of ["write", "writeDurably"] as const) {
      const file = await disk.open("a", mode);
      const bytes = Buffer.alloc(8 * 1024 * 1024, mode.length);
      const written = file.write([bytes, bytes.subarray(1)], 0);
      await file.close();
      await written;
      assert.equal(await disk.fileSize("a"), 2 * bytes.length - 1);
      const again = await disk.open("a", "read");
      const target = Buffer.alloc(bytes.length);
      await again.read(target, 0, target.length, bytes.length - 1);
      assert.deepEqual(target, bytes);
      await again.close();
    }
  });
});

test("a failure is the caller's at once, too many open files as well", async (t) => {
  await withDisk(async (disk) => {
    let calls = 0;
    const fail = async (): Promise<never> => {
      calls += 1;
      throw Object.assign(new Error("EMFILE"), { code: "EMFILE" });
    };
    t.mock.method(fs, "open", fail);
    t.mock.method(fs, "readdir", fail);
    syncBuiltinESMExports();
    try {
      await assert.rejects(disk.open("x", "create"), { code: "EMFILE" });
      await assert.rejects(disk.list("."), { code: "EMFILE" });
      await assert.rejects(disk.syncDirectory("."), { code: "EMFILE" });
      assert.equal(calls, 3);
    } finally {
      t.mock.restoreAll();
      syncBuiltinESMExports();
    }
  });
});

test("clock: timers are cancelled, sleeps end with their signal", async () => {
  const clock = nodeClock();
  let fired = false;
  clock.timer(1, () => {
    fired = true;
  })();
  await clock.sleep(10);
  assert.equal(fired, false);
  await assert.rejects(clock.sleep(10_000, AbortSignal.timeout(5)), { name: "TimeoutError" });
  await assert.rejects(clock.sleep(1, AbortSignal.abort(new Error("gone"))), { message: "gone" });
  const cancel = clock.timer(2 ** 40, () => assert.fail("fired 34 years early"));
  await new Promise<void>((resolve) => clock.defer(resolve));
  cancel();
  assert.ok(clock.monoMs() > 0 && clock.wallMs() > 1.7e12);
});

test("random: in range", () => {
  const random = nodeRandom();
  for (let i = 0; i < 1000; i += 1) {
    assert.ok(random.float() < 1);
    assert.ok(random.below(7) < 7);
  }
  assert.equal(random.below(1), 0);
  assert.equal(random.bytes(5).length, 5);
});
