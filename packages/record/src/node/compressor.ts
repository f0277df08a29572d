/** Compression on Node: gzip and zstd from `node:zlib`, LZ4 frames from `lz4-napi`; in threads. */
import zlib, { type ZlibOptions, type ZstdOptions } from "node:zlib";
import type { CompressionName, Compressor } from "@millrace/env";
import { ErrorCode, MillraceError, sizeText } from "@millrace/errors";
import { compressFrame, compressFrameSync, decompressFrame, decompressFrameSync } from "lz4-napi";
import { lz4FrameBoundBytes } from "../lz4-frame.ts";
import { checkZstdFrame } from "../zstd-frame.ts";

type Done = (error: Error | null, result: Buffer) => void;

const promised = (start: (done: Done) => void): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    start((error, result) => {
      if (error === null) resolve(result);
      else reject(error);
    });
  });

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const gzipOptions = (level: number | undefined): ZlibOptions =>
  level === undefined ? {} : { level };

const zstdOptions = (level: number | undefined): ZstdOptions =>
  level === undefined ? {} : { params: { [zlib.constants.ZSTD_c_compressionLevel]: level } };

const gunzipOptions = (maxBytes: number): ZlibOptions => ({
  maxOutputLength: Math.max(1, maxBytes),
});

/** RFC 8878 asks decoders to take windows of 8 MiB; more only where the output may be larger. */
const windowLogMax = (maxBytes: number): number =>
  Math.min(27, Math.max(23, Math.ceil(Math.log2(Math.max(1, maxBytes)))));

const unzstdOptions = (maxBytes: number): ZstdOptions => ({
  maxOutputLength: Math.max(1, maxBytes),
  params: { [zlib.constants.ZSTD_d_windowLogMax]: windowLogMax(maxBytes) },
});

/** The zstd of Node. Throws UNSUPPORTED_COMPRESSION where Node has none, before 22.15. */
const zstd = (): typeof zlib => {
  if ("zstdCompress" in zlib) return zlib;
  throw new MillraceError(
    ErrorCode.UNSUPPORTED_COMPRESSION,
    `Node ${process.versions.node} has no zstd: use Node 22.15 or newer, or another compression`,
  );
};

const tooLarge = (maxBytes: number): RangeError =>
  new RangeError(`inflates past ${sizeText(maxBytes)}`);

/** Turns the error of Node for `maxOutputLength` into the RangeError of the contract. */
const translated = (thrown: unknown, maxBytes: number): unknown =>
  thrown instanceof Error && "code" in thrown && thrown.code === "ERR_BUFFER_TOO_LARGE"
    ? tooLarge(maxBytes)
    : thrown;

const checkInput = (kind: CompressionName, bytes: Uint8Array, maxBytes: number): void => {
  if (kind === "zstd") checkZstdFrame(bytes, 2 ** windowLogMax(maxBytes));
  else if (kind === "gzip" && statedBytes(bytes) > maxBytes && canExceed(bytes, maxBytes)) {
    throw tooLarge(maxBytes);
  } else if (kind === "lz4" && lz4FrameBoundBytes(bytes, maxBytes) > maxBytes) {
    throw tooLarge(maxBytes);
  }
};

/** The inflated size that a gzip member states. */
const statedBytes = (bytes: Uint8Array): number =>
  bytes.length < 4 ? 0 : asBuffer(bytes).readUInt32LE(bytes.length - 4);

/**
 * Deflate expands a byte to at most 1032: a shorter member that states more is damaged, not large.
 */
const canExceed = (bytes: Uint8Array, maxBytes: number): boolean => bytes.length * 1032 > maxBytes;

/**
 * Zlib continues over several members, and over zeros behind them. The last four bytes of a member
 * state its inflated length, so anything relevant behind it shows there.
 */
const checkOutput = (kind: CompressionName, bytes: Uint8Array, result: Buffer): void => {
  if (kind !== "gzip") return;
  if (statedBytes(bytes) !== result.length % 0x1_0000_0000)
    throw new Error("bytes follow the gzip member");
};

/** Concurrent inflations: each may need `maxBytes`, and the thread pool also serves the disk. */
export const inflationsMax = 2;
let inflations = 0;
const waiting: (() => void)[] = [];

/**
 * Runs `inflating` when one of `inflationsMax` slots is free; those that wait keep only their
 * input.
 */
const inTurn = async <T>(inflating: () => Promise<T>): Promise<T> => {
  if (inflations >= inflationsMax) {
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
    });
  } else inflations += 1;
  try {
    return await inflating();
  } finally {
    const next = waiting.shift();
    if (next === undefined) inflations -= 1;
    else next();
  }
};

const inflate = (kind: CompressionName, bytes: Uint8Array, maxBytes: number): Promise<Buffer> => {
  if (kind === "gzip") return promised((done) => zlib.gunzip(bytes, gunzipOptions(maxBytes), done));
  if (kind === "zstd") {
    return promised((done) => zstd().zstdDecompress(bytes, unzstdOptions(maxBytes), done));
  }
  return decompressFrame(bytes);
};

const inflateSync = (kind: CompressionName, bytes: Uint8Array, maxBytes: number): Buffer => {
  if (kind === "gzip") return zlib.gunzipSync(bytes, gunzipOptions(maxBytes));
  if (kind === "zstd") return zstd().zstdDecompressSync(bytes, unzstdOptions(maxBytes));
  return decompressFrameSync(asBuffer(bytes));
};

const decompressWith = async (
  run: (kind: CompressionName, bytes: Uint8Array, maxBytes: number) => Buffer | Promise<Buffer>,
  kind: CompressionName,
  bytes: Uint8Array,
  maxBytes: number,
): Promise<Uint8Array> => {
  checkInput(kind, bytes, maxBytes);
  try {
    const result = await run(kind, bytes, maxBytes);
    if (result.length > maxBytes) throw tooLarge(maxBytes);
    checkOutput(kind, bytes, result);
    return result;
  } catch (thrown) {
    throw translated(thrown, maxBytes);
  }
};

/** Compression in libuv's threads; results come in any order. */
export const nodeCompressor: Compressor = {
  async compress(kind: CompressionName, bytes: Uint8Array, level?: number): Promise<Uint8Array> {
    if (kind === "gzip") return promised((done) => zlib.gzip(bytes, gzipOptions(level), done));
    if (kind === "zstd")
      return promised((done) => zstd().zstdCompress(bytes, zstdOptions(level), done));
    return compressFrame(bytes);
  },
  decompress: (kind, bytes, maxBytes) =>
    inTurn(() => decompressWith(inflate, kind, bytes, maxBytes)),
};

/**
 * The same results within one microtask, for the simulator: no thread decides the order of events.
 */
export const syncCompressor: Compressor = {
  async compress(kind: CompressionName, bytes: Uint8Array, level?: number): Promise<Uint8Array> {
    if (kind === "gzip") return zlib.gzipSync(bytes, gzipOptions(level));
    if (kind === "zstd") return zstd().zstdCompressSync(bytes, zstdOptions(level));
    return compressFrameSync(asBuffer(bytes));
  },
  decompress: (kind, bytes, maxBytes) => decompressWith(inflateSync, kind, bytes, maxBytes),
};
