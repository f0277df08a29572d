/** Checks of the arguments of Admin calls, before anything is asked of a server. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type {
  AlterConfigs,
  BrokerIntentChange,
  CreatePartitions,
  DeleteRecords,
  ElectLeader,
  GroupOffsets,
  GroupOffsetsQuery,
  HeldMaintenance,
  MaintenanceRelease,
  MaintenanceWish,
  NewTopic,
  OffsetLookup,
  OffsetReset,
  PartitionMove,
  PartitionMoves,
  RebalancePlanOptions,
  RebalanceQuery,
  TopicDeletion,
} from "./admin-types.ts";
import { checkFields, inRange, type Shape, shown } from "./checks.ts";
import { checkPosition } from "./consumer/options.ts";
import { checkCommit } from "./group/options.ts";

const uint32Max = 2 ** 32 - 1;

const partitionOf = { topic: "string", partition: "integer" } as const;
const newTopic: Shape<NewTopic> = {
  name: "string",
  partitions: "integer?",
  replicationFactor: "integer?",
  configs: "object?",
  validateOnly: "boolean?",
};
const moveShape: Shape<PartitionMove> = { ...partitionOf, replicas: "any" };

const refuse = (text: string): never => {
  throw new MillraceError(ErrorCode.INVALID_REQUEST, text);
};

const allStrings = (name: string, values: Iterable<unknown>): void => {
  for (const value of values) {
    if (typeof value !== "string") refuse(`${name} holds ${shown(value)}: give strings alone`);
  }
};

const count = (name: string, value: number | undefined): void => {
  if (value !== undefined) inRange(name, value, 0, uint32Max);
};

export const createTopic = (topic: NewTopic): void => {
  checkFields("createTopic", topic, newTopic);
  count("partitions", topic.partitions);
  count("replicationFactor", topic.replicationFactor);
  allStrings("configs of createTopic", Object.values(topic.configs ?? {}));
};

export const deleteTopic = (topic: TopicDeletion): void => {
  const shape: Shape<TopicDeletion> = { name: "string", topicId: "any?" };
  checkFields("deleteTopic", topic, shape);
  const { topicId } = topic;
  if (topicId === undefined || (topicId instanceof Uint8Array && topicId.length === 16)) return;
  refuse(`topicId of deleteTopic is ${shown(topicId)}: it has to be 16 bytes`);
};

export const describeTopics = (topics: { readonly names: readonly string[] }): void => {
  checkFields("describeTopics", topics, { names: "list" });
  allStrings("names of describeTopics", topics.names);
};

export const createPartitions = (growth: CreatePartitions): void => {
  const shape: Shape<CreatePartitions> = { name: "string", partitions: "integer" };
  checkFields("createPartitions", growth, shape);
  count("partitions", growth.partitions);
};

export const electLeader = (election: ElectLeader): void => {
  const shape: Shape<ElectLeader> = { ...partitionOf, unclean: "object?" };
  checkFields("electLeader", election, shape);
  count("partition", election.partition);
  const { unclean } = election;
  if (unclean === undefined) return;
  checkFields("unclean of electLeader", unclean, { leader: "integer?" });
  count("leader", unclean.leader);
};

export const alterConfigs = (change: AlterConfigs): void => {
  const shape: Shape<AlterConfigs> = { topic: "string", set: "object?", remove: "list?" };
  checkFields("alterConfigs", change, shape);
  allStrings("set of alterConfigs", Object.values(change.set ?? {}));
  allStrings("remove of alterConfigs", change.remove ?? []);
};

export const describeConfigs = (of: { readonly topic: string }): void =>
  checkFields("describeConfigs", of, { topic: "string" });

export const partitionMoves = (change: PartitionMoves): void => {
  const shape: Shape<PartitionMoves> = { moves: "list", validateOnly: "boolean?" };
  checkFields("alterPartitionReassignments", change, shape);
  for (const move of change.moves) {
    checkFields("a move", move, moveShape);
    count("partition", move.partition);
    const { replicas } = move;
    if (replicas === "cancel") continue;
    if (!Array.isArray(replicas)) {
      refuse(`replicas of a move is ${shown(replicas)}: give a list of broker ids, or "cancel"`);
    }
    for (const id of replicas) inRange("a broker id of replicas", id, 0, uint32Max);
  }
};

export const setBrokerIntent = (change: BrokerIntentChange): void => {
  const shape: Shape<BrokerIntentChange> = {
    ...{ brokerId: "integer", intent: "integer", validateOnly: "boolean?" },
  };
  checkFields("setBrokerIntent", change, shape);
  count("brokerId", change.brokerId);
};

export const acquireMaintenance = (wish: MaintenanceWish): void => {
  const shape: Shape<MaintenanceWish> = {
    ...{ brokerId: "integer", kind: "integer", holder: "string", reason: "string?" },
    ...{ brokerEpoch: "offset?", directoryId: "any?", ttlMs: "integer?" },
    ...{ allowUnavailable: "boolean?", validateOnly: "boolean?" },
  };
  checkFields("acquireMaintenance", wish, shape);
  count("brokerId", wish.brokerId);
};

export const heldMaintenance = (name: string, held: HeldMaintenance): void => {
  const shape: Shape<HeldMaintenance> = { brokerId: "integer", token: "offset" };
  checkFields(name, held, shape);
  count("brokerId", held.brokerId);
};

export const releaseMaintenance = (release: MaintenanceRelease): void => {
  if (!("force" in release)) heldMaintenance("releaseMaintenance", release);
  else {
    checkFields("releaseMaintenance", release, { brokerId: "integer", force: "boolean" });
    count("brokerId", release.brokerId);
  }
};

export const listOffset = (lookup: OffsetLookup): void => {
  const shape: Shape<OffsetLookup> = { ...partitionOf, at: "any" };
  checkFields("listOffset", lookup, shape);
  const { at } = lookup;
  if (at === "earliest" || at === "latest" || at === "max_timestamp") return;
  if (typeof at === "string") {
    refuse(`at of listOffset is ${shown(at)}: use earliest, latest, max_timestamp or a time`);
  }
  checkFields("at of listOffset", at, { timestampMs: "integer" });
};

export const deleteRecords = (deletion: DeleteRecords): void => {
  const shape: Shape<DeleteRecords> = { ...partitionOf, beforeOffset: "offset?" };
  checkFields("deleteRecords", deletion, shape);
};

export const describeLogs = (of: { readonly topics?: readonly string[] }): void => {
  checkFields("describeLogs", of, { topics: "list?" });
  allStrings("topics of describeLogs", of.topics ?? []);
};

export const group = (where: string, of: { readonly group: string }): void =>
  checkFields(where, of, { group: "string" });

export const groupOffsets = (where: string, given: GroupOffsets): void => {
  const shape: Shape<GroupOffsets> = { group: "string", offsets: "list" };
  checkFields(where, given, shape);
  for (const one of given.offsets) checkCommit(one);
};

export const groupOffsetsQuery = (query: GroupOffsetsQuery): void => {
  const shape: Shape<GroupOffsetsQuery> = { group: "string", partitions: "list?" };
  checkFields("fetchOffsets", query, shape);
  for (const one of query.partitions ?? []) {
    checkFields("a partition of fetchOffsets", one, partitionOf);
  }
};

export const resetOffsets = (reset: OffsetReset): void => {
  if (typeof reset === "object" && reset !== null && "offsets" in reset) {
    groupOffsets("resetOffsets", reset);
    return;
  }
  const shape: Shape<Exclude<OffsetReset, { readonly offsets: unknown }>> = {
    ...{ group: "string", topic: "string", to: "any", validateOnly: "boolean?" },
  };
  checkFields("resetOffsets", reset, shape);
  checkPosition("to of resetOffsets", reset.to);
};

export const planRebalance = (options: RebalancePlanOptions): void => {
  const shape: Shape<RebalancePlanOptions> = {
    ...{ movesPerBroker: "integer?", excludedTopics: "list?", validateOnly: "boolean?" },
  };
  checkFields("rebalances.plan", options, shape);
  const { excludedTopics = [], movesPerBroker = 1 } = options;
  inRange("movesPerBroker of rebalances.plan", movesPerBroker, 1, uint32Max);
  allStrings("excludedTopics of rebalances.plan", excludedTopics);
};

export const rebalanceQuery = (name: string, query: RebalanceQuery): void => {
  checkFields(name, query, { rebalanceId: "integer?" });
  if (query.rebalanceId === undefined) return;
  inRange(`rebalanceId of ${name}`, query.rebalanceId, 1, uint32Max);
};
