/** The API server that the other tests of this tier stand on. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startApiServer } from "../../tools/k8s/control-plane.ts";
import { ApiClient, apiServerIn, eventually, skipped } from "./api-client.ts";

const options = { skip: skipped, timeout: 300_000 };

const directoryOf = (name: string): string => mkdtempSync(join(tmpdir(), `millrace-k8s-${name}-`));

/** Processes whose command line names a directory. */
const processesOf = (directory: string): string[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(directory);
      } catch {
        return false;
      }
    });

const onLinux = process.platform === "linux";

test("two API servers run side by side, and leave nothing", options, async () => {
  const directories = ["a", "b"].map(directoryOf);
  const servers = await Promise.all(directories.map(apiServerIn));
  try {
    const [a, b] = servers.map((server) => new ApiClient(server));
    assert.ok(a !== undefined && b !== undefined);
    assert.match(await a.kubectl("version"), /Server Version: v1\.\d+\.\d+\n/);
    await a.kubectl("create", "namespace", "only-here");
    await a.kubectl("create", "configmap", "one", "--from-literal=key=value", "-n=only-here");
    await eventually("the ConfigMap", async () => {
      const { body, status } = await a.send("GET", "/api/v1/namespaces/only-here/configmaps/one");
      if (status !== 200) return undefined;
      assert.deepEqual(body["data"], { key: "value" });
      return true;
    });
    assert.equal((await b.send("GET", "/api/v1/namespaces/only-here")).status, 404);
    for (const client of [a, b]) client.close();
    if (onLinux) for (const one of directories) assert.equal(processesOf(one).length, 2);
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  }
  for (const { url } of servers) await assert.rejects(fetch(`${url}/readyz`), /fetch failed/);
  if (onLinux) assert.deepEqual(directories.flatMap(processesOf), []);
});

test("a start that is given up leaves nothing", options, async () => {
  const directory = directoryOf("aborted");
  try {
    const signal = AbortSignal.timeout(500);
    await assert.rejects(startApiServer({ directory, signal }), /TimeoutError|timeout/);
    if (onLinux) assert.deepEqual(processesOf(directory), []);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
