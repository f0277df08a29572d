import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  checkTopicConfigs,
  checkTopicName,
  messageBytesMax,
  parseBytes,
  parseDurationMs,
  resolveConfig,
  type Schema,
  topicConfigOf,
} from "./index.ts";

const schema = {
  "data-dir": {
    type: "text",
    pattern: /^.+$/,
    hint: "a path",
    default: "./data",
    description: "d",
  },
  "journal-bytes-max": {
    type: "integer",
    unit: "bytes",
    min: 4096,
    max: 2 ** 40,
    default: 2 ** 28,
    description: "j",
  },
  "log-level": { type: "choice", choices: ["debug", "info"], default: "info", description: "l" },
} as const satisfies Schema;

const refused = (code: ErrorCode, text: RegExp) => (thrown: unknown) => {
  assert.ok(thrown instanceof MillraceError);
  assert.equal(thrown.code, code);
  assert.match(thrown.message, text);
  return true;
};

test("flags win over environment, environment over file, file over default", () => {
  const file = { "data-dir": "file", "journal-bytes-max": "1MiB", "log-level": "debug" };
  const resolved = resolveConfig(schema, {
    flags: { "data-dir": "flag" },
    environment: { MILLRACE_DATA_DIR: "env", MILLRACE_JOURNAL_BYTES_MAX: "64KiB" },
    file,
  });
  assert.deepEqual(resolved.values, {
    "data-dir": "flag",
    "journal-bytes-max": 65_536,
    "log-level": "debug",
  });
  assert.equal(resolved.sources["log-level"], "file");
});

test("a setting without a default must be set", () => {
  const required = {
    ...schema,
    id: { type: "integer", unit: "count", min: 0, max: 9, description: "i" },
  } as const satisfies Schema;
  const resolve = (flags: Record<string, string>) =>
    resolveConfig(required, { flags, environment: {} });
  assert.throws(
    () => resolve({}),
    refused(ErrorCode.INVALID_CONFIG, /--id is not set, and has no default: use 0 to 9/),
  );
  assert.equal(resolve({ id: "0" }).values.id, 0);
});

test("a typo in the file is named, with a suggestion", () => {
  assert.throws(
    () =>
      resolveConfig(schema, {
        flags: {},
        environment: {},
        file: { datadir: "x" },
        fileName: "c.yaml",
      }),
    refused(ErrorCode.INVALID_CONFIG, /c\.yaml: unknown key "datadir": did you mean data-dir/),
  );
});

test("a value out of range names key, value and range", () => {
  assert.throws(
    () => resolveConfig(schema, { flags: { "journal-bytes-max": "1" }, environment: {} }),
    refused(
      ErrorCode.INVALID_CONFIG,
      /--journal-bytes-max: "1" is not allowed: use 4 KiB to 1 TiB$/,
    ),
  );
  for (const file of [[1], "text", 7]) {
    assert.throws(
      () => resolveConfig(schema, { flags: {}, environment: {}, file }),
      refused(ErrorCode.INVALID_CONFIG, /not a mapping/),
    );
  }
});

test("an empty variable is an unset one", () => {
  const environment = { MILLRACE_JOURNAL_BYTES_MAX: "" };
  const { sources } = resolveConfig(schema, { flags: {}, environment });
  assert.equal(sources["journal-bytes-max"], "default");
});

test("sizes and durations", () => {
  assert.equal(parseBytes("1.5 GiB"), 1.5 * 2 ** 30);
  assert.equal(parseBytes("10MB"), 10_000_000);
  assert.equal(parseBytes("ten"), undefined);
  assert.equal(parseDurationMs("7d"), 604_800_000);
  assert.equal(parseDurationMs("5 parsecs"), undefined);
});

test("topic configs: Kafka's unknown ones are refused by name, ours checked", () => {
  assert.throws(
    () => checkTopicConfigs({ "compression.type": "gzip" }),
    refused(ErrorCode.INVALID_CONFIG, /compression\.type: a Kafka setting/),
  );
  assert.throws(
    () => checkTopicConfigs({ "retention.msx": "1" }),
    refused(ErrorCode.INVALID_CONFIG, /did you mean retention\.ms/),
  );
  assert.throws(
    () => checkTopicConfigs({ "cleanup.policy": "compact, delete" }),
    refused(ErrorCode.INVALID_CONFIG, /use delete, compact, compact,delete, delete,compact, ""/),
  );
  for (const raw of ["-0.1", "1.01", "0,5", "", "NaN", "1e-1", ".5"]) {
    assert.throws(
      () => checkTopicConfigs({ "min.cleanable.dirty.ratio": raw }),
      refused(ErrorCode.INVALID_CONFIG, /use 0 to 1$/),
    );
  }
  assert.equal(
    topicConfigOf({ "min.cleanable.dirty.ratio": "0.25" })["min.cleanable.dirty.ratio"],
    0.25,
  );
  for (const key of ["__proto__", "constructor", "toString"]) {
    assert.throws(
      () => checkTopicConfigs(JSON.parse(`{${JSON.stringify(key)}:"1"}`)),
      MillraceError,
    );
  }
  assert.throws(
    () => checkTopicConfigs({ "max.message.bytes": String(messageBytesMax + 1) }),
    refused(ErrorCode.INVALID_CONFIG, /max\.message\.bytes: "8388609" .*use 64 bytes to 8 MiB$/),
  );
  // An older version took it: a topic that has it stays usable.
  assert.equal(
    topicConfigOf({ "max.message.bytes": "16MiB" })["max.message.bytes"],
    messageBytesMax,
  );
  assert.equal(topicConfigOf({ "segment.bytes": "1MiB" })["segment.bytes"], 1_048_576);
});

test("topic names", () => {
  for (const good of ["a", "a.b_c-D9", "x".repeat(249), "..."]) checkTopicName(good);
  for (const bad of ["", ".", "..", "a/b", "a\u0000", "x".repeat(250), "日志", "a b", "Кafka"]) {
    assert.throws(() => checkTopicName(bad), refused(ErrorCode.INVALID_TOPIC, /topic name/));
  }
});
