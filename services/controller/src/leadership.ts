/** Who is in sync and who leads one partition, from which brokers are registered. Pure. */
import type { PartitionRecord } from "@millrace/proto/storage";

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
}

const sameNumbers = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((value, i) => value === b[i]);

const sameEpochs = (a: readonly bigint[], b: readonly bigint[]): boolean =>
  a.length === b.length && a.every((value, i) => value === b[i]);

/** Replicas that a reassignment adds do not count before it is over: they may yet catch up. */
const minIsrOf = (
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
 * has everything below it. At the full size the ELR is empty. `after`: the new replicas, where a
 * reassignment changes them.
 */
export const elrBeside = (
  record: PartitionRecord,
  topic: MinInsync,
  isr: readonly number[],
  after: Pick<PartitionRecord, "replicas" | "adding"> = record,
): number[] => {
  const min = minIsrOf(after, topic);
  const complete = new Set([...record.isr, ...validElr(record, topic)]);
  return isr.length < min
    ? after.replicas.filter((id) => complete.has(id) && !isr.includes(id))
    : [];
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
 * leads alone until others have caught up.
 */
const elect = (
  record: PartitionRecord,
  elr: readonly number[],
  { brokers, shuttingDown }: Brokers,
  balances: boolean,
): Elected => {
  const inSync = record.isr.filter((id, i) => {
    const epoch = brokers.get(id);
    return epoch !== undefined && BigInt(epoch) === record.isrBrokerEpochs[i];
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
    record.replicas.find((id) => ids.includes(id) && brokers.has(id));
  const leader = firstOf(record.isr) ?? firstOf(elr);
  return leader === undefined ? { isr: record.isr, leader } : { isr: [leader], leader };
};

/**
 * The partition as it should be, or undefined when it is so already.
 *
 * - A broker that is not registered, or has registered anew, leaves the ISR, and may enter the ELR
 *   (`elrBeside`).
 * - Unlike Kafka, an unclean restart does not leave the ELR: acknowledged means fsynced here.
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
  const { brokers } = registered;
  const { isr, leader } = elect(record, validElr(record, topic), registered, balances);
  const elr = elrBeside(record, topic, isr);
  const isrBrokerEpochs =
    leader === undefined ? record.isrBrokerEpochs : isr.map((id) => BigInt(brokers.get(id) ?? 0));
  const epochOf = (ids: readonly number[], epochs: readonly bigint[]): bigint | undefined =>
    leader === undefined ? undefined : epochs[ids.indexOf(leader)];
  const isNewTerm =
    leader !== record.leader ||
    epochOf(isr, isrBrokerEpochs) !== epochOf(record.isr, record.isrBrokerEpochs);
  const unchanged =
    !isNewTerm &&
    sameNumbers(isr, record.isr) &&
    sameNumbers(elr, record.elr) &&
    sameEpochs(isrBrokerEpochs, record.isrBrokerEpochs);
  if (unchanged) return undefined;
  const { leader: _, ...rest } = record;
  return {
    ...rest,
    ...(leader === undefined ? {} : { leader }),
    leaderEpoch: record.leaderEpoch + (isNewTerm ? 1 : 0),
    isr: [...isr],
    elr,
    isrBrokerEpochs: [...isrBrokerEpochs],
    minIsrEpoch: topic.minIsrEpoch,
  };
};
