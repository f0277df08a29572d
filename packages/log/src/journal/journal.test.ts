import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeEnv } from "@millrace/env/node";
import { nodeCompressor } from "@millrace/record/node";
import { paths } from "../files/paths.ts";
import { topicA } from "../testing.ts";
import { Journal } from "./journal.ts";

test("a file with a place for a round is not taken away before the round is written", async () => {
  const root = mkdtempSync(join(tmpdir(), "millrace-journal-"));
  const env = nodeEnv({ dataDirectory: root, compressor: nodeCompressor, logger: silentLogger });
  await env.disk.makeDirectory(paths.journal);
  const sizes = { fileBytes: 64 * 1024, bytesMax: 64 * 1024 };
  const journal = await Journal.open({ env, directoryId: Buffer.alloc(16), ...sizes }, 0);
  const entry = {
    topicId: topicA,
    partition: 0,
    kind: "deleted",
    payload: [],
    payloadBytes: 0,
  } as const;
  try {
    await journal.prepare(1, 0);
    await journal.commit(1, [entry]);
    await journal.prepare(1, 0);
    journal.release(1);
    await journal.commit(2, [entry]);
    assert.ok(journal.bytesUsed > 0);
    journal.release(2);
    assert.equal(journal.bytesUsed, 0);
  } finally {
    await journal.close();
    rmSync(root, { recursive: true, force: true });
  }
});
