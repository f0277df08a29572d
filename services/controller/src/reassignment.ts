/** Moves the replicas of one partition to other brokers (KIP-455). Pure. */
import type { PartitionRecord } from "@millrace/proto/storage";
import { isInItsDirectory } from "./directories.ts";
import { type Brokers, elrBeside, type MinInsync, validElr } from "./leadership.ts";

type Members = Pick<PartitionRecord, "replicas" | "adding" | "removing">;

/** What becomes of a wish to move a partition. */
export type Reassigned =
  | { readonly kind: "changed"; readonly record: PartitionRecord }
  | { readonly kind: "already-so" }
  /** Every replica that has all that was acknowledged would be dropped. */
  | { readonly kind: "refused" };

export const isBeingReassigned = ({ adding, removing }: Members): boolean =>
  adding.length + removing.length > 0;

/** The replicas that a partition has once its reassignment is over. */
export const targetOf = ({ replicas, removing }: Members): number[] =>
  replicas.filter((id) => !removing.includes(id));

/** The replicas that a partition had before its reassignment. */
export const originalOf = ({ replicas, adding }: Members): number[] =>
  replicas.filter((id) => !adding.includes(id));

const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((id, i) => id === b[i]);

/** The record with other replicas. A broker that has a replica again need not delete its log. */
const withMembers = (record: PartitionRecord, members: Members): PartitionRecord => ({
  ...record,
  ...members,
  directoryIds:
    record.directoryIds.length === 0
      ? []
      : members.replicas.map(
          (id) => record.directoryIds[record.replicas.indexOf(id)] ?? new Uint8Array(0),
        ),
  removed: record.removed.filter(({ brokerId }) => !members.replicas.includes(brokerId)),
});

/** In-sync replicas with their broker epochs, and who leads them. */
interface Kept {
  readonly isr: readonly number[];
  readonly epochs: readonly bigint[];
  readonly leader: number;
}

/**
 * What is left of the ISR: its leader stays if it can, else the first of the replicas that is in
 * sync leads. When none of the ISR is left, a registered member of the ELR leads alone. Undefined
 * without one: a member that is away may come back with another disk, and who is dropped may have
 * the last copy.
 */
const kept = (
  record: PartitionRecord,
  topic: MinInsync,
  { brokers, directories, shuttingDown }: Brokers,
  replicas: readonly number[],
): Kept | undefined => {
  const epochOf = (id: number): bigint => record.isrBrokerEpochs[record.isr.indexOf(id)] ?? 0n;
  const isr = record.isr.filter((id) => replicas.includes(id));
  if (isr.length === 0) {
    const elr = validElr(record, topic);
    const isComplete = (id: number): boolean =>
      elr.includes(id) && brokers.has(id) && isInItsDirectory(record, id, directories);
    const leader = replicas.find(isComplete);
    if (leader === undefined) return undefined;
    return { isr: [leader], epochs: [BigInt(brokers.get(leader) ?? 0)], leader };
  }
  const present = isr.filter(
    (id) =>
      BigInt(brokers.get(id) ?? 0) === epochOf(id) && isInItsDirectory(record, id, directories),
  );
  const staying = present.filter((id) => !shuttingDown.has(id));
  const eligible = staying.length > 0 ? staying : present;
  const stays = record.leader !== undefined && eligible.includes(record.leader);
  const leader = stays ? record.leader : replicas.find((id) => eligible.includes(id));
  if (leader === undefined) return undefined;
  return { isr, epochs: isr.map(epochOf), leader };
};

/**
 * The partition with other replicas, in a new term: followers that are dropped are in no ISR of it,
 * and their logs have nothing of its leader epoch. Undefined where nobody could lead it.
 */
const inNewTerm = (
  record: PartitionRecord,
  topic: MinInsync,
  registered: Brokers,
  members: Members,
): PartitionRecord | undefined => {
  const left = kept(record, topic, registered, members.replicas);
  if (left === undefined) return undefined;
  const { isr, epochs, leader } = left;
  const leaderEpoch = record.leaderEpoch + 1;
  const dropped = record.replicas.filter((id) => !members.replicas.includes(id));
  const rest = withMembers(record, members);
  return {
    ...rest,
    leader,
    leaderEpoch,
    isr: [...isr],
    isrBrokerEpochs: [...epochs],
    elr: elrBeside(record, topic, isr, registered, members),
    minIsrEpoch: topic.minIsrEpoch,
    removed: [
      ...rest.removed,
      ...dropped.map(
        (brokerId) =>
          ({ $typeName: "millrace.storage.v1.RemovedReplica", brokerId, leaderEpoch }) as const,
      ),
    ],
  };
};

/**
 * The partition on its way to `target`, whichever way it was on before. Replicas that an earlier
 * reassignment was adding, and that this one does not want, are dropped at once; all others stay
 * until the reassignment is over.
 */
export const reassigned = (
  record: PartitionRecord,
  topic: MinInsync,
  registered: Brokers,
  target: readonly number[],
): Reassigned => {
  const original = originalOf(record);
  const removing = original.filter((id) => !target.includes(id));
  const adding = target.filter((id) => !original.includes(id));
  const replicas = [...target, ...removing];
  const members = { replicas, adding, removing };
  const isSame = same(replicas, record.replicas) && same(removing, record.removing);
  if (isSame) return { kind: "already-so" };
  if (record.replicas.every((id) => replicas.includes(id))) {
    return { kind: "changed", record: withMembers(record, members) };
  }
  const next = inNewTerm(record, topic, registered, members);
  return next === undefined ? { kind: "refused" } : { kind: "changed", record: next };
};

/**
 * The partition after its reassignment, or undefined while that is under way, and where there is
 * none. It is over once every new replica is in sync, under its present registration, and at least
 * `min.insync.replicas` of the target are, and stay: a broker in maintenance does not count.
 */
export const completedReassignment = (
  record: PartitionRecord,
  topic: MinInsync,
  registered: Brokers,
): PartitionRecord | undefined => {
  if (!isBeingReassigned(record)) return undefined;
  const replicas = targetOf(record);
  const inSync = replicas.filter((id) => {
    const epoch = record.isrBrokerEpochs[record.isr.indexOf(id)];
    return epoch !== undefined && epoch === BigInt(registered.brokers.get(id) ?? -1);
  });
  const staying = inSync.filter((id) => registered.away?.has(id) !== true);
  const isComplete =
    record.adding.every((id) => inSync.includes(id)) &&
    staying.length >= Math.max(1, Math.min(topic.minInsyncReplicas, replicas.length));
  if (!isComplete) return undefined;
  return inNewTerm(record, topic, registered, { replicas, adding: [], removing: [] });
};
