/** The generation of a metadata store: a random value that every restore replaces. */
import type { Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
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
 * writes: mirrors then read everything anew instead of believing what they remember. Throws
 * UNAVAILABLE for a store without the record of a cluster: a generation alone restores nothing.
 */
export const renewGeneration = async (store: MetadataStore, random: Random): Promise<string> => {
  const [record] = (await store.range({ key: keys.cluster })).kvs;
  const generation = newGeneration(random);
  const equals = record?.modRevision ?? 0;
  const same: Compare = { key: keys.cluster, target: "modRevision", equals };
  const isDone =
    record !== undefined && (await store.txn([same], [putGeneration(generation)])).succeeded;
  if (isDone) return generation;
  throw new MillraceError(
    ErrorCode.UNAVAILABLE,
    "the metadata store holds no record of a cluster, or it changes right now: restore the " +
      "backup first, and retry",
  );
};
