import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { configFrom } from "@millrace/server/node";
import { brokerSchema, checkLogSettings, managerConfigOf } from "./config.ts";

const needed = { MILLRACE_BROKER_ID: "1", MILLRACE_ETCD_ENDPOINTS: "http://etcd:2379" };
const resolve = (...argv: readonly string[]) => configFrom(brokerSchema, argv, needed).values;

test("a broker needs its id and its etcd, and has a default for everything else", () => {
  for (const key of Object.keys(needed)) {
    const { [key]: _, ...rest } = needed as Record<string, string>;
    assert.throws(
      () => configFrom(brokerSchema, [], rest),
      (thrown) => hasCode(thrown, ErrorCode.INVALID_CONFIG) && /is not set/.test(thrown.message),
    );
  }
  const values = resolve();
  assert.equal(values["broker-id"], 1);
  assert.equal(values["replica-lag-max"], 5_000);
  assert.equal(values["etcd-prefix"], "/millrace/");
  assert.deepEqual([values.rack, values["internal-advertise"]], ["", ""]);
});

test("values out of range are refused with the range", () => {
  for (const [flag, value] of [
    ["broker-id", "-1"],
    ["broker-id", "2147483648"],
    ["broker-id", "one"],
    ["rack", "a b"],
    ["rack", "x".repeat(256)],
    ["replica-lag-max", "10"],
    ["data-dir", ""],
    ["internal-advertise", "nowhere"],
    ["journal-file-bytes", "8MiB"],
    ["journal-bytes-max", "8MiB"],
  ] as const) {
    assert.throws(
      () => resolve(`--${flag}=${value}`),
      (thrown) => hasCode(thrown, ErrorCode.INVALID_CONFIG) && /: use /.test(thrown.message),
      `${flag} ${value}`,
    );
  }
});

test("settings of logs are those that the log takes", () => {
  const config = managerConfigOf(resolve("--pending-bytes-max", "2MiB", "--open-files-max", "99"));
  assert.equal(config.pendingBytesMax, 2 * 1024 * 1024);
  assert.equal(config.openFilesMax, 99);
  // A checkpoint fsyncs each segment, and a full journal waits for it.
  assert.deepEqual([config.segmentBytesMin, config.segmentMsMin], [512 * 1024, 469]);
});

test("the journal has room for one of its files at least", () => {
  const check = (file: string, max: string): void =>
    checkLogSettings(resolve("--journal-file-bytes", file, "--journal-bytes-max", max));
  check("9MiB", "9MiB");
  check("64MiB", "512MiB");
  assert.throws(
    () => check("1GiB", "512MiB"),
    (thrown) =>
      hasCode(thrown, ErrorCode.INVALID_CONFIG) &&
      /--journal-bytes-max is 512 MiB, .*--journal-file-bytes, 1 GiB.*: raise/.test(thrown.message),
  );
});
