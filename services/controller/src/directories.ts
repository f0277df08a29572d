/**
 * In which data directory each replica was in sync last, as Kafka's KIP-858 has it. A broker whose
 * disk was replaced comes back under its id with another directory: its place in the ISR or the ELR
 * says nothing about what is on the new disk. Pure.
 */
import type { PartitionRecord } from "@millrace/proto/storage";

/** Directory ids of registered brokers. A broker that has told none is not among them. */
export type Directories = ReadonlyMap<number, Uint8Array>;

const unknown = new Uint8Array(0);

const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/**
 * True where the broker's present directory is the one in which the replica was in sync last, and
 * where that is not known: the record is older than directory ids.
 */
export const isInItsDirectory = (
  { directoryIds, replicas }: PartitionRecord,
  brokerId: number,
  directories: Directories,
): boolean => {
  const known = directoryIds[replicas.indexOf(brokerId)] ?? unknown;
  return known.length === 0 || isSame(known, directories.get(brokerId) ?? unknown);
};

/** Directory ids of the replicas, once those of `isr` are in sync where they are now. */
export const directoryIdsWith = (
  { directoryIds, replicas }: PartitionRecord,
  isr: readonly number[],
  directories: Directories,
): Uint8Array[] => {
  const next = replicas.map((id, i) =>
    isr.includes(id) ? (directories.get(id) ?? unknown) : (directoryIds[i] ?? unknown),
  );
  return next.some((id) => id.length > 0) ? next : [];
};

export const sameDirectoryIds = (a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean =>
  a.length === b.length && a.every((id, i) => isSame(id, b[i] ?? unknown));
