import assert from "node:assert/strict";
import { test } from "node:test";
import zlib from "node:zlib";
import type { CompressionName, Compressor } from "@millrace/env";
import { ErrorCode, hasCode } from "@millrace/errors";
import { nodeCompressor, syncCompressor } from "./compressor.ts";

const kinds: readonly CompressionName[] = ["gzip", "zstd", "lz4"];
const variants: readonly [string, Compressor][] = [
  ["threads", nodeCompressor],
  ["sync", syncCompressor],
];

const noise = (length: number): Buffer => {
  const bytes = Buffer.alloc(length);
  let state = 0x9e3779b9;
  for (let i = 0; i < length; i += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state;
  }
  return bytes;
};

const samples: readonly Buffer[] = [
  Buffer.alloc(0),
  Buffer.from("a"),
  Buffer.from("mill ".repeat(50)),
  Buffer.alloc(300_000, 7),
  noise(200_000),
  Buffer.concat([noise(70_000), Buffer.alloc(5_000_000)]),
];

for (const [name, compressor] of variants) {
  for (const kind of kinds) {
    test(`${kind} (${name}) round-trips, and the cap is exact`, async () => {
      for (const sample of samples) {
        const packed = await compressor.compress(kind, sample);
        const back = await compressor.decompress(kind, packed, sample.length);
        assert.deepEqual(Buffer.from(back), sample);
        if (sample.length > 0) {
          await assert.rejects(
            compressor.decompress(kind, packed, sample.length - 1),
            (thrown) => thrown instanceof RangeError,
          );
        }
      }
    });

    test(`${kind} (${name}) refuses damaged, cut and trailing bytes`, async () => {
      const packed = Buffer.from(await compressor.compress(kind, noise(5_000)));
      const refuse = async (bytes: Uint8Array): Promise<void> => {
        await assert.rejects(
          compressor.decompress(kind, bytes, 1_000_000),
          (thrown) => thrown instanceof Error,
        );
      };
      await refuse(packed.subarray(0, 0));
      for (const cut of [1, 4, 7, 12, 100, packed.length - 1])
        await refuse(packed.subarray(0, cut));
      await refuse(Buffer.concat([packed, Buffer.of(1)]));
      await refuse(Buffer.concat([packed, Buffer.alloc(5)]));
      await refuse(Buffer.concat([packed, packed]));
      await refuse(Buffer.from("not compressed at all"));
    });
  }
}

test("a bomb is stopped at the cap", async () => {
  for (const kind of kinds) {
    // Far more than what earlier work may have left to be used again.
    const bomb = await nodeCompressor.compress(kind, Buffer.alloc(192 * 1024 * 1024));
    const before = process.memoryUsage().rss;
    await assert.rejects(nodeCompressor.decompress(kind, bomb, 1_000_000), RangeError);
    assert.ok(process.memoryUsage().rss - before < 64 * 1024 * 1024, kind);
  }
});

test("a zstd window above the limit is named, and is no damage", async () => {
  // One raw block of three bytes, in a frame that asks for a window of 2 to the `log`.
  const frame = (log: number): Buffer =>
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 0x19, 0, 0, 1, 2, 3]);
  for (const [, compressor] of variants) {
    const allowed = await compressor.decompress("zstd", frame(26), 64 * 1024 * 1024);
    assert.deepEqual(Buffer.from(allowed), Buffer.of(1, 2, 3));
    for (const [log, size] of [
      [27, "128 MiB"],
      [31, "2 GiB"],
      [41, "2 TiB"],
    ] as const) {
      await assert.rejects(
        compressor.decompress("zstd", frame(log), 64 * 1024 * 1024),
        (thrown) =>
          hasCode(thrown, ErrorCode.UNSUPPORTED_COMPRESSION) &&
          thrown.message.includes(`window of ${size}, at most 64 MiB`),
      );
    }
    const stated = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x10, 0x19, 0, 0, 1, 2, 3]);
    await assert.rejects(compressor.decompress("zstd", stated, 64 * 1024 * 1024), RangeError);
  }
});

test("a Node without zstd says so, and has the other kinds", async (context) => {
  const { zstdCompress } = zlib;
  const packed = await nodeCompressor.compress("zstd", Buffer.from("a"));
  Reflect.deleteProperty(zlib, "zstdCompress");
  context.after(() => Object.assign(zlib, { zstdCompress }));
  const refused = (thrown: unknown): boolean =>
    hasCode(thrown, ErrorCode.UNSUPPORTED_COMPRESSION) && /has no zstd: use /.test(thrown.message);
  for (const [, compressor] of variants) {
    await assert.rejects(compressor.compress("zstd", Buffer.from("a")), refused);
    await assert.rejects(compressor.decompress("zstd", packed, 100), refused);
    assert.ok((await compressor.compress("gzip", Buffer.from("a"))).length > 0);
  }
});

test("an LZ4 frame that lies about its content size is refused", async () => {
  const packed = Buffer.from(await nodeCompressor.compress("lz4", Buffer.alloc(100, 1)));
  const flags = packed[4] ?? 0;
  const lying = Buffer.concat([
    packed.subarray(0, 4),
    Buffer.of(flags | 0x08, packed[5] ?? 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0),
    packed.subarray(7),
  ]);
  await assert.rejects(nodeCompressor.decompress("lz4", lying, 1_000_000), Error);
});
