/** The generation of a metadata store: a random value that every restore replaces. */
import type { Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Compare, KeyValue, MetadataStore, Operation } from "./api.ts";
import { decodeRecord, encodeRecord, keys } from "./keys.ts";
import { operationsMax } from "./limits.ts";
import { listAll } from "./listing.ts";

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
 * How far leader epochs rise with a generation: further than they can have risen since a backup,
 * and 2,047 times.
 */
export const epochsPerGeneration = 2 ** 20;

/** Largest leader epoch. */
export const leaderEpochMax = 0x7fff_ffff;

const unchanged = ({ key, modRevision }: KeyValue): Compare => ({
  ...{ key, target: "modRevision", equals: modRevision },
});

/** A partition's record with a higher leader epoch; undefined for one that is damaged. */
const raised = (kv: KeyValue): Operation | undefined => {
  try {
    const record = decodeRecord.partition(kv);
    const leaderEpoch = record.leaderEpoch + epochsPerGeneration;
    if (leaderEpoch > leaderEpochMax) return undefined;
    const value = encodeRecord.partition({ ...record, leaderEpoch });
    return { type: "put", key: kv.key, value };
  } catch {
    // Nobody leads by it, and whoever puts it right looks at it.
    return undefined;
  }
};

/** Throws UNAVAILABLE when somebody else writes. */
const write = async (
  store: MetadataStore,
  compares: readonly Compare[],
  operations: readonly Operation[],
): Promise<void> => {
  if ((await store.txn(compares, operations)).succeeded) return;
  throw new MillraceError(
    ErrorCode.UNAVAILABLE,
    "the metadata change right now: stop the controllers, and retry",
  );
};

/**
 * Gives the store another generation. To be done after every restore of a backup, before anybody
 * writes: mirrors then read everything anew instead of believing what they remember.
 *
 * First, all leader epochs rise: the backup does not know which were given since, and an epoch that
 * two leaders have led in has two histories, which truncation by epoch cannot tell apart (KIP-101).
 * When it fails midway it may be run again.
 *
 * Throws UNAVAILABLE for a store without the record of a cluster: a generation alone restores
 * nothing; and while others write.
 */
export const renewGeneration = async (store: MetadataStore, random: Random): Promise<string> => {
  const { kvs } = await listAll(store);
  const record = kvs.get(keys.cluster);
  if (record === undefined) {
    throw new MillraceError(
      ErrorCode.UNAVAILABLE,
      "the metadata store holds no record of a cluster: restore the backup first, and retry",
    );
  }
  const partitions = [...kvs.values()].filter(({ key }) => key.startsWith(keys.partitions));
  for (let at = 0; at < partitions.length; at += operationsMax / 2) {
    const some = partitions.slice(at, at + operationsMax / 2).flatMap((kv) => {
      const operation = raised(kv);
      return operation === undefined ? [] : [{ kv, operation }];
    });
    const compares = [unchanged(record), ...some.map(({ kv }) => unchanged(kv))];
    const operations = some.map(({ operation }) => operation);
    if (operations.length > 0) await write(store, compares, operations);
  }
  const generation = newGeneration(random);
  await write(store, [unchanged(record)], [putGeneration(generation)]);
  return generation;
};
