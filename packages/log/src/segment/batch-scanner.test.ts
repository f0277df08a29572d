import assert from "node:assert/strict";
import { test } from "node:test";
import { noPauses } from "../files/breathe.ts";
import { appendAll, batchOf, topicA } from "../testing.ts";
import { simulate } from "../testing-sim.ts";
import { BatchScanner } from "./batch-scanner.ts";

const path = `partitions/${topicA}-00000/${"0".repeat(20)}.log`;

/** A segment of two batches, as its file has it. */
const segmentBytes = async (): Promise<Buffer> => {
  let content: Buffer = Buffer.alloc(0);
  await simulate({}, async ({ disk, start }) => {
    const log = await (await start()).log();
    await appendAll(log, [batchOf([{ value: "first" }]), batchOf([{ value: "second" }])]);
    await log.flush();
    content = Buffer.from(disk.content(path) ?? content);
  });
  return content;
};

test("a scan of a file that was cut under it ends", async () => {
  const content = await segmentBytes();
  for (let length = 0; length <= content.length; length += 1) {
    let reads = 0;
    const file = {
      read: (buffer: Uint8Array, at: number, bytes: number, position: number): Promise<number> => {
        const part = content.subarray(position, Math.min(length, position + bytes));
        buffer.set(part, at);
        reads += 1;
        assert.ok(reads < 100, "it goes on for ever");
        return Promise.resolve(part.length);
      },
    };
    const scanner = new BatchScanner(noPauses, file, 0, content.length);
    let batches = 0;
    let last = await scanner.peek();
    for (; !("end" in last); last = await scanner.peek()) {
      batches += 1;
      scanner.skip(last);
    }
    assert.deepEqual([last.end, batches === 2], [length === content.length, last.end]);
  }
});
