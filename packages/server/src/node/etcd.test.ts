import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import { openStore } from "./etcd.ts";
import { etcdSettings } from "./etcd-settings.ts";
import { configFrom } from "./run.ts";

const directory = mkdtempSync(join(tmpdir(), "millrace-etcd-settings-"));
after(() => rmSync(directory, { recursive: true }));
const file = join(directory, "file");
writeFileSync(file, "hush\n");

const warnings: string[] = [];
const env = {
  ...{ clock: nodeClock(), random: nodeRandom() },
  logger: { ...silentLogger, warn: (_: object, message: string) => void warnings.push(message) },
};

const open = (flags: Readonly<Record<string, string>>) => {
  const argv = Object.entries(flags).map(([key, value]) => `--etcd-${key}=${value}`);
  return openStore(configFrom(etcdSettings, argv, {}).values, env);
};

const refused = (flags: Readonly<Record<string, string>>, text: RegExp): void => {
  assert.throws(
    () => open(flags),
    (thrown) => {
      assert.ok(hasCode(thrown, ErrorCode.INVALID_CONFIG), String(thrown));
      assert.match(thrown.message, text);
      return true;
    },
  );
};

test("endpoints are a list, with a port each, and https where there is TLS", async () => {
  refused({}, /--etcd-endpoints is not set/);
  for (const bad of [
    "",
    "etcd",
    "http://etcd",
    "http://a:1,",
    "http://a:1 http://b:2",
    "ftp://a:1",
  ]) {
    refused({ endpoints: bad }, /use HOST:PORT\[,…\], or https:/);
  }
  refused({ endpoints: "http://a:1,https://b:1" }, /with and without TLS/);
  refused({ endpoints: "a:1,https://b:1" }, /with and without TLS/);
  for (const good of [
    "etcd:2379",
    "10.0.0.1:1,[::1]:2",
    "http://etcd:2379",
    "http://a:1,http://b:2",
    "https://a:1",
  ]) {
    await open({ endpoints: good }).close();
  }
});

test("the prefix of one cluster begins no key of another one", () => {
  for (const prefix of ["", "/millrace", "/mill race/", `/${"x".repeat(100)}/`]) {
    refused({ endpoints: "http://a:1", prefix }, /end with a slash/);
  }
});

test("files are read at the start, and what belongs together is set together", async () => {
  const tls = { endpoints: "https://a:1" };
  const plain = { endpoints: "http://a:1" };
  const missing = join(directory, "missing");
  refused({ ...tls, "ca-file": missing }, /--etcd-ca-file: .*missing cannot be read: ENOENT/);
  refused({ ...tls, "ca-file": file, "cert-file": file }, /belong together/);
  refused({ ...tls, "cert-file": file, "key-file": file }, /needs --etcd-ca-file/);
  refused({ ...plain, user: "u" }, /--etcd-user and --etcd-password-file belong together/);
  refused({ ...plain, "password-file": file }, /belong together/);
  refused({ ...plain, "ca-file": file }, /without TLS/);
  refused({ endpoints: "https://10.0.0.1:1" }, /use a host name/);
  await open({ endpoints: "https://10.0.0.1:1", "server-name": "etcd" }).close();
  assert.deepEqual(warnings, []);
  await open({ ...plain, user: "u", "password-file": file }).close();
  assert.match(warnings[0] ?? "", /in plain text/);
});
