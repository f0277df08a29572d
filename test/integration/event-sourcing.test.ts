/** The guide to event sourcing: its blocks are the program, and two servers of that race. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { type Client, connect, EndOffsetMismatchError } from "@millrace/client";
import { InsufficientFunds, Shard } from "../../examples/event-sourcing/accounts.ts";
import { change } from "../../examples/event-sourcing/documents.ts";
import { ServerProcess, withDirectory } from "./server.ts";

const topic = "accounts";
const partition = 0;
const limit = { timeout: 120_000 };
const textOf = (path: string): string =>
  readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

test("the guide shows the programs as they are", () => {
  const guide = textOf("docs/guides/event-sourcing.md");
  const blocks = [...guide.matchAll(/```ts\n([\s\S]*?)\n```/g)].map(([, block]) => block);
  const documents = blocks.pop();
  assert.equal(`${blocks.join("\n\n")}\n`, textOf("examples/event-sourcing/accounts.ts"));
  assert.equal(`${documents}\n`, textOf("examples/event-sourcing/documents.ts"));
});

/** A server, and clients of it as two servers of the service. */
const withService = (body: (one: Client, other: Client) => Promise<void>): Promise<void> =>
  withDirectory(async (directory) => {
    const server = new ServerProcess(directory);
    try {
      const { client: endpoint } = await server.ready();
      await using one = await connect({ bootstrap: endpoint });
      await using other = await connect({ bootstrap: endpoint });
      await one.admin.createTopic({ name: topic, configs: { "retention.ms": "-1" } });
      await body(one, other);
    } finally {
      await server.kill("SIGKILL");
    }
  });

interface Change {
  readonly command: string;
  readonly account: string;
  readonly amount: number;
}

/** Every change that is there. */
const changesOf = async (client: Client): Promise<Change[]> => {
  await using consumer = client.consumer({ topic, from: "earliest", untilEnd: true });
  const changes: Change[] = [];
  for await (const record of consumer.records()) changes.push(record.json() as Change);
  return changes;
};

/** The balances on the way, which must never be negative, and the last ones. */
const balancesOf = (changes: readonly Change[]): Map<string, number> => {
  const balances = new Map<string, number>();
  for (const { command, account, amount } of changes) {
    const balance = (balances.get(account) ?? 0) + amount;
    assert.ok(balance >= 0, `${account} has ${balance} after ${command}`);
    balances.set(account, balance);
  }
  return balances;
};

test("two writers that expect one end: exactly one is stored, every round", limit, async () => {
  await withService(async (one, other) => {
    const producers = [one.producer(), other.producer()];
    const winners: string[] = [];
    for (let end = 0n; end < 50n; end += 1n) {
      const sends = producers.map((producer, i) => {
        const change: Change = { command: `${i}`, account: "a", amount: 1 };
        const value = JSON.stringify(change);
        return producer.send({ topic, partition, value, expectedEndOffset: end });
      });
      const outcomes = await Promise.allSettled(sends);
      const won = outcomes.flatMap((outcome, i) => (outcome.status === "fulfilled" ? [i] : []));
      assert.equal(won.length, 1, `round ${end}`);
      winners.push(`${won[0]}`);
      for (const outcome of outcomes) {
        if (outcome.status === "fulfilled") assert.equal(outcome.value.offset, end);
        else {
          assert.ok(outcome.reason instanceof EndOffsetMismatchError, String(outcome.reason));
          assert.equal(outcome.reason.actualEndOffset, end + 1n);
        }
      }
    }
    const stored = (await changesOf(one)).map(({ command }) => command);
    assert.deepEqual(stored, winners);
  });
});

test(
  "two servers of one account: one withdrawal a round, and never below zero",
  limit,
  async () => {
    await withService(async (one, other) => {
      const shards = [
        await Shard.open(one, topic, partition),
        await Shard.open(other, topic, partition),
      ] as const;
      const account = "ann";
      for (let round = 0; round < 30; round += 1) {
        const [first] = shards;
        await first.change({ command: `in-${round}`, account, amount: 10 });
        const out = shards.map((shard, i) =>
          shard.change({ command: `out-${round}-${i}`, account, amount: -10 }),
        );
        // Beside them, of another account of the shard.
        const beside = shards.map((shard, i) =>
          shard.change({ command: `beside-${round}-${i}`, account: "bob", amount: 1 }),
        );
        const outcomes = await Promise.allSettled(out);
        assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
        for (const outcome of outcomes) {
          if (outcome.status === "fulfilled") continue;
          assert.ok(outcome.reason instanceof InsufficientFunds, String(outcome.reason));
        }
        await Promise.all(beside);
      }
      const twice = shards.map((shard) => shard.change({ command: "again", account, amount: 5 }));
      assert.deepEqual(await Promise.all(twice), [5, 5], "a command that comes again is one");
      const changes = await changesOf(one);
      assert.equal(new Set(changes.map(({ command }) => command)).size, changes.length);
      assert.deepEqual(Object.fromEntries(balancesOf(changes)), { ann: 5, bob: 60 });
      const restarted = await Shard.open(other, topic, partition);
      assert.deepEqual([restarted.balanceOf("ann"), restarted.balanceOf("bob")], [5, 60]);
    });
  },
);

test("documents that several servers change at once lose no change", limit, () =>
  withService(async (one, other) => {
    const configs = { "cleanup.policy": "compact" };
    await one.admin.createTopic({ name: "documents", partitions: 2, configs });
    const stores = [one, one, other, other].map((client) => ({
      ...{ client, producer: client.producer(), topic: "documents" },
    }));
    const count = (store: (typeof stores)[0], key: string): Promise<unknown> =>
      change<{ n: number }>(store, key, (now) => ({ n: (now?.n ?? 0) + 1 }));
    const rounds = Array.from({ length: 5 }, (_, i) => i);
    await Promise.all(
      stores.map(async (store) => {
        for (const _ of rounds) await Promise.all([count(store, "a"), count(store, "b")]);
      }),
    );
    const [store] = stores;
    assert.ok(store !== undefined);
    for (const key of ["a", "b"]) {
      assert.deepEqual(await change(store, key, (now) => now), { n: 20 });
      assert.equal(await change(store, key, () => null), null);
      assert.equal(await change(store, key, (now) => now), null, "it is deleted");
    }
    const left = other.latest({ topic: "documents" });
    assert.deepEqual(await left.next(), { value: undefined, done: true });
  }),
);
