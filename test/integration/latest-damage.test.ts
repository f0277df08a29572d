/** GetLatest of records on a disk that has changed them: an error, and never another value. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { connect } from "@millrace/client";
import { ErrorCode } from "@millrace/errors";
import { ServerProcess, withDirectory } from "./server.ts";

/** Changes one byte of the only file whose name ends so, and that has these bytes. */
const damage = (directory: string, suffix: string, text: string): void => {
  const paths = readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(suffix))
    .map((path) => join(directory, path))
    .filter((path) => readFileSync(path).includes(text));
  assert.equal(paths.length, 1, `one file with ${text}`);
  const [path = ""] = paths;
  const bytes = readFileSync(path);
  const at = bytes.indexOf(text);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes, { flag: "r+" });
};

test(
  "a damaged batch is an error for all of its keys, and then for all of the partition",
  { timeout: 60_000 },
  () =>
    withDirectory(async (directory) => {
      // Reads come from the files.
      const server = new ServerProcess(directory, ["--tail-cache-bytes-max", "0"]);
      try {
        const { client: endpoint } = await server.ready();
        await using client = await connect({ bootstrap: endpoint, adminTimeoutMs: 2_000 });
        const topic = "t";
        await client.admin.createTopic({ name: topic, configs: { "cleanup.policy": "compact" } });
        for (const keys of ["ab", "cd"]) {
          await using producer = client.producer({ lingerMs: 100 });
          for (const key of keys) producer.write({ topic, key, value: `value-of-${key}` });
          await producer.flush();
        }
        const valueOfKey = async (key: string) => (await client.getLatest({ topic, key }))?.text();
        assert.deepEqual(
          [await valueOfKey("a"), await valueOfKey("a"), await valueOfKey("d")],
          ["value-of-a", "value-of-a", "value-of-d"],
        );
        damage(directory, ".log", "value-of-c");
        // Of the batch that is whole.
        assert.equal(await valueOfKey("b"), "value-of-b");
        const isOffline = { code: ErrorCode.PARTITION_OFFLINE };
        await assert.rejects(valueOfKey("c"), isOffline);
        // Those that were in memory, too.
        for (const key of "adb") await assert.rejects(valueOfKey(key), isOffline, key);
      } finally {
        await server.kill("SIGKILL");
      }
    }),
);
