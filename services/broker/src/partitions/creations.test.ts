import assert from "node:assert/strict";
import { test } from "node:test";
import { topicIdOf } from "@millrace/record";
import { Creations } from "./creations.ts";

const idOf = (byte: number) => topicIdOf(new Uint8Array(16).fill(byte));

/** Creations that end when the test says so. */
const setUp = (count: number) => {
  const creations = new Creations();
  const begun: PromiseWithResolvers<number>[] = [];
  const results = Array.from({ length: count }, () =>
    creations.run(idOf(1), () => {
      const creation = Promise.withResolvers<number>();
      begun.push(creation);
      return creation.promise;
    }),
  );
  return { creations, begun, results };
};

const turns = async (): Promise<void> => {
  for (let i = 0; i < 10; i += 1) await Promise.resolve();
};

test("64 creations run at once; one that ends, well or not, makes room for the next", async () => {
  const { begun, results } = setUp(70);
  await turns();
  assert.equal(begun.length, 64);
  begun[5]?.reject(new Error("EIO"));
  await assert.rejects(results[5] ?? Promise.resolve(), /EIO/);
  await turns();
  assert.equal(begun.length, 65);
  for (let i = 0; i < 70; i += 1) {
    begun[i]?.resolve(i);
    await turns();
  }
  assert.equal(await results[69], 69);
});

test("creations of a topic are waited for, those of another are not", async () => {
  const { creations, begun, results } = setUp(2);
  await creations.settled(idOf(2));
  const settled = creations.settled(idOf(1)).then(() => "settled");
  begun[0]?.resolve(0);
  await turns();
  assert.equal(await Promise.race([settled, turns().then(() => "waiting")]), "waiting");
  begun[1]?.reject(new Error("EIO"));
  assert.equal(await settled, "settled");
  await assert.rejects(results[1] ?? Promise.resolve(), /EIO/);
  await creations.settled(idOf(1));
});
