/** Fail-over, outcomes, logins and time limits, against servers whose answers the test gives. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { WatchEnd } from "../api.ts";
import { isOutcomeUnknown } from "../outcome.ts";
import { EtcdError } from "./raw-api.ts";
import { EtcdStore, type EtcdStoreOptions } from "./store.ts";
import { FakeEtcd, kv } from "./testing/fake-etcd.ts";

const clock = nodeClock();
/** The first server is asked first. */
const random = { ...nodeRandom(), below: () => 0 };

const open = (count = 2, options: Partial<EtcdStoreOptions> = {}) => {
  const servers = Array.from({ length: count }, () => new FakeEtcd());
  const store = new EtcdStore({
    ...{ clock, random, logger: silentLogger, root: "/r/" },
    servers: servers.map((raw, i) => ({ endpoint: `http://etcd-${i}:2379`, raw })),
    ...options,
  });
  const [first = new FakeEtcd(), second = new FakeEtcd()] = servers;
  return { store, first, second };
};

const put = { type: "put", key: "k", value: Buffer.from("v") } as const;
const thrownBy = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => assert.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );
const count = (server: FakeEtcd, call: string): number =>
  server.calls.filter((one) => one === call).length;

test("a read that one server does not answer is answered by another, in time", async () => {
  const { store, first, second } = open();
  first.fail(14);
  await store.range({ key: "k" });
  assert.deepEqual([first.calls, second.calls], [["range"], ["range"]]);
  await store.range({ key: "k" });
  assert.equal(first.calls.length, 1, "the next read goes to the server that works");
  second.hang();
  first.before = async () => {};
  await store.range({ key: "k" }, { timeoutMs: 1500 });
  assert.equal(first.calls.length, 2);
  await store.close();
});

test("a transaction that only reads is a read, and one that may write is sent once", async () => {
  const read = { type: "range", range: { key: "k" } } as const;
  const absent = { key: "k", target: "version", equals: 0 } as const;
  for (const [then, otherwise] of [
    [[read], []],
    [[read], [read]],
    [[], []],
  ] as const) {
    const { store, first, second } = open();
    first.fail(14, "gone", "txn");
    await store.txn([absent], then, otherwise);
    assert.deepEqual([count(first, "txn"), count(second, "txn")], [1, 1]);
    second.fail(14, "gone", "txn");
    const nobody = await thrownBy(store.txn([absent], then, otherwise, { timeoutMs: 100 }));
    assert.equal(isOutcomeUnknown(nobody), false);
    await store.close();
  }
  const { store, first, second } = open();
  await store.range({ key: "k" });
  first.fail(14, "gone", "txn");
  const unknown = await thrownBy(store.txn([absent], [read], [put]));
  assert.deepEqual([isOutcomeUnknown(unknown), count(second, "txn")], [true, 0]);
  await store.close();
});

test("a read that nobody answers fails in time, and is known to have done nothing", async () => {
  const { store, first, second } = open();
  first.fail(14);
  second.hang();
  const begin = clock.monoMs();
  const thrown = await thrownBy(store.range({ key: "k" }, { timeoutMs: 200 }));
  assert.ok(hasCode(thrown, ErrorCode.UNAVAILABLE), String(thrown));
  assert.equal(isOutcomeUnknown(thrown), false);
  assert.ok(clock.monoMs() - begin < 2000);
  await store.close();
});

test("no attempt of a read is given more than what is left of its time", async () => {
  const { store, first } = open(1);
  const endMs = clock.monoMs() + 200;
  const given: [number, number][] = [];
  first.before = async () => {
    given.push([first.contexts.at(-1)?.timeoutMs ?? 0, endMs - clock.monoMs()]);
    throw new EtcdError(14, "gone");
  };
  await thrownBy(store.range({ key: "k" }, { timeoutMs: 200 }));
  assert.ok(given.length > 2);
  for (const [ms, leftMs] of given) assert.ok(ms <= Math.max(1, leftMs) + 20, `${ms} of ${leftMs}`);
  await store.close();
});

test("a server that has answered nothing yet gets a read before it gets a write", async () => {
  const { store, first, second } = open();
  first.fail(14);
  await store.txn([], [put]);
  assert.deepEqual(first.calls, ["range"]);
  assert.deepEqual(second.calls, ["range", "txn"]);
  await store.txn([], [put]);
  assert.deepEqual(second.calls, ["range", "txn", "txn"]);
  second.fail(14);
  const nobody = await thrownBy(store.txn([], [put], [], { timeoutMs: 200 }));
  assert.equal(isOutcomeUnknown(nobody), true, "the proven server broke in the middle");
  const later = await thrownBy(store.txn([], [put], [], { timeoutMs: 200 }));
  assert.equal(isOutcomeUnknown(later), false, "no server was proven, so nothing was sent");
  assert.equal(count(second, "txn"), 3);
  assert.equal(count(first, "txn"), 0);
  await store.close();
});

test("a write that is not answered is sent once, and its outcome is unknown", async () => {
  // Cancelled, unknown, deadline, aborted, internal, unavailable, data loss; and a busy connection.
  for (const code of [1, 2, 4, 10, 13, 14, 15, 8]) {
    const { store, first, second } = open();
    first.fail(code, "the connection broke", "txn");
    const thrown = await thrownBy(store.txn([], [put]));
    assert.ok(hasCode(thrown, ErrorCode.UNAVAILABLE), `${code}: ${thrown}`);
    assert.equal(isOutcomeUnknown(thrown), true, String(code));
    assert.equal(first.transactions.length + second.transactions.length, 1);
    await store.txn([], [put]);
    assert.equal(second.transactions.length, 1, "the next write goes elsewhere");
    await store.close();
  }
});

test("a write that hangs ends in time, its outcome unknown", async () => {
  const { store, first } = open();
  first.hang("txn");
  const thrown = await thrownBy(store.txn([], [put], [], { timeoutMs: 50 }));
  assert.equal(isOutcomeUnknown(thrown), true);
  assert.ok(hasCode(thrown, ErrorCode.UNAVAILABLE));
  await store.close();
});

test("a write that etcd refuses has not happened, and goes to no other server", async () => {
  for (const [code, message, wanted] of [
    [3, "etcd: duplicate key given in txn request", ErrorCode.INVALID_REQUEST],
    [5, "etcd: requested lease not found", ErrorCode.INVALID_REQUEST],
    [7, "etcd: permission denied", ErrorCode.UNAVAILABLE],
    [8, "etcd: mvcc: database space exceeded", ErrorCode.ADMISSION_REJECTED],
    [9, "etcd: not ready", ErrorCode.INVALID_REQUEST],
    [11, "etcd: mvcc: required revision has been compacted", ErrorCode.INVALID_REQUEST],
    [12, "unknown method", ErrorCode.UNSUPPORTED_OPERATION],
    [3, "etcd: user name is empty", ErrorCode.UNAVAILABLE],
  ] as const) {
    const { store, first, second } = open();
    first.fail(code, message, "txn");
    const thrown = await thrownBy(store.txn([], [put]));
    assert.ok(hasCode(thrown, wanted), `${message}: ${thrown}`);
    assert.equal(isOutcomeUnknown(thrown), false, message);
    assert.match(String(thrown), new RegExp(message));
    assert.deepEqual([first.transactions.length, second.calls.length], [1, 0]);
    await store.close();
  }
});

test("an answer to a write that cannot be read leaves its outcome unknown", async () => {
  const { store, first } = open(1);
  const txn = first.txn.bind(first);
  Object.assign(first, {
    txn: async (...args: Parameters<typeof txn>) => {
      const answer = await txn(...args);
      return { ...answer, header: { ...answer.header, revision: "99999999999999999999" } };
    },
  });
  assert.equal(isOutcomeUnknown(await thrownBy(store.txn([], [put]))), true);
  await store.close();
});

test("one login serves all calls; when it ends there is another, and the call is made", async () => {
  const credentials = { user: "u", password: "p" };
  const { store, first } = open(1, { credentials });
  await Promise.all([store.range({ key: "a" }), store.range({ key: "b" })]);
  await store.txn([], [put]);
  assert.deepEqual(first.tokens, ["token 1"]);
  assert.deepEqual(
    first.contexts.map(({ token }) => token),
    [undefined, "token 1", "token 1", "token 1"],
  );
  for (const [code, message] of [
    [16, "etcd: invalid auth token"],
    [3, "etcd: revision of auth store is old"],
  ] as const) {
    for (const call of ["range", "txn"] as const) {
      let refusals = 1;
      first.before = async (name) => {
        if (name === call && refusals-- > 0) throw new EtcdError(code, message);
      };
      await (call === "range" ? store.range({ key: "a" }) : store.txn([], [put]));
      assert.equal(first.contexts.at(-1)?.token, `token ${first.tokens.length}`);
    }
  }
  assert.equal(first.tokens.length, 5);
  first.fail(16, "etcd: invalid auth token", "txn");
  const refused = await thrownBy(store.txn([], [put]));
  assert.equal(isOutcomeUnknown(refused), false);
  first.fail(14, "gone", "authenticate", "txn");
  const before = first.transactions.length;
  const unreachable = await thrownBy(store.txn([], [put], [], { timeoutMs: 100 }));
  assert.equal(isOutcomeUnknown(unreachable), false, "without a login nothing was sent");
  assert.equal(first.transactions.length, before);
  await store.close();
});

test("leases: kept alive, gone, revoked twice", async () => {
  const { store, first, second } = open();
  assert.deepEqual(await store.grantLease(3), { id: "77", ttlSeconds: 10 });
  assert.equal(await store.keepAlive("77"), true);
  first.ttl = "0";
  assert.equal(await store.keepAlive("77"), false);
  assert.equal(await store.keepAlive("no lease of etcd's"), false);
  first.fail(5, "etcd: requested lease not found", "leaseRevoke");
  await store.revokeLease("77");
  first.fail(14, "gone", "leaseRevoke", "leaseKeepAlive");
  assert.equal(await store.keepAlive("77"), true, "another server answers");
  assert.equal(count(second, "leaseKeepAlive"), 1);
  second.fail(14, "gone", "leaseGrant");
  assert.equal(isOutcomeUnknown(await thrownBy(store.grantLease(3))), true);
  await store.close();
});

test("closing ends calls under way, and connections", async () => {
  const { store, first } = open(1);
  await store.range({ key: "k" });
  first.hang();
  const calls = [store.range({ key: "k" }), store.txn([], [put])].map(thrownBy);
  await clock.sleep(5);
  const begin = clock.monoMs();
  await store.close();
  const [read, write] = await Promise.all(calls);
  assert.ok(hasCode(read, ErrorCode.CANCELLED));
  assert.ok(hasCode(write, ErrorCode.CANCELLED));
  assert.equal(isOutcomeUnknown(write), true);
  assert.equal(isOutcomeUnknown(await thrownBy(store.txn([], [put]))), false);
  assert.ok(clock.monoMs() - begin < 1000);
  assert.equal(first.closed, true);
});

test("nothing is sent after closing by a call that was about to be made again", async () => {
  const { store, first } = open(1);
  await store.range({ key: "k" });
  first.fail(14);
  const read = thrownBy(store.range({ key: "k" }));
  while (count(first, "range") < 2) await clock.sleep(1);
  const { length } = first.calls;
  await store.close();
  assert.ok(hasCode(await read, ErrorCode.CANCELLED));
  assert.equal(first.calls.length, length, "a closed client would fail with nobody listening");
});

test("another cluster behind the endpoints ends all watches, loudly", async () => {
  const errors: unknown[] = [];
  const logger = { ...silentLogger, error: (fields: unknown) => errors.push(fields) };
  const { store, first } = open(1, { logger });
  await store.range({ key: "k" });
  const ends: WatchEnd[] = [];
  store.watch({ prefix: "" }, 1, { onBatch: () => {}, onEnd: (end) => ends.push(end) });
  first.clusterId = "2";
  await store.range({ key: "k" });
  await clock.sleep(5);
  assert.deepEqual(
    ends.map(({ reason }) => reason),
    ["diverged"],
  );
  assert.deepEqual(errors, [{ known: "1", found: "2" }]);
  await store.range({ key: "k" });
  assert.equal(errors.length, 1);
  await store.close();
});

test("a page begins at the key after the last one, and never before its prefix", async () => {
  const { store, first } = open(1);
  for (const startAfter of ["b/1", "a", "b/"]) {
    await store.range({ prefix: "b/" }, { startAfter, limit: 2, revision: 9 });
  }
  const range_end = Buffer.from("/r/b0");
  assert.deepEqual(first.ranges, [
    { key: Buffer.from("/r/b/1\0"), range_end, limit: 2, revision: 9 },
    { key: Buffer.from("/r/b/"), range_end, limit: 2, revision: 9 },
    { key: Buffer.from("/r/b/\0"), range_end, limit: 2, revision: 9 },
  ]);
  await store.close();
});

test("keys lie under the root; a key that is no text is refused", async () => {
  const { store, first } = open(1);
  await store.txn(
    [
      { key: "a", target: "version", equals: 0 },
      { prefix: "c/", target: "modRevision", below: 7 },
    ],
    [put, { type: "delete", range: { prefix: "p" } }],
    [{ type: "range", range: { prefix: "" } }],
  );
  const [sent] = first.transactions;
  const names = [
    sent?.compare?.[0]?.key,
    sent?.compare?.[1]?.key,
    sent?.compare?.[1]?.range_end,
    sent?.success?.[0]?.request_put?.key,
    sent?.success?.[1]?.request_delete_range?.key,
    sent?.success?.[1]?.request_delete_range?.range_end,
    sent?.failure?.[0]?.request_range?.key,
    sent?.failure?.[0]?.request_range?.range_end,
  ];
  assert.deepEqual(names.map(String), [
    "/r/a",
    "/r/c/",
    "/r/c0",
    "/r/k",
    "/r/p",
    "/r/q",
    "/r/",
    "/r0",
  ]);
  const range = first.range.bind(first);
  const answerWith = (key: Buffer) =>
    Object.assign(first, {
      range: async (...args: Parameters<typeof range>) => ({
        ...(await range(...args)),
        kvs: [kv(key, 3)],
      }),
    });
  answerWith(Buffer.from("/r/ü"));
  const { kvs } = await store.range({ prefix: "" });
  assert.deepEqual([kvs[0]?.key, kvs[0]?.modRevision, kvs[0]?.lease], ["ü", 3, undefined]);
  answerWith(Buffer.from([0x2f, 0x72, 0x2f, 0xff]));
  const thrown = await thrownBy(store.range({ prefix: "" }));
  assert.ok(hasCode(thrown, ErrorCode.CORRUPT_MESSAGE), String(thrown));
  for (const root of ["", "x".repeat(101)]) {
    assert.throws(
      () => open(1, { root }),
      (refused) => hasCode(refused, ErrorCode.INVALID_CONFIG),
    );
  }
  await store.close();
});
