/**
 * The key space: names of keys, and values that repeat the identity in their key. A value that
 * disagrees with its key is refused: it was written to the wrong place.
 */
import { type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type BrokerIntentRecord,
  BrokerIntentRecordSchema,
  type BrokerRecord,
  BrokerRecordSchema,
  type ClusterRecord,
  ClusterRecordSchema,
  type ControllerRecord,
  ControllerRecordSchema,
  type CoordinatorRecord,
  CoordinatorRecordSchema,
  type DeletionRecord,
  DeletionRecordSchema,
  type MaintenanceRecord,
  MaintenanceRecordSchema,
  type PartitionRecord,
  PartitionRecordSchema,
  type ProducerIdsRecord,
  ProducerIdsRecordSchema,
  type RebalanceMovesRecord,
  RebalanceMovesRecordSchema,
  type RebalanceRecord,
  RebalanceRecordSchema,
  type RebalancesRecord,
  RebalancesRecordSchema,
  type TopicRecord,
  TopicRecordSchema,
} from "@millrace/proto/storage";
import type { KeyValue } from "./api.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const padded = (index: number): string => String(index).padStart(5, "0");

/** Names of keys. Topic ids are 32 lower-case hex digits. */
export const keys = {
  cluster: "cluster",
  /** 32 hex digits, random at bootstrap and at every restore: see `Mirror.generation`. */
  generation: "generation",
  /** Held by the active controller. */
  controller: "controller/leader",
  tokens: "tokens/",
  /** Of a `GuardedWriter`; its value is the token of the writer's last transaction. */
  token: (writer: string, slot: number): string => `tokens/${writer}/${slot}`,
  brokers: "brokers/",
  broker: (brokerId: number): string => `brokers/${brokerId}`,
  coordinators: "coordinators/",
  coordinator: (coordinatorId: number): string => `coordinators/${coordinatorId}`,
  /** Written with every change of an intent: the condition of every placement of replicas. */
  placement: "broker-intents",
  brokerIntents: "broker-intents/",
  brokerIntent: (brokerId: number): string => `broker-intents/${brokerId}`,
  /** Written with every grant of a maintenance lease. */
  maintenance: "maintenance",
  maintenanceLeases: "maintenance/",
  maintenanceLease: (brokerId: number): string => `maintenance/${brokerId}`,
  /** The next free producer id. */
  producerIds: "producer-ids",
  /** Which rebalance is carried out: the condition of every change of that. */
  rebalanceIndex: "rebalances",
  rebalances: "rebalances/",
  rebalance: (id: number): string => `rebalances/${id}`,
  rebalanceMovesOf: (id: number): string => `rebalance-moves/${id}#`,
  rebalanceMoves: (id: number, chunk: number): string => `rebalance-moves/${id}#${padded(chunk)}`,
  topics: "topics/",
  topic: (name: string): string => `topics/${name}`,
  deletions: "deletions/",
  deletion: (topicId: string): string => `deletions/${topicId}`,
  partitions: "partitions/",
  partitionsOf: (topicId: string): string => `partitions/${topicId}#`,
  partition: (topicId: string, partition: number): string =>
    `partitions/${topicId}#${padded(partition)}`,
} as const;

/** Encodes values. */
export const encodeRecord = {
  cluster: (record: ClusterRecord): Uint8Array => toBinary(ClusterRecordSchema, record),
  controller: (record: ControllerRecord): Uint8Array => toBinary(ControllerRecordSchema, record),
  broker: (record: BrokerRecord): Uint8Array => toBinary(BrokerRecordSchema, record),
  coordinator: (record: CoordinatorRecord): Uint8Array => toBinary(CoordinatorRecordSchema, record),
  brokerIntent: (record: BrokerIntentRecord): Uint8Array =>
    toBinary(BrokerIntentRecordSchema, record),
  maintenance: (record: MaintenanceRecord): Uint8Array => toBinary(MaintenanceRecordSchema, record),
  topic: (record: TopicRecord): Uint8Array => toBinary(TopicRecordSchema, record),
  deletion: (record: DeletionRecord): Uint8Array => toBinary(DeletionRecordSchema, record),
  partition: (record: PartitionRecord): Uint8Array => toBinary(PartitionRecordSchema, record),
  producerIds: (record: ProducerIdsRecord): Uint8Array => toBinary(ProducerIdsRecordSchema, record),
  rebalanceIndex: (record: RebalancesRecord): Uint8Array =>
    toBinary(RebalancesRecordSchema, record),
  rebalance: (record: RebalanceRecord): Uint8Array => toBinary(RebalanceRecordSchema, record),
  rebalanceMoves: (record: RebalanceMovesRecord): Uint8Array =>
    toBinary(RebalanceMovesRecordSchema, record),
} as const;

const refuse = (key: string, what: string): MillraceError =>
  new MillraceError(ErrorCode.CORRUPT_MESSAGE, `metadata key ${key}: ${what}: restore a backup`);

const decoder =
  <D extends DescMessage>(schema: D, keyOf: (record: MessageShape<D>) => string) =>
  (kv: Pick<KeyValue, "key" | "value">): MessageShape<D> => {
    let record: MessageShape<D>;
    try {
      record = fromBinary(schema, kv.value);
    } catch {
      throw refuse(kv.key, `the value is not a ${schema.name}`);
    }
    const key = keyOf(record);
    if (key !== kv.key) throw refuse(kv.key, `the value belongs to ${key}`);
    return record;
  };

/**
 * Decodes values. Each throws CORRUPT_MESSAGE for a value that is damaged or belongs to another
 * key.
 */
export const decodeRecord = {
  cluster: decoder(ClusterRecordSchema, () => keys.cluster),
  controller: decoder(ControllerRecordSchema, () => keys.controller),
  broker: decoder(BrokerRecordSchema, (record) => keys.broker(record.brokerId)),
  coordinator: decoder(CoordinatorRecordSchema, (record) => keys.coordinator(record.coordinatorId)),
  brokerIntent: decoder(BrokerIntentRecordSchema, (record) => keys.brokerIntent(record.brokerId)),
  maintenance: decoder(MaintenanceRecordSchema, ({ brokerId }) => keys.maintenanceLease(brokerId)),
  topic: decoder(TopicRecordSchema, (record) => keys.topic(record.name)),
  deletion: decoder(DeletionRecordSchema, (record) =>
    keys.deletion(hex(record.topic?.topicId ?? new Uint8Array(0))),
  ),
  partition: decoder(PartitionRecordSchema, (record) =>
    keys.partition(hex(record.topicId), record.partition),
  ),
  producerIds: decoder(ProducerIdsRecordSchema, () => keys.producerIds),
  rebalanceIndex: decoder(RebalancesRecordSchema, () => keys.rebalanceIndex),
  rebalance: decoder(RebalanceRecordSchema, (record) => keys.rebalance(record.rebalanceId)),
  rebalanceMoves: decoder(RebalanceMovesRecordSchema, (record) =>
    keys.rebalanceMoves(record.rebalanceId, record.chunk),
  ),
} as const;
