import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { keys } from "@millrace/metadata";
import fc from "fast-check";
import { type GuardedChange, writeChanges } from "./guarded-changes.ts";
import type { Write } from "./reign.ts";

/** Changes of so many keys, each of which needs three brokers of many. */
const drawn = fc.record({
  count: fc.nat(250),
  brokers: fc.constantFrom(3, 12, 500),
  /** Every how many keys one has changed meanwhile. */
  changedEvery: fc.constantFrom(1, 7, 60, 1000),
  goneBrokers: fc.uniqueArray(fc.nat(500), { maxLength: 2 }),
});

test("all changes but those with a conflict are made, in order, within the limits of a transaction", async () => {
  await fc.assert(
    fc.asyncProperty(drawn, async ({ count, brokers, changedEvery, goneBrokers }) => {
      const changes = Array.from({ length: count }, (_, i): GuardedChange => {
        const ids = [0, 1, 2].map((at) => (i * 3 + at) % brokers);
        const needed = new Map(ids.map((id) => [id, 1000 + id]));
        return { key: `partitions/${i}`, modRevision: 7, brokers: needed };
      });
      const brokerKeys = goneBrokers.map((id) => keys.broker(id));
      let revision = 100;
      const made: string[] = [];
      const write: Write = async (all, operations) => {
        const compares = all.flatMap((one) => ("key" in one ? [one] : []));
        assert.ok(operations.length <= 100 && compares.length <= 126);
        assert.equal(new Set(compares.map(({ key }) => key)).size, compares.length);
        for (const { key, equals } of compares) {
          const id = key.startsWith(keys.brokers) ? Number(key.slice(keys.brokers.length)) : -1;
          assert.equal(equals, id < 0 ? 7 : 1000 + id);
        }
        const isChanged = ({ key }: { readonly key: string }): boolean =>
          brokerKeys.includes(key) ||
          (key.startsWith("partitions/") && Number(key.slice(11)) % changedEvery === 0);
        if (compares.some(isChanged)) return { succeeded: false, revision };
        revision += 1;
        for (const one of operations) {
          if (one.type === "delete" && "key" in one.range) made.push(one.range.key);
        }
        return { succeeded: true, revision };
      };
      const told: string[] = [];
      const conflicts: string[] = [];
      await writeChanges(write, changes, {
        onWritten: (some, at) => {
          assert.equal(at, revision);
          told.push(...some.map(({ key }) => key));
        },
        onConflict: ({ key }) => conflicts.push(key),
      });
      const isRefused = ({ brokers: needed }: GuardedChange, i: number): boolean =>
        i % changedEvery === 0 || goneBrokers.some((id) => needed?.has(id) === true);
      const keysOf = (some: readonly GuardedChange[]): string[] => some.map(({ key }) => key);
      assert.deepEqual(conflicts, keysOf(changes.filter(isRefused)));
      assert.deepEqual(made, keysOf(changes.filter((change, i) => !isRefused(change, i))));
      assert.deepEqual(told, made);
    }),
    { numRuns: 300 },
  );
});

const many = Array.from({ length: 950 }, (_, i) => ({ key: `partitions/${i}`, modRevision: 7 }));
const nobody = { onWritten: () => {}, onConflict: () => {} };

test("transactions begin in order, and a bounded number of them is in flight", async () => {
  const begun: string[] = [];
  let inFlight = 0;
  let most = 0;
  const write: Write = async ([first]) => {
    begun.push(first !== undefined && "key" in first ? first.key : "");
    inFlight += 1;
    most = Math.max(most, inFlight);
    await sleep(begun.length % 3);
    inFlight -= 1;
    return { succeeded: true, revision: 100 };
  };
  await writeChanges(write, many, nobody, 4);
  assert.equal(most, 4);
  assert.deepEqual(
    begun,
    many.filter((_, i) => i % 100 === 0).map(({ key }) => key),
  );
});

test("a failure is told once everything that is in flight has ended, and nothing begins after it", async () => {
  let begun = 0;
  let told = 0;
  const write: Write = async () => {
    begun += 1;
    const at = begun;
    await sleep(at === 2 ? 1 : 20);
    if (at === 2) throw new Error("no");
    return { succeeded: true, revision: 100 };
  };
  const observer = {
    onWritten: (changes: readonly GuardedChange[]) => {
      told += changes.length;
    },
    onConflict: () => {},
  };
  await assert.rejects(writeChanges(write, many, observer, 3), /no/);
  assert.equal(begun, 3);
  assert.equal(told, 200, "what was written beside it is told before");
});
