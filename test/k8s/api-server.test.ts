/** The API server that the other tests of this tier stand on. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ApiClient, apiServerIn, eventually, skipped } from "./api-client.ts";

test("two API servers run side by side, and end", { skip: skipped, timeout: 300_000 }, async () => {
  const directories = ["a", "b"].map((name) =>
    mkdtempSync(join(tmpdir(), `millrace-k8s-${name}-`)),
  );
  const servers = await Promise.all(directories.map(apiServerIn));
  try {
    const clients = servers.map((server) => new ApiClient(server));
    const [a, b] = clients;
    assert.ok(a !== undefined && b !== undefined);
    assert.match(await a.kubectl("version"), /Server Version: v1\.\d+\.\d+\n/);
    await a.kubectl("create", "namespace", "only-here");
    await eventually("the namespace", async () =>
      (await a.send("GET", "/api/v1/namespaces/only-here")).status === 200 ? true : undefined,
    );
    assert.equal((await b.send("GET", "/api/v1/namespaces/only-here")).status, 404);
    for (const client of clients) client.close();
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  }
  for (const { url } of servers) await assert.rejects(fetch(`${url}/readyz`), /fetch failed/);
});
