/** The generation of a metadata store: a random value that every restore replaces. */
import type { Random } from "@millrace/env";
import type { Compare, MetadataStore, Operation } from "./api.ts";
import { keys } from "./keys.ts";

/** A new one. */
export const newGeneration = (random: Random): string =>
  Buffer.from(random.bytes(16)).toString("hex");

/** Writes a generation; in a transaction that must not replace one, guard it by `noGeneration`. */
export const putGeneration = (generation: string): Operation => ({
  ...{ type: "put", key: keys.generation, value: Buffer.from(generation) },
});

/** Holds while the store has no generation. */
export const noGeneration: Compare = {
  ...{ key: keys.generation, target: "createRevision", equals: 0 },
};

/**
 * Gives the store another generation. To be done after every restore of a backup, before anybody
 * writes: mirrors then read everything anew instead of believing what they remember.
 */
export const renewGeneration = async (store: MetadataStore, random: Random): Promise<string> => {
  const generation = newGeneration(random);
  await store.txn([], [putGeneration(generation)]);
  return generation;
};
