/**
 * Records of the internal topic: keys as bytes, values as messages of `millrace.storage.v1`.
 *
 * A key is the kind (1 byte), the group's name (2 bytes of length, big endian, and UTF-8), and what
 * identifies the rest: the member id in UTF-8, or 16 bytes of topic id and 4 of partition, big
 * endian. Equal things have equal bytes, which compaction relies on; what belongs to a group and a
 * kind has one prefix.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  GroupAssignmentRecordSchema,
  GroupMemberRecordSchema,
  GroupOffsetRecordSchema,
  GroupRecordSchema,
  type GroupTopicPartitions,
  GroupTopicPartitionsSchema,
} from "@millrace/proto/storage";
import { topicIdBytes, topicIdOf } from "@millrace/record";
import { PartitionSet } from "../group/partition-map.ts";
import type {
  AssignmentValue,
  AssignorName,
  Committed,
  GroupValue,
  NamePattern,
  StateRecord,
  Subscription,
} from "../group/types.ts";

/** A record as it lies in the topic. */
export interface EncodedRecord {
  readonly key: Uint8Array;
  /** Absent: the key is deleted. */
  readonly value: Uint8Array | undefined;
}

/**
 * Says nothing: appended where the log must be known to end. A kind of its own, which readers skip.
 */
export const barrier: EncodedRecord = { key: Uint8Array.of(0, 0, 0), value: undefined };

const kinds = { group: 1, member: 2, assignment: 3, offset: 4 } as const;

const noBytes = new Uint8Array(0);
const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder("utf-8", { fatal: true });

const keyOf = (record: StateRecord): Uint8Array => {
  const group = utf8.encode(record.group);
  const rest = restOf(record);
  const key = new Uint8Array(3 + group.length + rest.length);
  key[0] = kinds[record.kind];
  key[1] = group.length >>> 8;
  key[2] = group.length & 0xff;
  key.set(group, 3);
  key.set(rest, 3 + group.length);
  return key;
};

const restOf = (record: StateRecord): Uint8Array => {
  if (record.kind === "group") return new Uint8Array(0);
  if (record.kind !== "offset") return utf8.encode(record.memberId);
  const rest = new Uint8Array(20);
  rest.set(topicIdBytes(record.topicId));
  new DataView(rest.buffer).setUint32(16, record.partition);
  return rest;
};

const partitionsOf = (set: PartitionSet) =>
  set.sorted().map(([topicId, partitions]) =>
    create(GroupTopicPartitionsSchema, {
      topicId: topicIdBytes(topicId),
      partitions: [...partitions],
    }),
  );

const setOf = (topics: readonly GroupTopicPartitions[]): PartitionSet =>
  PartitionSet.of(topics.map(({ topicId, partitions }) => [topicIdOf(topicId), partitions]));

const groupBytes = (value: GroupValue): Uint8Array =>
  toBinary(
    GroupRecordSchema,
    create(GroupRecordSchema, {
      groupEpoch: value.groupEpoch,
      emptySinceMs: BigInt(value.emptySinceMs),
    }),
  );

const memberBytes = (value: Subscription): Uint8Array =>
  toBinary(
    GroupMemberRecordSchema,
    create(GroupMemberRecordSchema, {
      instanceId: value.instanceId ?? "",
      rackId: value.rackId ?? "",
      clientId: value.clientId,
      clientHost: value.clientHost,
      topics: [...value.topics],
      topicPattern: value.pattern?.text ?? "",
      assignor: value.assignor ?? "",
      sessionTimeoutMs: value.sessionTimeoutMs,
      rebalanceTimeoutMs: value.rebalanceTimeoutMs,
    }),
  );

const assignmentBytes = (value: AssignmentValue): Uint8Array =>
  toBinary(
    GroupAssignmentRecordSchema,
    create(GroupAssignmentRecordSchema, {
      memberEpoch: value.memberEpoch,
      assigned: partitionsOf(value.assigned),
      revoking: partitionsOf(value.revoking),
      resetting: partitionsOf(value.resetting),
    }),
  );

const offsetBytes = (value: Committed): Uint8Array =>
  toBinary(
    GroupOffsetRecordSchema,
    create(GroupOffsetRecordSchema, {
      offset: BigInt(value.offset),
      ...(value.leaderEpoch === undefined ? {} : { leaderEpoch: value.leaderEpoch }),
      metadata: value.metadata,
      commitTimeMs: BigInt(value.commitTimeMs),
    }),
  );

const valueBytes = (record: StateRecord): Uint8Array | undefined => {
  if (record.value === undefined) return undefined;
  if (record.kind === "group") return groupBytes(record.value);
  if (record.kind === "member") return memberBytes(record.value);
  if (record.kind === "assignment") return assignmentBytes(record.value);
  return offsetBytes(record.value);
};

export const encodeRecord = (record: StateRecord): EncodedRecord => ({
  key: keyOf(record),
  value: valueBytes(record),
});

const present = (text: string): string | undefined => (text === "" ? undefined : text);

const assignorOf = (name: string): AssignorName | undefined =>
  name === "range" || name === "uniform" ? name : undefined;

const decodeSubscription = (
  value: Uint8Array,
  patternOf: (text: string) => NamePattern,
): Subscription => {
  const record = fromBinary(GroupMemberRecordSchema, value);
  const pattern = present(record.topicPattern);
  return {
    instanceId: present(record.instanceId),
    rackId: present(record.rackId),
    clientId: record.clientId,
    clientHost: record.clientHost,
    topics: record.topics,
    pattern: pattern === undefined ? undefined : patternOf(pattern),
    assignor: assignorOf(record.assignor),
    sessionTimeoutMs: record.sessionTimeoutMs,
    rebalanceTimeoutMs: record.rebalanceTimeoutMs,
  };
};

const decodeAssignment = (value: Uint8Array): AssignmentValue => {
  const record = fromBinary(GroupAssignmentRecordSchema, value);
  return {
    memberEpoch: record.memberEpoch,
    assigned: setOf(record.assigned),
    revoking: setOf(record.revoking),
    resetting: setOf(record.resetting),
  };
};

const decodeOffset = (value: Uint8Array): Committed => {
  const record = fromBinary(GroupOffsetRecordSchema, value);
  return {
    offset: Number(record.offset),
    leaderEpoch: record.leaderEpoch,
    // Most have none: a million of them share it.
    metadata: record.metadata.length === 0 ? noBytes : record.metadata,
    commitTimeMs: Number(record.commitTimeMs),
  };
};

const decodeGroup = (value: Uint8Array): GroupValue => {
  const { groupEpoch, emptySinceMs } = fromBinary(GroupRecordSchema, value);
  return { groupEpoch, emptySinceMs: Number(emptySinceMs) };
};

/**
 * The reverse of `encodeRecord`; undefined for a kind of a later version, which says nothing about
 * what this one knows. Throws on bytes that are none of these.
 */
export const decodeRecord = (
  { key, value }: EncodedRecord,
  patternOf: (text: string) => NamePattern,
): StateRecord | undefined => {
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  const kind = view.getUint8(0);
  const restAt = 3 + view.getUint16(1);
  const group = fromUtf8.decode(key.subarray(3, restAt));
  if (restAt > key.length) throw new RangeError("the key of a group's record is cut short");
  const rest = key.subarray(restAt);
  if (kind === kinds.group) return { kind: "group", group, value: value && decodeGroup(value) };
  if (kind === kinds.member) {
    const memberId = fromUtf8.decode(rest);
    return {
      kind: "member",
      group,
      memberId,
      value: value && decodeSubscription(value, patternOf),
    };
  }
  if (kind === kinds.assignment) {
    const memberId = fromUtf8.decode(rest);
    return { kind: "assignment", group, memberId, value: value && decodeAssignment(value) };
  }
  if (kind !== kinds.offset) return undefined;
  const topicId = topicIdOf(rest.subarray(0, 16));
  const partition = view.getUint32(restAt + 16);
  return { kind: "offset", group, topicId, partition, value: value && decodeOffset(value) };
};
