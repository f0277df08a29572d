import type { Mutant } from "../mutant.ts";

const at = (path: string): string => `packages/record/src/${path}`;
const batchTest = at("batch.test.ts");
const compressorTest = at("node/compressor.test.ts");

export const recordMutants: readonly Mutant[] = [
  {
    name: "body-crc-unchecked",
    breaks: "A batch whose CRC does not match its body is refused.",
    file: at("validate.ts"),
    replace: [["bodyCrc !== undefined && bodyCrc !== crc", "bodyCrc === -1"]],
    tests: [batchTest, "test/integration/bad-input-batches.test.ts"],
  },
  {
    name: "header-crc-unchecked",
    breaks: "A stored header is one that a leader wrote.",
    file: at("batch.ts"),
    replace: [["headerCrcOf(fields) !== headerCrc", "headerCrcOf(fields) === -1"]],
    tests: [batchTest],
  },
  {
    name: "header-crc-without-the-epoch",
    breaks: "The header's CRC covers the leader epoch.",
    file: at("batch.ts"),
    replace: [
      [
        "scratch.writeUInt32LE(fields.leaderEpoch, 8)",
        "scratch.writeUInt32LE(fields.leaderEpoch & 0, 8)",
      ],
    ],
    tests: [batchTest],
  },
  {
    name: "stored-length-not-minimal",
    breaks: "A stored batch has one encoding.",
    file: at("batch.ts"),
    replace: [["byte === 0 && i > 0 ?", "byte === 0 && i > 4 ?"]],
    tests: [at("validate.test.ts")],
  },
  {
    name: "stored-lengths-may-disagree",
    breaks: "The length of a batch and of its body agree.",
    file: at("batch.ts"),
    replace: [["bodyEnd !== at + message", "bodyEnd < at + message"]],
    tests: [batchTest],
  },
  {
    name: "incomplete-batch-read",
    breaks: "A batch that the buffer does not hold to its end is incomplete.",
    file: at("batch.ts"),
    replace: [["if (bodyEnd > buffer.length) return", "if (bodyEnd > buffer.length + 1) return"]],
    tests: [at("validate.test.ts")],
  },
  {
    name: "u64-above-2-to-53",
    breaks: "A 64-bit number that is no safe integer is damage.",
    file: at("batch.ts"),
    replace: [["high > 0x1f_ffff", "high > 0x3f_ffff"]],
    tests: [at("validate.test.ts")],
  },
  {
    name: "record-count-unchecked",
    breaks: "record_count is the number of records.",
    file: at("records.ts"),
    replace: [["if (count !== info.recordCount) {", "if (count > info.recordCount) {"]],
    tests: [batchTest, "test/integration/bad-input-batches.test.ts"],
  },
  {
    name: "offset-deltas-unchecked",
    breaks: "Offset deltas are 0, 1, 2, …",
    file: at("records.ts"),
    replace: [["if (place.offsetDelta !== count) {", "if (place.offsetDelta < count) {"]],
    tests: [batchTest, "test/integration/bad-input-batches.test.ts"],
  },
  {
    name: "max-timestamp-unchecked",
    breaks: "max_timestamp_ms is the largest timestamp.",
    file: at("records.ts"),
    replace: [["largestMs !== info.maxTimestampMs", "largestMs > info.maxTimestampMs"]],
    tests: [batchTest, "test/integration/bad-input-batches.test.ts"],
  },
  {
    name: "header-name-may-be-empty",
    breaks: "A header has a name.",
    file: at("records.ts"),
    replace: [["nameBytes < 1 ||", "nameBytes < 0 ||"]],
    tests: [batchTest, "test/integration/bad-input-batches.test.ts"],
  },
  {
    name: "timestamp-search-skips-equal",
    breaks: "A search by time finds the first record at or after it.",
    file: at("records.ts"),
    replace: [["if (timestampMs >= targetMs)", "if (timestampMs > targetMs)"]],
    tests: [at("validate.test.ts")],
  },
  {
    name: "future-timestamps-taken",
    breaks: "A timestamp too far ahead of the broker's clock is refused.",
    file: at("validate.ts"),
    replace: [["aheadMs > limits.timestampAfterMaxMs", "aheadMs > 2 * limits.timestampAfterMaxMs"]],
    tests: [at("validate.test.ts")],
  },
  {
    name: "old-timestamps-taken",
    breaks: "A timestamp older than message.timestamp.before.max.ms is refused.",
    file: at("validate.ts"),
    replace: [["smallestMs > limits.timestampBeforeMaxMs", "smallestMs > Infinity"]],
    tests: [at("validate.test.ts")],
  },
  {
    name: "body-one-byte-too-large",
    breaks: "max.message.bytes is the largest body that is taken.",
    file: at("validate.ts"),
    replace: [["body.length > limits.bodyBytesMax", "body.length > limits.bodyBytesMax + 1"]],
    tests: [at("validate.test.ts")],
  },
  {
    name: "plain-records-unbounded",
    breaks: "Records that are not compressed are bounded as inflated ones are.",
    file: at("validate.ts"),
    replace: [["info.records.length > limits.inflatedBytesMax", "info.records.length < 0"]],
    tests: [at("validate.test.ts")],
  },
  {
    name: "control-batches-taken",
    breaks: "Producers cannot write control batches.",
    file: at("validate.ts"),
    replace: [["if (info.control !== 0)", "if (info.control < 0)"]],
    tests: [batchTest, "test/integration/bad-input-batches.test.ts"],
  },
  {
    name: "half-an-idempotent-producer",
    breaks: "Producer id, epoch and sequence are set together.",
    file: at("body.ts"),
    replace: [["(numbers[6] !== undefined) !== idempotent || ", ""]],
    tests: [at("validate.test.ts")],
  },
  {
    name: "long-varint-bound",
    breaks: "A varint has at most ten bytes.",
    file: at("reader.ts"),
    replace: [
      [
        "return value <= Number.MAX_SAFE_INTEGER ? value : Number.NaN;\n" +
          "    }\n" +
          '    throw this.fault("a number is longer than 10 bytes");',
        "return value <= Number.MAX_SAFE_INTEGER ? value : Number.NaN;\n    }\n    return value;",
      ],
    ],
    tests: [at("reader.test.ts")],
  },
  {
    name: "uint64-wraps",
    breaks: "A number of 2^53 or more is refused, never rounded.",
    file: at("reader.ts"),
    replace: [["value <= Number.MAX_SAFE_INTEGER ? value : Number.NaN", "value"]],
    tests: [at("reader.test.ts")],
  },
  {
    name: "field-past-the-end",
    breaks: "A field ends within its message.",
    file: at("reader.ts"),
    replace: [["if (!(this.at + length <= this.bytes.length))", "if (Number.isNaN(length))"]],
    tests: [at("reader.test.ts")],
  },
  {
    name: "text-not-utf8",
    breaks: "Text is valid UTF-8.",
    file: at("reader.ts"),
    replace: [["{ fatal: true, ignoreBOM: true }", "{ fatal: false, ignoreBOM: true }"]],
    tests: [at("reader.test.ts")],
  },
  {
    name: "varint-size-at-two-bytes",
    breaks: "The size of a varint is that of its encoding.",
    file: at("varint.ts"),
    replace: [["if (value < 0x4000) return 2;", "if (value <= 0x4000) return 2;"]],
    tests: [at("varint.test.ts")],
  },
  {
    name: "varint-write-above-31-bits",
    breaks: "Varints of more than 31 bits are written whole.",
    file: at("varint.ts"),
    replace: [["while (rest > 0x7fff_ffff)", "while (rest > 0x1_ffff_ffff)"]],
    tests: [at("varint.test.ts")],
  },
  {
    name: "bomb-uncapped",
    breaks: "Inflating stops at the bound.",
    file: at("node/compressor.ts"),
    replace: [["if (result.length > maxBytes) throw tooLarge(maxBytes);", ""]],
    tests: [compressorTest],
  },
  {
    name: "gzip-bomb-inflated-whole",
    breaks: "A gzip bomb is stopped at the bound, before it is whole.",
    file: at("node/compressor.ts"),
    replace: [
      [
        "const gunzipOptions = (maxBytes: number): ZlibOptions => ({\n  maxOutputLength: Math.max(1, maxBytes),",
        "const gunzipOptions = (maxBytes: number): ZlibOptions => ({\n  maxOutputLength: Math.max(2 ** 30, maxBytes),",
      ],
      [
        "statedBytes(bytes) > maxBytes && canExceed(bytes, maxBytes)",
        "statedBytes(bytes) > 2 ** 30 && canExceed(bytes, maxBytes)",
      ],
    ],
    tests: [compressorTest],
  },
  {
    name: "lz4-bound-unchecked",
    breaks: "An LZ4 bomb is refused before it is inflated.",
    file: at("node/compressor.ts"),
    replace: [
      ["lz4FrameBoundBytes(bytes, maxBytes) > maxBytes", "lz4FrameBoundBytes(bytes, maxBytes) < 0"],
    ],
    tests: [compressorTest],
  },
  {
    name: "gzip-trailing-bytes",
    breaks: "Bytes behind a gzip member are refused.",
    file: at("node/compressor.ts"),
    replace: [['if (kind !== "gzip") return;', 'if (kind !== "zstd") return;']],
    tests: [compressorTest],
  },
  {
    name: "zstd-trailing-bytes",
    breaks: "Bytes behind a zstd frame are refused.",
    file: at("zstd-frame.ts"),
    replace: [['if (at < frame.length) throw new Error("bytes follow the zstd frame");', ""]],
    tests: [compressorTest],
  },
  {
    name: "zstd-window-called-damage",
    breaks: "A zstd window above the limit is named, not called damage.",
    file: at("zstd-frame.ts"),
    replace: [["if (windowBytes > windowBytesMax) {", "if (windowBytes < 0) {"]],
    tests: [compressorTest],
  },
  {
    name: "window-error-wrapped-as-corruption",
    breaks: "A producer learns that its zstd window is too large.",
    file: at("validate.ts"),
    replace: [["    if (thrown instanceof MillraceError) throw thrown;\n", ""]],
    tests: [at("validate.test.ts")],
  },
  {
    name: "opening-copied-for-each-piece",
    breaks: "An opening that comes in many pieces is decoded in no time.",
    file: at("wire/fetch.ts"),
    replace: [
      [
        "(into?.requiredFeatures as string[] | undefined) ?? [];",
        "[...(into?.requiredFeatures ?? [])];",
      ],
    ],
    tests: [at("wire/wire.test.ts")],
  },
];
