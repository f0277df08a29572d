/**
 * Whether a broker may be restarted, drained, given an empty disk, or removed: what is in the way,
 * by the metadata as of one revision. Pure. The grant is written on condition that nothing of it
 * has changed since.
 */
import { BrokerIntent, MaintenanceKind } from "@millrace/proto/common";
import { MaintenanceBlockerReason as Reason } from "@millrace/proto/controller";
import type { PartitionRecord } from "@millrace/proto/storage";
import type { ClusterState, TopicState } from "../cluster-state.ts";
import { activeBrokers } from "../drain.ts";
import { minIsrOf } from "../leadership.ts";
import { intentOf, isDirectoryOf, isRetired } from "../placement.ts";
import { originalOf, targetOf } from "../reassignment.ts";
import { brokersAway, kindName, takesAway } from "./leases.ts";

/** Something in the way. */
export interface Blocker {
  readonly reason: Reason;
  readonly message: string;
  readonly topic?: string;
  readonly partition?: number;
  readonly brokerId?: number;
}

/** What somebody wants to do. */
export interface Wanted {
  readonly brokerId: number;
  readonly kind: MaintenanceKind;
  /** That is to be deleted; empty where none is. */
  readonly directoryId: Uint8Array;
  readonly allowUnavailable: boolean;
}

export interface Judgement {
  readonly blockers: readonly Blocker[];
  /** Partitions that take no writes meanwhile, because that was allowed. */
  readonly unavailable: readonly Blocker[];
}

/** A partition with a replica on the broker. Without a topic it is being made, or deleted. */
interface Hosted {
  readonly record: PartitionRecord;
  readonly topic: TopicState | undefined;
  /** As people know it. */
  readonly name: { readonly topic: string; readonly partition: number };
}

const hostedBy = (state: ClusterState, brokerId: number): Hosted[] =>
  [...state.partitions.values()]
    .filter(({ record }) => record.replicas.includes(brokerId))
    .map(({ record, topicId }): Hosted => {
      const topic = state.topics.get(topicId);
      const name = { topic: topic?.name ?? topicId, partition: record.partition };
      return { record, topic, name };
    })
    .sort((a, b) => byName(a.name, b.name));

const byName = (a: Hosted["name"], b: Hosted["name"]): number =>
  a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1;

/** Members of the ISR that are registered as such, and neither stop nor are away. */
const stayingIn = (
  { isr, isrBrokerEpochs }: PartitionRecord,
  { brokers, shuttingDown }: ClusterState,
  gone: ReadonlySet<number>,
): number[] =>
  isr.filter(
    (id, i) =>
      BigInt(brokers.get(id) ?? -1) === isrBrokerEpochs[i] &&
      !shuttingDown.has(id) &&
      !gone.has(id),
  );

const minOf = ({ record, topic }: Hosted): number =>
  topic === undefined ? 1 : minIsrOf(record, topic);

/** Other brokers in maintenance: one at a time, or several of one rack. */
const othersInMaintenance = (
  { maintenance, racks }: ClusterState,
  brokerId: number,
  perRackMax: number,
): Blocker[] => {
  const others = [...maintenance.leases.values()].filter(
    ({ record }) => takesAway(record.kind) && record.brokerId !== brokerId,
  );
  const rack = racks.get(brokerId) ?? maintenance.leases.get(brokerId)?.record.rack ?? "";
  const isBeside = others.every(({ record }) => rack !== "" && record.rack === rack);
  if (isBeside && others.length < perRackMax) return [];
  return others.map(({ record }) => ({
    reason: Reason.OTHER_BROKER,
    brokerId: record.brokerId,
    message:
      `broker ${record.brokerId} is in maintenance (${kindName(record.kind)}, held by ` +
      `${record.holder}): wait until it is back, and its lease is released`,
  }));
};

/** Another replica of the partition that is in maintenance, as several brokers of a rack may be. */
const besides = ({ record, name }: Hosted, away: ReadonlySet<number>): Blocker[] => {
  const other = record.replicas.find((id) => away.has(id));
  if (other === undefined) return [];
  const message =
    `broker ${other}, which has a replica of ${name.topic}/${name.partition}, too, is in ` +
    "maintenance: wait until it is back, and its lease is released";
  return [{ reason: Reason.OTHER_BROKER, message, ...name, brokerId: other }];
};

const underMinIsr = ({ name }: Hosted, staying: readonly number[], min: number): Blocker => ({
  reason: Reason.UNDER_MIN_ISR,
  message:
    `${name.topic}/${name.partition} would have ${staying.length} of ${min} replicas in sync ` +
    `(${staying.join() || "none"}): wait until another one is in sync`,
  ...name,
});

/** A broker that is not registered takes nothing away: its restart may be what is missing. */
const judgeRestart = (state: ClusterState, wanted: Wanted, away: Set<number>): Judgement => {
  const blockers: Blocker[] = [];
  const unavailable: Blocker[] = [];
  const { brokerId } = wanted;
  if (!state.brokers.has(brokerId)) return { blockers, unavailable };
  const gone = new Set([...away, brokerId]);
  for (const hosted of hostedBy(state, brokerId)) {
    const { record, topic } = hosted;
    if (topic === undefined) continue;
    blockers.push(...besides(hosted, away));
    const staying = stayingIn(record, state, gone);
    const min = minIsrOf(record, topic);
    if (staying.length >= min) continue;
    const blocker = underMinIsr(hosted, staying, min);
    // All but one of its replicas: it can never have more while this broker is away.
    const most = originalOf(record).length - 1;
    if (!wanted.allowUnavailable) blockers.push(blocker);
    else if (!record.isr.includes(brokerId)) continue;
    else if (staying.length >= most) unavailable.push(blocker);
    else blockers.push(blocker);
  }
  return { blockers, unavailable };
};

const counts = ({ name }: Hosted, brokerId: number, why: string): Blocker => ({
  reason: Reason.REPLICA_COUNTS,
  message: `${name.topic}/${name.partition} counts on broker ${brokerId}: ${why}`,
  ...name,
});

/**
 * Whether a partition counts on what is on a disk. While the broker is down, whichever of its disks
 * is named: the caller may have named the wrong one. Without a known directory it may be this one.
 */
const countsOn = (
  { directoryIds, elr, isr, replicas }: PartitionRecord,
  { brokerId, directoryId }: Wanted,
  isRegistered: boolean,
): boolean => {
  const known = directoryIds[replicas.indexOf(brokerId)] ?? new Uint8Array(0);
  const isIt = known.length === 0 || Buffer.compare(known, directoryId) === 0;
  return (isIt || !isRegistered) && (isr.includes(brokerId) || elr.includes(brokerId));
};

/**
 * No record is on this disk alone when no partition counts on it: no ISR and no ELR has it, and
 * somebody else is complete. It must not be in use, and never is again, so that it stays so.
 */
const judgeDisk = (state: ClusterState, wanted: Wanted, away: Set<number>): Blocker[] => {
  const { brokerId, directoryId } = wanted;
  const { brokers, directories, placement } = state;
  // An earlier grant was about it: nothing counts on it any more.
  if (isRetired(placement.intents.get(brokerId), directoryId)) return [];
  const used = directories.get(brokerId) ?? directoryId;
  if (brokers.has(brokerId) && Buffer.compare(used, directoryId) === 0) {
    const message = `broker ${brokerId} runs on this data directory: stop it, and wait until it is gone`;
    return [{ reason: Reason.REGISTERED, message, brokerId }];
  }
  const gone = new Set([...away, brokerId]);
  return hostedBy(state, brokerId).flatMap((hosted): Blocker[] => {
    const { record } = hosted;
    const blockers = besides(hosted, away);
    if (countsOn(record, wanted, brokers.has(brokerId))) {
      const why = "its replica is in the ISR or the ELR: wait until others are in sync";
      blockers.push(counts(hosted, brokerId, why));
    }
    const staying = stayingIn(record, state, gone);
    const least = Math.max(1, Math.min(minOf(hosted), originalOf(record).length - 1));
    if (staying.length < least) blockers.push(underMinIsr(hosted, staying, least));
    return blockers;
  });
};

const isDecommissioned = ({ placement }: ClusterState, { brokerId, directoryId }: Wanted) => {
  const record = placement.intents.get(brokerId);
  return record?.intent === BrokerIntent.DECOMMISSIONED && isDirectoryOf(record, directoryId);
};

/** The proof is the decommission's; that no partition names the broker is looked at once more. */
const judgeRemoval = (state: ClusterState, wanted: Wanted): Blocker[] => {
  const { brokerId } = wanted;
  const blockers = hostedBy(state, brokerId).map((hosted) =>
    counts(hosted, brokerId, "it has a replica there: drain the broker first"),
  );
  if (isDecommissioned(state, wanted)) return blockers;
  const message =
    `broker ${brokerId} is not decommissioned with this data directory: ` +
    `drain it, and run millrace broker decommission ${brokerId}`;
  return [{ reason: Reason.NOT_DECOMMISSIONED, message, brokerId }, ...blockers];
};

const judgeDrain = (state: ClusterState, { brokerId }: Wanted): Blocker[] => {
  const { directories, placement } = state;
  if (intentOf(placement, brokerId, directories.get(brokerId)) === BrokerIntent.DECOMMISSIONED) {
    const message = `broker ${brokerId} was decommissioned: there is nothing to drain`;
    return [{ reason: Reason.DECOMMISSIONED, message, brokerId }];
  }
  const others = activeBrokers(state).filter((id) => id !== brokerId).length;
  return hostedBy(state, brokerId).flatMap(({ record, name }): Blocker[] => {
    const replicas = targetOf(record);
    if (!replicas.includes(brokerId) || replicas.length <= others) return [];
    const message =
      `${name.topic}/${name.partition} has ${replicas.length} replicas, and ${others} brokers ` +
      "would be active: add a broker, or lower the replication factor";
    return [{ reason: Reason.IMMOVABLE, message, ...name }];
  });
};

/**
 * What is in the way. A lease of the broker itself is not looked at.
 *
 * - RESTART, REPLACE_DISK: at most one broker is in maintenance, or `perRackMax` of one rack, and
 *   of the replicas of a partition one at most.
 * - RESTART: without the broker at least `min.insync.replicas` of every partition stay in sync.
 * - REPLACE_DISK: the disk is not in use, no ISR and no ELR has it, and as many others are in sync,
 *   at least one and at most all.
 * - DRAIN: there are active brokers enough for the replicas.
 * - REMOVE: the broker is decommissioned with this directory, and no partition names it.
 */
export const judge = (state: ClusterState, wanted: Wanted, perRackMax: number): Judgement => {
  const { brokerId, kind } = wanted;
  const blockers: Blocker[] = [];
  if (state.unreadable.size > 0) {
    const message = "metadata cannot be read, and may name the broker: see the controller's log";
    blockers.push({ reason: Reason.UNREADABLE, message });
  }
  if (kind === MaintenanceKind.DRAIN) blockers.push(...judgeDrain(state, wanted));
  if (kind === MaintenanceKind.REMOVE) blockers.push(...judgeRemoval(state, wanted));
  if (!takesAway(kind)) return { blockers, unavailable: [] };
  const others = othersInMaintenance(state, brokerId, perRackMax);
  const away = brokersAway(state.maintenance);
  away.delete(brokerId);
  const { blockers: own, unavailable } =
    kind === MaintenanceKind.REPLACE_DISK
      ? { blockers: judgeDisk(state, wanted, away), unavailable: [] }
      : judgeRestart(state, wanted, away);
  // Where others are in the way altogether, they need not be named for each partition.
  const isNews = ({ reason }: Blocker): boolean =>
    others.length === 0 || reason !== Reason.OTHER_BROKER;
  return { blockers: [...blockers, ...others, ...own.filter(isNews)], unavailable };
};

const isGone = (state: ClusterState, brokerId: number): boolean =>
  state.placement.intents.get(brokerId)?.intent === BrokerIntent.DECOMMISSIONED &&
  hostedBy(state, brokerId).length === 0;

/**
 * What is missing until a broker is back: registered, and in sync with all its partitions. One that
 * was decommissioned meanwhile is not waited for.
 */
export const notBack = (state: ClusterState, brokerId: number): Blocker[] => {
  const epoch = state.brokers.get(brokerId);
  if (epoch === undefined) {
    if (isGone(state, brokerId)) return [];
    const message = `broker ${brokerId} is not registered: wait until it is back`;
    return [{ reason: Reason.NOT_BACK, message, brokerId }];
  }
  return hostedBy(state, brokerId).flatMap(({ record, topic, name }): Blocker[] => {
    const isInSync = record.isrBrokerEpochs[record.isr.indexOf(brokerId)] === BigInt(epoch);
    if (topic === undefined || isInSync || record.adding.includes(brokerId)) return [];
    const message = `broker ${brokerId} is not in sync with ${name.topic}/${name.partition}: wait until it is`;
    return [{ reason: Reason.NOT_BACK, message, ...name }];
  });
};
