/** The ISR and the leader of one partition, from the brokers that are registered. Pure. */
import type { PartitionRecord } from "@millrace/proto/storage";
import {
  type Directories,
  directoryIdsWith,
  isInItsDirectory,
  sameDirectoryIds,
} from "./directories.ts";

/** What the rules need to know of a topic. */
export interface MinInsync {
  readonly minInsyncReplicas: number;
  readonly minIsrEpoch: number;
}

/** What the rules need to know of the brokers. */
export interface Brokers {
  /** Epochs of those that are registered. */
  readonly brokers: ReadonlyMap<number, number>;
  /** Those that are about to stop. */
  readonly shuttingDown: ReadonlySet<number>;
  readonly directories: Directories;
  /** Those that are away for maintenance, or may be at any moment. */
  readonly away?: ReadonlySet<number>;
}

const sameNumbers = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((value, i) => value === b[i]);

const sameEpochs = (a: readonly bigint[], b: readonly bigint[]): boolean =>
  a.length === b.length && a.every((value, i) => value === b[i]);

/** Replicas that a reassignment adds do not count before it is over: they may yet catch up. */
export const minIsrOf = (
  { replicas, adding }: Pick<PartitionRecord, "replicas" | "adding">,
  topic: MinInsync,
): number => Math.min(topic.minInsyncReplicas, replicas.length - adding.length);

/** The ELR while it counts: where the high watermark may have moved on, it means nothing. */
export const validElr = (record: PartitionRecord, topic: MinInsync): readonly number[] => {
  const min = minIsrOf(record, topic);
  const isElrValid = record.isr.length < min && record.minIsrEpoch === topic.minIsrEpoch;
  return isElrValid ? record.elr : [];
};

/**
 * The ELR beside a new ISR (KIP-966). A replica that leaves the ISR enters the ELR while the ISR is
 * smaller than `min.insync.replicas`: the high watermark then stands still, so the replica's disk
 * has everything below it. At the full size the ELR is empty. A broker that is registered with
 * another directory leaves it, and catches up as a replica that has nothing. `after`: the new
 * replicas, where a reassignment changes them.
 */
export const elrBeside = (
  record: PartitionRecord,
  topic: MinInsync,
  isr: readonly number[],
  { brokers, directories }: Pick<Brokers, "brokers" | "directories">,
  after: Pick<PartitionRecord, "replicas" | "adding"> = record,
): number[] => {
  const min = minIsrOf(after, topic);
  if (isr.length >= min) return [];
  const complete = new Set([...record.isr, ...validElr(record, topic)]);
  const isElsewhere = (id: number): boolean =>
    brokers.has(id) && !isInItsDirectory(record, id, directories);
  return after.replicas.filter((id) => complete.has(id) && !isr.includes(id) && !isElsewhere(id));
};

/** ISR, and who leads. */
interface Elected {
  readonly isr: readonly number[];
  readonly leader: number | undefined;
}

/**
 * Kafka's `electAnyLeader` without unclean elections: the leader stays while it is in sync, else
 * the first replica, in their order, that is; who is about to stop leads only where nobody else is
 * in sync (controlled shutdown). With `balances` the preferred leader, which is the first replica
 * of all, takes over from another one as soon as it is in sync. When no member of the ISR is left,
 * its members stay in it: all of them have everything that was acknowledged, on their disks,
 * whoever comes back first. So one that has registered anew is elected before the ELR is asked, and
 * leads alone until others have caught up. One that has come back with another data directory has
 * nothing on its disk: it is passed over, and keeps its place in case the old disk comes back.
 */
const elect = (
  record: PartitionRecord,
  elr: readonly number[],
  { brokers, shuttingDown, directories }: Brokers,
  balances: boolean,
): Elected => {
  const isHere = (id: number): boolean => isInItsDirectory(record, id, directories);
  const inSync = record.isr.filter((id, i) => {
    const epoch = brokers.get(id);
    // A store that was restored from a backup may give an epoch twice.
    return epoch !== undefined && BigInt(epoch) === record.isrBrokerEpochs[i] && isHere(id);
  });
  if (inSync.length > 0) {
    const remaining = inSync.filter((id) => !shuttingDown.has(id));
    const eligible = remaining.length > 0 ? remaining : inSync;
    const [preferred] = record.replicas;
    const isPreferred = balances && preferred !== undefined && eligible.includes(preferred);
    const stays = record.leader !== undefined && eligible.includes(record.leader) && !isPreferred;
    const leader = stays ? record.leader : record.replicas.find((id) => eligible.includes(id));
    return { isr: inSync, leader };
  }
  const firstOf = (ids: readonly number[]): number | undefined =>
    record.replicas.find((id) => ids.includes(id) && brokers.has(id) && isHere(id));
  const leader = firstOf(record.isr) ?? firstOf(elr);
  return leader === undefined ? { isr: record.isr, leader } : { isr: [leader], leader };
};

/**
 * The partition as it should be, or undefined when it is so already.
 *
 * - A broker that is not registered, or has registered anew, leaves the ISR, and may enter the ELR
 *   (`elrBeside`).
 * - Unlike Kafka, an unclean restart does not leave the ELR: acknowledged means fsynced here. A
 *   member with another data directory must not lead.
 * - The leader epoch rises with every change of leader, also to none, and with every new broker
 *   epoch of the leader: a restarted leader may have lost what nobody had acknowledged.
 * - With `balances`, a preferred leader that is in sync leads.
 */
export const nextPartition = (
  record: PartitionRecord,
  topic: MinInsync,
  registered: Brokers,
  balances = false,
): PartitionRecord | undefined => {
  const { brokers, directories } = registered;
  const { isr, leader } = elect(record, validElr(record, topic), registered, balances);
  // Where nobody leads, the old disk of a replica that is here with another one may come back.
  const known = leader === undefined ? { brokers: new Map(), directories } : registered;
  const elr = elrBeside(record, topic, isr, known);
  const isrBrokerEpochs =
    leader === undefined ? record.isrBrokerEpochs : isr.map((id) => BigInt(brokers.get(id) ?? 0));
  const directoryIds =
    leader === undefined ? record.directoryIds : directoryIdsWith(record, isr, directories);
  const epochOf = (ids: readonly number[], epochs: readonly bigint[]): bigint | undefined =>
    leader === undefined ? undefined : epochs[ids.indexOf(leader)];
  const isNewTerm =
    leader !== record.leader ||
    epochOf(isr, isrBrokerEpochs) !== epochOf(record.isr, record.isrBrokerEpochs);
  const unchanged =
    !isNewTerm &&
    sameNumbers(isr, record.isr) &&
    sameNumbers(elr, record.elr) &&
    sameEpochs(isrBrokerEpochs, record.isrBrokerEpochs) &&
    sameDirectoryIds(directoryIds, record.directoryIds);
  if (unchanged) return undefined;
  const { leader: _, ...rest } = record;
  return {
    ...rest,
    ...(leader === undefined ? {} : { leader }),
    leaderEpoch: record.leaderEpoch + (isNewTerm ? 1 : 0),
    isr: [...isr],
    elr,
    isrBrokerEpochs: [...isrBrokerEpochs],
    directoryIds,
    minIsrEpoch: topic.minIsrEpoch,
  };
};
