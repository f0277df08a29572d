import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { silentLogger } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { serverMetrics } from "./metrics.ts";
import { configFrom } from "./run.ts";
import { type Readiness, type Served, startServer } from "./server.ts";
import { listenerSettings, text } from "./settings.ts";

const parent = mkdtempSync(join(tmpdir(), "millrace-server-"));
after(() => rmSync(parent, { recursive: true }));
const directory = join(parent, "data");
const schema = {
  ...listenerSettings,
  hidden: { ...text(/^.*$/, "a word", "", "A secret."), secret: true },
} as const;
const argv = ["--http-listen", "127.0.0.1:0", "--hidden", "hush"];
const options = {
  ...{ schema, resolved: configFrom(schema, argv, {}), directory },
  ...{ metrics: serverMetrics(), logger: silentLogger },
};
const bound = { client: "h:1", internal: "h:2", health: "h:3" };

const isLocked = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.DATA_DIRECTORY_LOCKED);

test("a server has its directory to itself, and tells where it is and whether it is ready", async () => {
  let seen: Readiness | undefined;
  const states: unknown[] = [];
  const boot = async (readiness: Readiness): Promise<Served> => {
    seen = readiness;
    states.push(readiness.state);
    readiness.onWaiting("waiting for etcd");
    states.push(readiness.state);
    readiness.onServing(true);
    return { endpoints: bound, stop: async () => readiness.onServing(false) };
  };
  const { endpoints, stop } = await startServer(options, boot);
  assert.deepEqual(states, [
    { ready: false, reasons: ["starting"] },
    { ready: false, reasons: ["waiting for etcd"] },
  ]);
  const file = JSON.parse(readFileSync(join(directory, "endpoints.json"), "utf8"));
  assert.deepEqual(file, { ...bound, http: endpoints.http });
  assert.deepEqual(endpoints, file);
  const readyz = await fetch(`http://${endpoints.http}/readyz`);
  assert.deepEqual([readyz.status, await readyz.json()], [200, { ready: true, reasons: [] }]);
  const configz = await (await fetch(`http://${endpoints.http}/configz`)).text();
  assert.match(configz, /"hidden": \{\n +"value": "\[redacted\]"/);
  await assert.rejects(startServer(options, boot), isLocked);
  await stop();
  assert.deepEqual(seen?.state, { ready: false, reasons: ["stopping"] });
  await assert.rejects(fetch(`http://${endpoints.http}/livez`));
});

test("nothing is ready before endpoints.json says where it is", async () => {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  rmSync(join(directory, "endpoints.json"), { force: true });
  const resolved = configFrom(schema, ["--http-listen", `127.0.0.1:${port}`], {});
  const readyz = async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).status;
  const { stop } = await startServer({ ...options, resolved }, async (readiness) => {
    readiness.onServing(true);
    assert.equal(await readyz(), 503);
    return { endpoints: bound, stop: async () => readiness.onServing(false) };
  });
  assert.equal(await readyz(), 200);
  assert.ok(existsSync(join(directory, "endpoints.json")));
  await stop();
});

test("a boot that fails leaves the directory free, and no endpoints.json", async () => {
  rmSync(join(directory, "endpoints.json"), { force: true });
  const failure = new MillraceError(ErrorCode.UNAVAILABLE, "no etcd");
  for (let i = 0; i < 2; i += 1) {
    await assert.rejects(
      startServer(options, () => Promise.reject(failure)),
      failure,
    );
  }
  assert.ok(!existsSync(join(directory, "endpoints.json")));
});

test("without a directory nothing is written", async () => {
  const alone = { ...options, directory: undefined };
  const boot = async (): Promise<Served> => ({ endpoints: bound, stop: async () => {} });
  await (await startServer(alone, boot)).stop();
});
