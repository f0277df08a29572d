/** The client against an API server on a real socket. */
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { KubeConfig } from "@kubernetes/client-node";
import { nodeClock } from "@millrace/env/node";
import { within } from "@millrace/env/testing";
import { isExpired } from "../errors.ts";
import {
  ApiError,
  type KubernetesObject,
  type ResourceType,
  type WatchEvent,
} from "../kubernetes.ts";
import { collect } from "../testing/collect.ts";
import { FakeApiHttp, type Trouble } from "../testing/fake-api/http.ts";
import { FakeServer } from "../testing/fake-api/server.ts";
import { KubernetesClient, loadConfig } from "./client.ts";

interface Thing extends KubernetesObject {
  readonly spec?: { readonly size: number; readonly color?: string };
  readonly status?: { readonly phase: string };
}

const things: ResourceType<Thing> = {
  ...{ group: "test.millrace.dev", version: "v1", kind: "Thing", plural: "things" },
  namespaced: true,
};
const key = (name: string) => ({ namespace: "n", name });
const thing = (name: string, size = 1): Thing => ({
  ...{ apiVersion: "test.millrace.dev/v1", kind: "Thing" },
  metadata: key(name),
  spec: { size },
});
const by = { fieldManager: "test", force: false };

let fake: FakeServer;
let http: FakeApiHttp;
let config: KubeConfig;
let client: KubernetesClient;

const start = async (): Promise<void> => {
  fake = new FakeServer(
    () => 0,
    (run) => run(),
  );
  http = new FakeApiHttp(fake, [things]);
  const server = await http.listen();
  config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: "c", server, skipTLSVerify: true }],
    users: [{ name: "u", token: "secret" }],
    contexts: [{ name: "x", cluster: "c", user: "u" }],
    currentContext: "x",
  });
  const limits = { readMs: 200, writeMs: 200, lineBytesMax: 2000 };
  client = new KubernetesClient({ config, clock: nodeClock(), fieldManager: "plain", ...limits });
};

before(start);
beforeEach(async () => {
  await http.close();
  client.close();
  await start();
});
after(async () => {
  client.close();
  await http.close();
});

const refusedWith = async (work: Promise<unknown>, about: Partial<ApiError>): Promise<ApiError> => {
  const error = await within(
    work.then(
      () => undefined,
      (reason: unknown) => reason,
    ),
    "refusal",
  );
  assert.ok(error instanceof ApiError, String(error));
  for (const [name, value] of Object.entries(about)) {
    assert.equal(error[name as keyof ApiError], value, name);
  }
  return error;
};

const trouble = (one: Trouble): void => void http.troubles.push(one);

test("objects are made, read, replaced, applied and deleted", async () => {
  assert.equal(await client.get(things, key("a")), undefined);
  const made = await client.create(things, thing("a"));
  assert.equal(made.metadata.generation, 1);
  assert.deepEqual(await client.get(things, key("a")), made);
  const replaced = await client.replace(things, { ...made, spec: { size: 2 } });
  assert.equal(replaced.spec?.size, 2);
  await refusedWith(client.replace(things, made), { status: 409, reason: "Conflict" });
  await refusedWith(client.apply(things, thing("a", 3), by), { status: 409 });
  const applied = await client.apply(things, thing("a", 3), { ...by, force: true });
  assert.equal(applied.spec?.size, 3);
  const status = { ...thing("a"), status: { phase: "Done" } };
  assert.equal((await client.applyStatus(things, status, by)).status?.phase, "Done");
  const { uid = "" } = made.metadata;
  await refusedWith(client.delete(things, key("a"), { uid: "other" }), { status: 409 });
  assert.equal(await client.delete(things, key("a"), { uid }), true);
  assert.equal(await client.delete(things, key("a"), { uid }), false);
});

test("requests say who writes, in what way, and by when", async () => {
  await client.create(things, thing("a"));
  await client.apply(things, thing("a"), by);
  const [create, apply] = http.seen;
  assert.equal(create?.path, "/apis/test.millrace.dev/v1/namespaces/n/things");
  assert.deepEqual(create?.query, { fieldManager: "plain", timeout: "200ms" });
  assert.equal(create?.contentType, "application/json");
  assert.equal(create?.authorization, "Bearer secret");
  assert.equal(apply?.contentType, "application/apply-patch+yaml");
  assert.deepEqual(apply?.query, { fieldManager: "test", force: "false", timeout: "200ms" });
});

test("a kind that is not there is no missing object", async () => {
  const unknown = { ...things, plural: "nothings" };
  await refusedWith(client.get(unknown, key("a")), { status: 404 });
  await refusedWith(client.delete(unknown, key("a"), { uid: "u" }), { status: 404 });
});

test("lists come in pages, and their elements say what they are", async () => {
  for (const name of ["a", "b", "c"]) await client.create(things, thing(name));
  const first = await client.list(things, { namespace: "n", limit: 2 });
  assert.deepEqual(
    first.items.map(({ kind, metadata }) => `${kind} ${metadata.name}`),
    ["Thing a", "Thing b"],
  );
  const { continueToken } = first;
  const rest = await client.list(things, { namespace: "n", limit: 2, continueToken });
  assert.deepEqual([rest.items.length, rest.continueToken], [1, ""]);
  fake.compact();
  await refusedWith(client.list(things, { namespace: "n", limit: 2, continueToken }), {
    status: 410,
  });
});

const watched = async (resourceVersion: string, until: number): Promise<WatchEvent<Thing>[]> => {
  const events: WatchEvent<Thing>[] = [];
  const ending = new AbortController();
  const options = { namespace: "n", resourceVersion, timeoutSeconds: 5 };
  try {
    for await (const event of client.watch(things, options, ending.signal)) {
      events.push(event);
      if (events.length === until) break;
    }
  } finally {
    ending.abort();
  }
  return events;
};

test("a watch tells what came, a bookmark, and what comes", async () => {
  const { resourceVersion } = await client.list(things, { namespace: "n" });
  fake.create(things, thing("a"));
  setTimeout(() => fake.create(things, thing("ü".repeat(40))), 50);
  const events = await within(watched(resourceVersion, 3), "three events");
  assert.deepEqual(
    events.map(({ type }) => type),
    ["ADDED", "BOOKMARK", "ADDED"],
  );
  const last = events[2];
  assert.equal(last?.type === "ADDED" ? last.object.metadata.name : "", "ü".repeat(40));
});

test("a watch that ends where it was to end has no error", async () => {
  const options = { resourceVersion: "1", timeoutSeconds: 0.1 };
  const { signal } = new AbortController();
  const events = await within(collect(client.watch(things, options, signal)), "end");
  assert.deepEqual(events, [{ type: "BOOKMARK", resourceVersion: "1" }]);
});

test("a watch that is cut within a line tells the whole lines, and fails", async () => {
  trouble({ type: "cut-in-line" });
  const seen: string[] = [];
  const read = async (): Promise<void> => {
    const options = { resourceVersion: "1", timeoutSeconds: 5 };
    for await (const event of client.watch(things, options, new AbortController().signal)) {
      seen.push(event.type);
    }
  };
  await refusedWith(read(), { status: 0 });
  assert.deepEqual(seen, ["ADDED"]);
});

test("410 comes as an answer, and within the stream", async () => {
  fake.create(things, thing("a"));
  fake.compact();
  assert.ok(isExpired(await refusedWith(watched("1", 9), { reason: "Expired" })));
  trouble({ type: "expires-in-stream" });
  assert.ok(isExpired(await refusedWith(watched("9", 9), { reason: "Expired" })));
});

test("an event that is longer than any may be ends the watch", async () => {
  fake.create(things, { ...thing("a"), spec: { size: 1, color: "x".repeat(3000) } });
  const error = await refusedWith(watched("1", 9), { status: 0 });
  assert.match(error.message, /more than 2000 bytes/);
});

test("a watch ends when it is told to, and before its headers as well", async () => {
  const ending = new AbortController();
  const options = { resourceVersion: "1", timeoutSeconds: 60 };
  const read = collect(client.watch(things, options, ending.signal));
  setTimeout(() => ending.abort(new Error("stop")), 50);
  assert.match((await refusedWith(read, { status: 0 })).message, /stop/);
  trouble({ type: "silence" });
  const silent = collect(client.watch(things, options, new AbortController().signal));
  assert.match((await refusedWith(silent, { status: 0 })).message, /200 ms/);
});

test("what the server asks to wait is known, as seconds, as a date, and in its Status", async () => {
  const body = JSON.stringify({ kind: "Status", reason: "TooManyRequests", message: "slow down" });
  trouble({ type: "answer", status: 429, headers: { "retry-after": "3" }, body });
  const about = { status: 429, reason: "TooManyRequests", retryAfterMs: 3000 };
  const error = await refusedWith(client.get(things, key("a")), about);
  assert.match(error.message, /get .*\/things\/a: slow down/);
  const inDetails = JSON.stringify({ kind: "Status", details: { retryAfterSeconds: 2 } });
  trouble({ type: "answer", status: 503, body: inDetails });
  await refusedWith(client.get(things, key("a")), { status: 503, retryAfterMs: 2000 });
  const date = new Date(Date.now() + 60_000).toUTCString();
  trouble({ type: "answer", status: 429, headers: { "retry-after": date }, body: "" });
  const { retryAfterMs = 0 } = await refusedWith(client.get(things, key("a")), { status: 429 });
  assert.ok(retryAfterMs > 50_000 && retryAfterMs <= 60_000, `${retryAfterMs}`);
});

test("every call ends by its deadline, and what is cut off or no JSON is no answer", async () => {
  trouble({ type: "silence" });
  const late = await refusedWith(client.get(things, key("a")), { status: 0 });
  assert.match(late.message, /no answer within 200 ms/);
  trouble({ type: "silence" });
  await refusedWith(client.create(things, thing("a")), { status: 0 });
  trouble({ type: "cut" });
  await refusedWith(client.get(things, key("a")), { status: 0 });
  trouble({ type: "answer", status: 200, body: "<html>" });
  await refusedWith(client.get(things, key("a")), { status: 0 });
  trouble({ type: "answer", status: 502, body: "<html>bad gateway" });
  assert.match(
    (await refusedWith(client.get(things, key("a")), { status: 502 })).message,
    /bad gateway/,
  );
});

test("a call whose credentials do not come ends by its deadline, too", async () => {
  config.applyToHTTPSOptions = () => new Promise(() => {});
  const late = await refusedWith(client.get(things, key("a")), { status: 0 });
  assert.match(late.message, /no answer within 200 ms/);
});

test("a server that is not there is no answer, and names and namespaces are asked for", async () => {
  await http.close();
  await refusedWith(client.get(things, key("a")), { status: 0 });
  await assert.rejects(client.get(things, { namespace: "", name: "a" }), /without its namespace/);
  await assert.rejects(client.get(things, key("")), /without a name/);
});

test("without a cluster and without a kubeconfig nothing is guessed", () => {
  delete process.env["KUBERNETES_SERVICE_HOST"];
  assert.throws(() => loadConfig(undefined), /runs in no cluster/);
});
