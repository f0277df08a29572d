/** Writes records in guarded transactions: each only if it is as it was read. */
import { type Compare, encodeRecord, keys, type Operation } from "@millrace/metadata";
import type { PartitionRecord } from "@millrace/proto/storage";
import { changesPerTransaction, comparesPerTransaction } from "./limits.ts";
import type { Write } from "./reign.ts";

/** A change of one key, made only if the key has not changed since it was read. */
export interface GuardedChange {
  readonly key: string;
  readonly modRevision: number;
  /** The new value; absent: the key is removed. */
  readonly record?: PartitionRecord;
  /** Brokers, by id, that must still be registered under these epochs. */
  readonly brokers?: ReadonlyMap<number, number>;
  /** Other keys that must still be of these revisions. */
  readonly unchanged?: ReadonlyMap<string, number>;
}

/** Told what became of every change, once each. */
export interface ChangeObserver<C extends GuardedChange> {
  /** One transaction was made, at this revision. */
  onWritten(changes: readonly C[], revision: number): void;
  /** The change was not made: its key, or another one that it names, has changed by then. */
  onConflict(change: C, revision: number): void;
}

/** What else must hold, by key. */
const conditionsOf = ({ brokers, unchanged }: GuardedChange): [string, Compare][] => [
  ...[...(brokers ?? [])].map(([id, equals]): [string, Compare] => {
    const key = keys.broker(id);
    return [key, { key, target: "createRevision", equals }];
  }),
  ...[...(unchanged ?? [])].map(([key, equals]): [string, Compare] => {
    return [key, { key, target: "modRevision", equals }];
  }),
];

/** Keys that must not have changed, each once. */
const comparesOf = (changes: readonly GuardedChange[]): Compare[] => [
  ...changes.map(
    ({ key, modRevision }): Compare => ({ key, target: "modRevision", equals: modRevision }),
  ),
  ...new Map(changes.flatMap(conditionsOf)).values(),
];

const operationOf = ({ key, record }: GuardedChange): Operation =>
  record === undefined
    ? { type: "delete", range: { key } }
    : { type: "put", key, value: encodeRecord.partition(record) };

/** Parts of the changes, in order, each of which fits into a transaction. */
const transactionsOf = <C extends GuardedChange>(changes: readonly C[]): C[][] => {
  const parts: C[][] = [];
  let part: C[] = [];
  let others = new Set<string>();
  for (const change of changes) {
    const own = conditionsOf(change).map(([key]) => key);
    const together = new Set([...others, ...own]);
    const isFull =
      part.length === changesPerTransaction ||
      part.length + 1 + together.size > comparesPerTransaction;
    if (part.length === 0 || isFull) {
      part = [];
      parts.push(part);
    }
    others = isFull ? new Set(own) : together;
    part.push(change);
  }
  return parts;
};

/** One transaction; after a conflict its halves, down to the change that is left out. */
const writeTogether = async <C extends GuardedChange>(
  write: Write,
  changes: readonly C[],
  observer: ChangeObserver<C>,
): Promise<void> => {
  const [first] = changes;
  if (first === undefined) return;
  const { succeeded, revision } = await write(comparesOf(changes), changes.map(operationOf));
  if (succeeded) observer.onWritten(changes, revision);
  else if (changes.length === 1) observer.onConflict(first, revision);
  else {
    const half = changes.length >> 1;
    await writeTogether(write, changes.slice(0, half), observer);
    await writeTogether(write, changes.slice(half), observer);
  }
};

/**
 * Writes the changes in as few transactions as their limits allow. These begin in the order of the
 * changes, at most `inFlightMax` of them at a time. A change whose condition does not hold is left
 * out, and holds up no other. Rejects with the first error of `write`, once nothing is in flight
 * any more; the observer has been told everything that was done.
 */
export const writeChanges = async <C extends GuardedChange>(
  write: Write,
  changes: readonly C[],
  observer: ChangeObserver<C>,
  inFlightMax = 1,
): Promise<void> => {
  const parts = transactionsOf(changes).values();
  const failures: unknown[] = [];
  const writeParts = async (): Promise<void> => {
    for (const part of parts) {
      if (failures.length > 0) return;
      await writeTogether(write, part, observer).catch((thrown) => failures.push(thrown));
    }
  };
  await Promise.all(Array.from({ length: inFlightMax }, writeParts));
  if (failures.length > 0) throw failures[0];
};
