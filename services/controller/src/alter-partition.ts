/** Judges a change of in-sync replicas that a leader asks for (KIP-497). Pure. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { keys, leaderEpochMax } from "@millrace/metadata";
import type { AlterPartition, InSyncReplica } from "@millrace/proto/controller";
import type { PartitionRecord } from "@millrace/proto/storage";
import type { ClusterState, PartitionState, TopicState } from "./cluster-state.ts";
import { directoryIdsWith, isInItsDirectory } from "./directories.ts";
import { elrBeside, validElr } from "./leadership.ts";

/** The broker that calls, under its present registration. */
export interface Caller {
  readonly brokerId: number;
  readonly brokerEpoch: number;
}

/** What becomes of a change. */
export type Alteration =
  | {
      readonly kind: "changed";
      readonly record: PartitionRecord;
      /** The new ISR with its epochs: the change is right only while they are registered. */
      readonly brokers: ReadonlyMap<number, number>;
      /** Other keys that must still be of these revisions. */
      readonly unchanged?: ReadonlyMap<string, number>;
    }
  /** It was made before, and its answer was lost. */
  | { readonly kind: "already-so" }
  | { readonly kind: "refused"; readonly error: MillraceError };

const refused = (code: ErrorCode, message: string): Alteration => ({
  ...{ kind: "refused", error: MillraceError.refusal(code, message) },
});

/** What is wrong with the change itself, whatever the metadata says. */
const malformed = (
  { isr, knownLeaderEpoch, resigns }: AlterPartition,
  caller: Caller,
): string | undefined => {
  if (knownLeaderEpoch > 0 && resigns) {
    return "a leader either resigns or asks for a higher epoch: send one of the two";
  }
  if (knownLeaderEpoch >= leaderEpochMax) {
    return `leader epoch ${knownLeaderEpoch} cannot be known: the largest is ${leaderEpochMax}`;
  }
  const ids = new Set(isr.map(({ brokerId }) => brokerId));
  if (ids.size < isr.length) return "a replica is in the ISR twice: name it once";
  if (ids.has(caller.brokerId) !== resigns) return undefined;
  return resigns
    ? `broker ${caller.brokerId} resigns, and is in the ISR that it asks for: leave it out`
    : `broker ${caller.brokerId} is not in the ISR that it asks for: a leader is in sync`;
};

/** Why the caller may not speak for the partition: another life of its process may have led. */
const fenced = (
  record: PartitionRecord,
  { leaderEpoch }: AlterPartition,
  { brokerId, brokerEpoch }: Caller,
): string | undefined => {
  if (record.leaderEpoch !== leaderEpoch) {
    return `the leader epoch is ${record.leaderEpoch}, not ${leaderEpoch}: read the metadata`;
  }
  if (record.leader !== brokerId) {
    const leader = record.leader === undefined ? "nobody leads" : `broker ${record.leader} leads`;
    return `${leader} in epoch ${leaderEpoch}, not broker ${brokerId}: read the metadata`;
  }
  const led = record.isrBrokerEpochs[record.isr.indexOf(brokerId)];
  if (led === BigInt(brokerEpoch)) return undefined;
  return (
    `broker ${brokerId} leads in epoch ${leaderEpoch} under its registration ${led}, ` +
    `not ${brokerEpoch}: wait for a higher leader epoch`
  );
};

/**
 * Whether the change was made before. A record that is older than the one that the leader has read
 * says nothing: this controller has yet to read what came after it.
 */
const isAlreadySo = (
  { record: { isr, isrBrokerEpochs }, modRevision }: PartitionState,
  wanted: AlterPartition,
): boolean =>
  BigInt(modRevision) >= wanted.modRevision &&
  wanted.isr.length === isr.length &&
  wanted.isr.every(({ brokerId, brokerEpoch }) => {
    const at = isr.indexOf(brokerId);
    return at >= 0 && isrBrokerEpochs[at] === brokerEpoch;
  });

/** Why a replica cannot be in sync (KIP-841, KIP-903). */
const ineligible = (
  { replicas }: PartitionRecord,
  { brokerId, brokerEpoch }: InSyncReplica,
  brokers: ReadonlyMap<number, number>,
): string | undefined => {
  if (!replicas.includes(brokerId)) return `broker ${brokerId} is no replica of the partition`;
  const registered = brokers.get(brokerId);
  if (registered === undefined) return `broker ${brokerId} is not registered`;
  if (BigInt(registered) === brokerEpoch) return undefined;
  return `broker ${brokerId} is registered under epoch ${registered}, not ${brokerEpoch}`;
};

type Registered = Pick<ClusterState, "brokers" | "directories" | "shuttingDown">;

const changedTo = (
  record: PartitionRecord,
  topic: TopicState,
  { brokers, directories }: Registered,
  isr: readonly number[],
): Alteration & { readonly kind: "changed" } => {
  const epochs = isr.map((id) => [id, brokers.get(id) ?? 0] as const);
  return {
    kind: "changed",
    record: {
      ...record,
      isr: [...isr],
      elr: elrBeside(record, topic, isr, { brokers, directories }),
      isrBrokerEpochs: epochs.map(([, epoch]) => BigInt(epoch)),
      minIsrEpoch: topic.minIsrEpoch,
      directoryIds: directoryIdsWith(record, isr, directories),
    },
    brokers: new Map(epochs),
  };
};

/** The ISR when nobody is in sync: the first of the ELR that is registered, with its disk. */
const firstEligible = (
  record: PartitionRecord,
  topic: TopicState,
  { brokers, directories }: Registered,
): number[] => {
  const elr = validElr(record, topic);
  const isThere = (id: number): boolean =>
    brokers.has(id) && isInItsDirectory(record, id, directories);
  return record.replicas.filter((id) => elr.includes(id) && isThere(id)).slice(0, 1);
};

/** Without its leader, which is not believed. Only a replica that is in sync already takes over. */
const resigned = (
  record: PartitionRecord,
  topic: TopicState,
  state: Registered,
  { isr: wanted }: AlterPartition,
  { brokerId: former }: Caller,
): Alteration => {
  const isMember = ({ brokerId, brokerEpoch }: InSyncReplica): boolean => {
    const at = record.isr.indexOf(brokerId);
    return at >= 0 && record.isrBrokerEpochs[at] === brokerEpoch;
  };
  const stranger = wanted.find((replica) => !isMember(replica));
  if (stranger !== undefined) {
    const text = `broker ${stranger.brokerId} is not in sync: a leader leaves to who is`;
    return refused(ErrorCode.INELIGIBLE_REPLICA, text);
  }
  const inSync = record.replicas.filter((id) => wanted.some(({ brokerId }) => brokerId === id));
  const isr = inSync.length > 0 ? inSync : firstEligible(record, topic, state);
  const leader = isr.find((id) => !state.shuttingDown.has(id)) ?? isr[0];
  if (leader === undefined) {
    const text = `nobody is complete but broker ${former}: it stays the leader`;
    return refused(ErrorCode.INELIGIBLE_REPLICA, text);
  }
  const { brokers, record: changed } = changedTo(record, topic, state, isr);
  const elr = changed.elr.filter((id) => id !== former);
  const leaderEpoch = record.leaderEpoch + 1;
  const next = { ...changed, elr, leader, leaderEpoch };
  if (inSync.length > 0) return { kind: "changed", record: next, brokers };
  // The former leader may know of a lower minimum before this controller, and have acknowledged
  // alone: then the ELR means nothing.
  const unchanged = new Map([[keys.topic(topic.name), topic.modRevision]]);
  return { kind: "changed", record: next, brokers, unchanged };
};

/**
 * What becomes of a change that `caller`, a registered broker, asks for. `partition` is undefined
 * where there is none.
 *
 * Leader and leader epoch stay, unless the leader resigns: then the first of the others in sync
 * leads, or of the ELR when there is none, and the caller, whose log is damaged, is not complete. A
 * leader whose log knows the epoch, or a later one, gets one above it. The ISR is written in the
 * order of the replicas, and the ELR by the rules of `elrBeside`. Refusals, in the order in which
 * they are looked for:
 *
 * - UNKNOWN_TOPIC_OR_PARTITION: no such partition, or its topic is being made or deleted.
 * - INVALID_REQUEST: a replica is named twice, or the caller is not among them, or is although it
 *   resigns.
 * - FENCED_LEADER_EPOCH: another leader epoch, or the caller does not lead, or leads under an
 *   earlier registration.
 * - METADATA_STALE: the record has changed since the caller read it, or the caller has read a
 *   newer one than this controller.
 * - INELIGIBLE_REPLICA: a broker is no replica, is not registered, or under another epoch; or the
 *   leader resigns, and it is not in sync, or nobody is complete.
 */
export const alteredPartition = (
  partition: PartitionState | undefined,
  change: AlterPartition,
  caller: Caller,
  state: Pick<ClusterState, "topics" | "brokers" | "directories" | "shuttingDown">,
): Alteration => {
  const { topics, brokers } = state;
  const unknown = `there is no partition ${change.partition} of such a topic: read the metadata`;
  if (partition === undefined) return refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, unknown);
  const { record, modRevision, topicId } = partition;
  const topic = topics.get(topicId);
  if (topic === undefined || record.partition >= topic.partitionCount) {
    return refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, unknown);
  }
  const mistake = malformed(change, caller);
  if (mistake !== undefined) return refused(ErrorCode.INVALID_REQUEST, mistake);
  const stranger = fenced(record, change, caller);
  if (stranger !== undefined) return refused(ErrorCode.FENCED_LEADER_EPOCH, stranger);
  const needsEpoch = change.knownLeaderEpoch >= record.leaderEpoch;
  if (!needsEpoch && isAlreadySo(partition, change)) return { kind: "already-so" };
  if (change.modRevision !== BigInt(modRevision)) {
    return refused(
      ErrorCode.METADATA_STALE,
      `the record is of revision ${modRevision}, not ${change.modRevision}: decide again by it`,
    );
  }
  for (const replica of change.isr) {
    const why = ineligible(record, replica, brokers);
    if (why === undefined) continue;
    return refused(ErrorCode.INELIGIBLE_REPLICA, `${why}: let it catch up again`);
  }
  if (change.resigns) return resigned(record, topic, state, change, caller);
  if (needsEpoch) {
    const leaderEpoch = change.knownLeaderEpoch + 1;
    const registered = new Map([[caller.brokerId, caller.brokerEpoch]]);
    return { kind: "changed", record: { ...record, leaderEpoch }, brokers: registered };
  }
  const isr = record.replicas.filter((id) => change.isr.some(({ brokerId }) => brokerId === id));
  return changedTo(record, topic, state, isr);
};
