import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeEnv } from "@millrace/env/node";
import { nodeCompressor } from "@millrace/record/node";
import { defaultLogConfig, defaultManagerConfig } from "../defaults.ts";
import { partitionDirectory } from "../files/paths.ts";
import { openLogManager } from "../open.ts";
import { appendAll, batchOf, topicA } from "../testing.ts";

test("an index that is lost is built from what is written, whatever is appended meanwhile", async () => {
  const root = mkdtempSync(join(tmpdir(), "millrace-index-"));
  const open = () =>
    openLogManager({
      env: nodeEnv({ dataDirectory: root, compressor: nodeCompressor, logger: silentLogger }),
      identity: { clusterId: "c", brokerId: 1 },
      // Nothing is written before somebody asks for it.
      config: {
        ...defaultManagerConfig,
        journalFileBytes: 64 * 1024,
        diskReserveBytes: 0,
        writeLingerMs: 60_000,
      },
      configFor: () => defaultLogConfig,
    });
  const of = (timestampMs: number) => batchOf([{ value: `at ${timestampMs}`, timestampMs }]);
  try {
    const first = await open();
    const made = await first.create(topicA, "t", 0, defaultLogConfig);
    await appendAll(made, [of(1000), of(3000), of(2000)]);
    await first.close(true);
    const directory = join(root, partitionDirectory(topicA, 0));
    for (const name of readdirSync(directory)) {
      if (name.endsWith("index")) rmSync(join(directory, name));
    }
    const again = await open();
    const log = again.get(topicA, 0);
    assert.ok(log !== undefined);
    const appending = appendAll(log, [of(5000)]);
    log.updateHighWatermark(4);
    const found = await log.offsetForTimestamp(2500);
    assert.equal(found?.offset, 1);
    assert.equal(log.state.kind, "online");
    await appending;
    assert.equal((await log.maxTimestamp())?.offset, 3);
    await again.close(true);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
