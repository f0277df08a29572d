import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { MetadataStore, Operation } from "./api.ts";
import { EmbeddedStore } from "./embedded.ts";
import { GuardedWriter } from "./guarded-writer.ts";
import { keys } from "./keys.ts";
import { isOutcomeUnknown, notDone, unknownOutcome } from "./outcome.ts";

/** Pauses are short. */
const clock = { ...nodeClock(), sleep: () => nodeClock().sleep(0) };
const random = nodeRandom();

/**
 * What becomes of a transaction: done and answered; lost on the way there; done, and its answer
 * lost; done when the test says so, long after the caller was told that nobody knows; or refused.
 */
type Fate = "done" | "lost" | "unanswered" | "late" | "refused";

/** A store behind a connection that breaks as the test says. */
const shaky = (fates: Fate[]) => {
  const store = new EmbeddedStore({ clock, random });
  const late: (() => Promise<unknown>)[] = [];
  let calls = 0;
  const txn: MetadataStore["txn"] = async (...args) => {
    calls += 1;
    const fate = fates.shift() ?? "done";
    if (fate === "refused") throw notDone("no server");
    if (fate === "late") late.push(() => store.txn(...args));
    if (fate === "lost" || fate === "late") throw unknownOutcome("cut");
    const result = await store.txn(...args);
    if (fate === "unanswered") throw unknownOutcome("cut");
    return result;
  };
  const shakyStore: MetadataStore = Object.create(store, {
    txn: { value: txn },
    range: { value: store.range.bind(store) },
  });
  const writer = new GuardedWriter({ store: shakyStore, clock, random, writer: "w" });
  const value = async (): Promise<string> => {
    const [kv] = (await store.range({ key: "k" })).kvs;
    return kv === undefined ? "" : `${Buffer.from(kv.value)} v${kv.version}`;
  };
  const deliver = async (): Promise<void> => {
    for (const run of late.splice(0)) await run();
  };
  return { store, writer, value, deliver, calls: () => calls };
};

const put = (value: string): Operation => ({ type: "put", key: "k", value: Buffer.from(value) });
const absent = { key: "k", target: "version", equals: 0 } as const;
const thrownBy = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => assert.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );

/** The first transaction of a writer makes its slot. */
const made = "done" as const;

test("a transaction whose answer was lost is known to be done, and at which revision", async () => {
  const { store, writer, value } = shaky([made, "unanswered"]);
  const { succeeded, revision } = await writer.txn([absent], [put("a")]);
  assert.equal(succeeded, true);
  assert.equal((await store.range({ key: "k" })).kvs[0]?.modRevision, revision);
  assert.equal(await value(), "a v1");
  assert.equal(writer.resolved, 1);
});

test("a transaction that was lost is done again, once", async () => {
  const { writer, value } = shaky([made, "lost", "done", "unanswered"]);
  assert.equal((await writer.txn([absent], [put("a")])).succeeded, true);
  assert.equal(await value(), "a v1");
});

test("a transaction that comes late, after another try, does nothing", async () => {
  const { writer, value, deliver } = shaky([made, "late"]);
  assert.equal((await writer.txn([], [put("a")])).succeeded, true);
  await deliver();
  assert.equal(await value(), "a v1");
  await writer.txn([], [put("b")]);
  assert.equal(await value(), "b v2", "the slot is still the writer's");
});

test("finding out may itself be lost, unanswered or late", async () => {
  const { writer, value, deliver } = shaky([made, "late", "lost", "late", "unanswered", "late"]);
  assert.equal((await writer.txn([absent], [put("a")])).succeeded, true);
  await deliver();
  assert.equal(await value(), "a v1");
  const other = shaky([made, "unanswered", "late", "unanswered", "refused", "lost"]);
  assert.equal((await other.writer.txn([absent], [put("a")])).succeeded, true);
  await other.deliver();
  assert.equal(await other.value(), "a v1");
});

test("compares that do not hold are told as such", async () => {
  const { writer, value } = shaky([made, "done", "done", "lost"]);
  await writer.txn([], [put("a")]);
  assert.equal((await writer.txn([absent], [put("b")])).succeeded, false);
  assert.equal((await writer.txn([absent], [put("c")])).succeeded, false, "after a lost one, too");
  assert.equal(await value(), "a v1");
});

test("slots are used again: as many as there are transactions at a time", async () => {
  const { store, writer } = shaky([]);
  for (let i = 0; i < 20; i += 1) await writer.txn([], [put(String(i))]);
  const count = async (): Promise<number> =>
    (await store.range({ prefix: keys.tokens })).kvs.length;
  assert.equal(await count(), 1);
  for (let round = 0; round < 3; round += 1) {
    await Promise.all(Array.from({ length: 5 }, () => writer.txn([], [put("x")])));
  }
  assert.equal(await count(), 5);
});

test("when the time is up, the outcome is unknown, or nothing was done", async () => {
  const never = Array.from({ length: 1000 }, (): Fate => "lost");
  const unknown = await thrownBy(
    shaky([made, ...never]).writer.txn([], [put("a")], { timeoutMs: 100 }),
  );
  assert.ok(isOutcomeUnknown(unknown) && hasCode(unknown, ErrorCode.UNAVAILABLE));
  const nothing = await thrownBy(shaky(never).writer.txn([], [put("a")], { timeoutMs: 100 }));
  assert.equal(isOutcomeUnknown(nothing), false, "there was no slot, so that nothing was sent");
  const refused = shaky([made, "refused"]);
  assert.equal(isOutcomeUnknown(await thrownBy(refused.writer.txn([], [put("a")]))), false);
  assert.equal(refused.calls(), 2);
  await refused.writer.txn([], [put("a")]);
});

test("a life that was replaced does not take its missing slot for an answer", async () => {
  const { store, writer, value } = shaky([]);
  await writer.txn([], [put("a")]);
  const next = new GuardedWriter({ store, clock, random, writer: "w2" });
  await next.txn([], [put("b")]);
  await next.forget("w");
  const left = (await store.range({ prefix: keys.tokens })).kvs.map(({ key }) => key);
  assert.deepEqual(left, [keys.token("w2", 1)]);
  const refused = await thrownBy(writer.txn([], [put("c")], { timeoutMs: 500 }));
  assert.equal(isOutcomeUnknown(refused), false, "the slot is gone, so that nothing was done");
  assert.deepEqual([writer.isReplaced, next.isReplaced], [true, false]);
  assert.equal(await value(), "b v2");

  const other = shaky([]);
  const forgetting: MetadataStore["txn"] = other.store.txn.bind(other.store);
  let sent = 0;
  const interrupted: MetadataStore = Object.create(other.store, {
    txn: {
      value: async (...args: Parameters<typeof forgetting>) => {
        const result = await forgetting(...args);
        sent += 1;
        if (sent !== 2) return result;
        await forgetting([], [{ type: "delete", range: { prefix: keys.tokens } }]);
        throw unknownOutcome("cut");
      },
    },
  });
  const zombie = new GuardedWriter({ store: interrupted, clock, random, writer: "z" });
  const lost = await thrownBy(zombie.txn([], [put("z")], { timeoutMs: 500 }));
  assert.equal(isOutcomeUnknown(lost), true, "it was done, but nobody can tell");
  assert.equal(zombie.isReplaced, true);
});

test("whatever breaks, a count is what was added to it", async () => {
  const all: Fate[] = ["done", "done", "lost", "unanswered", "late", "refused"];
  const fates = Array.from({ length: 3000 }, () => all[random.below(all.length)] ?? "done");
  const { store, writer, deliver } = shaky(fates);
  let added = 0;
  for (let i = 0; i < 150; i += 1) {
    const [kv] = (await store.range({ key: "k" })).kvs;
    const compare = { key: "k", target: "modRevision", equals: kv?.modRevision ?? 0 } as const;
    const next = put(String(Number(Buffer.from(kv?.value ?? []).toString() || "0") + 1));
    try {
      const { succeeded } = await writer.txn([compare], [next], { timeoutMs: 60_000 });
      assert.ok(succeeded);
      added += 1;
    } catch (thrown) {
      assert.equal(isOutcomeUnknown(thrown), false);
    }
    if (i % 7 === 0) await deliver();
  }
  await deliver();
  const [kv] = (await store.range({ key: "k" })).kvs;
  assert.equal(Buffer.from(kv?.value ?? []).toString(), String(added));
  assert.equal(kv?.version, added);
});
