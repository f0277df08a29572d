import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode } from "@millrace/errors";
import { clusterOf, EmbeddedStore, encodeRecord, keys } from "@millrace/metadata";
import { openSqliteStore } from "@millrace/metadata/node";
import { ClusterRecordSchema } from "@millrace/proto/storage";
import { lockDirectory } from "@millrace/server/node";
import { moveToCluster } from "./move.ts";

const env = { clock: nodeClock(), random: nodeRandom() };

/** The directory of a standalone server that was stopped. */
const setUp = async (context: TestContext) => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-move-"));
  context.after(() => rmSync(directory, { recursive: true }));
  const store = openSqliteStore({ path: join(directory, "metadata.sqlite"), ...env });
  const record = create(ClusterRecordSchema, { clusterId: "cluster-a", formatVersion: 1 });
  await store.txn([], [{ type: "put", key: keys.cluster, value: encodeRecord.cluster(record) }]);
  await store.close();
  const to = new EmbeddedStore(env);
  return { directory, to, move: () => moveToCluster({ ...env, directory, store: to }) };
};

test("the metadata leave the directory, and the lock is given up", async (context) => {
  const { directory, to, move } = await setUp(context);
  assert.equal((await move()).clusterId, "cluster-a");
  assert.equal((await clusterOf(to))?.clusterId, "cluster-a");
  assert.deepEqual(readdirSync(directory).sort(), ["lock", "metadata-moved.sqlite"]);
  lockDirectory(directory)();
  await assert.rejects(move(), {
    code: ErrorCode.DATA_DIRECTORY_UNUSABLE,
    message: /was moved to a cluster before: start a broker on it/,
  });
});

test("a directory that a server uses stays as it is", async (context) => {
  const { directory, to, move } = await setUp(context);
  const unlock = lockDirectory(directory);
  await assert.rejects(move(), { code: ErrorCode.DATA_DIRECTORY_LOCKED });
  assert.equal(await clusterOf(to), undefined);
  unlock();
  await move();
});

test("what fails before its end leaves the directory as it is", async (context) => {
  const { directory, to, move } = await setUp(context);
  await to.close();
  await assert.rejects(move());
  assert.ok(existsSync(join(directory, "metadata.sqlite")));
  lockDirectory(directory)();
});

test("another directory is refused, and nothing is made in it", async (context) => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-move-"));
  context.after(() => rmSync(directory, { recursive: true }));
  const moving = moveToCluster({ ...env, directory, store: new EmbeddedStore(env) });
  await assert.rejects(moving, {
    code: ErrorCode.DATA_DIRECTORY_UNUSABLE,
    message: /has no metadata\.sqlite/,
  });
  assert.deepEqual(readdirSync(directory), []);
});
