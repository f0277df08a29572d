import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeEnv } from "@millrace/env/node";
import { nodeCompressor } from "@millrace/record/node";
import type { LogConfig } from "../api.ts";
import { defaultLogConfig, defaultManagerConfig } from "../defaults.ts";
import { partitionDirectory } from "../files/paths.ts";
import { openLogManager } from "../open.ts";
import { appendAll, batchOf, topicA } from "../testing.ts";
import { encodeTimeEntries } from "./index-format.ts";

const at = (timestampMs: number) => batchOf([{ value: `at ${timestampMs}`, timestampMs }]);

/** A directory, and log managers over it that write nothing before somebody asks for it. */
const withDirectory = async (
  config: LogConfig,
  work: (open: () => ReturnType<typeof openLogManager>, directory: string) => Promise<void>,
): Promise<void> => {
  const root = mkdtempSync(join(tmpdir(), "millrace-index-"));
  const open = () =>
    openLogManager({
      env: nodeEnv({ dataDirectory: root, compressor: nodeCompressor, logger: silentLogger }),
      identity: { clusterId: "c", brokerId: 1 },
      config: {
        ...defaultManagerConfig,
        journalFileBytes: 64 * 1024,
        diskReserveBytes: 0,
        writeLingerMs: 60_000,
      },
      configFor: () => config,
    });
  try {
    const first = await open();
    const made = await first.create(topicA, "t", 0, config);
    await appendAll(made, [1000, 3000, 2000].map(at));
    await first.close(true);
    await work(open, join(root, partitionDirectory(topicA, 0)));
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
};

test("an index that is lost is built from what is written, whatever is appended meanwhile", () =>
  withDirectory(defaultLogConfig, async (open, directory) => {
    for (const name of readdirSync(directory)) {
      if (name.endsWith("index")) rmSync(join(directory, name));
    }
    const again = await open();
    const log = again.get(topicA, 0);
    assert.ok(log !== undefined);
    const appending = appendAll(log, [at(5000)]);
    log.updateHighWatermark(4);
    const found = await log.offsetForTimestamp(2500);
    assert.equal(found?.offset, 1);
    assert.equal(log.state.kind, "online");
    await appending;
    assert.equal((await log.maxTimestamp())?.offset, 3);
    await again.close(true);
  }));

test("entries behind those that a segment has are not believed, however sound", () =>
  withDirectory({ ...defaultLogConfig, segmentBytes: 100 }, async (open, directory) => {
    const again = await open();
    const log = again.get(topicA, 0);
    assert.ok(log !== undefined);
    log.updateHighWatermark(3);
    assert.equal(readdirSync(directory).filter((name) => name.endsWith(".log")).length, 3);
    // What a write leaves that failed half way, or one of before a truncation.
    const foreign = encodeTimeEntries(0, [{ offset: 1, position: 0, maxBeforeMs: 9000 }]);
    appendFileSync(join(directory, `${"0".repeat(20)}.timeindex`), foreign);
    const latest = await log.maxTimestamp();
    await again.close(true);
    assert.deepEqual([latest?.offset, latest?.timestampMs], [1, 3000]);
  }));
