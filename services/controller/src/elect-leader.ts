/** ElectLeader: an election by command, written by compare-and-set. */
import { create } from "@bufbuild/protobuf";
import { topicConfigOf } from "@millrace/config";
import type { Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { type Compare, encodeRecord, keys, type MetadataStore } from "@millrace/metadata";
import {
  ElectionType,
  type ElectLeaderRequest,
  type ElectLeaderResponse,
  ElectLeaderResponseSchema,
} from "@millrace/proto/controller";
import type { PartitionRecord } from "@millrace/proto/storage";
import { electedPartition } from "./elections.ts";
import type { Brokers } from "./leadership.ts";
import { limits } from "./limits.ts";
import { isRetired, type Placement, readPlacement, unchangedPlacement } from "./placement.ts";
import type { RegisteredBroker, Registry, StoredTopic } from "./registry.ts";

const brokersOf = (registered: readonly RegisteredBroker[]): Brokers => {
  const stopping = registered.filter(({ shuttingDown }) => shuttingDown);
  const known = registered.filter(({ directoryId }) => directoryId.length > 0);
  return {
    brokers: new Map(registered.map(({ brokerId, epoch }) => [brokerId, epoch])),
    shuttingDown: new Set(stopping.map(({ brokerId }) => brokerId)),
    directories: new Map(known.map(({ brokerId, directoryId }) => [brokerId, directoryId])),
  };
};

const decide = async (
  registry: Registry,
  placement: Placement,
  { id, record: topic, modRevision }: StoredTopic,
  request: ElectLeaderRequest,
): Promise<{ next: PartitionRecord; compares: readonly Compare[] }> => {
  const found = await registry.partition(id, request.partition);
  if (found === undefined || request.partition >= topic.partitionCount) {
    throw new MillraceError(
      ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
      `topic ${topic.name} has no partition ${request.partition}: it has ${topic.partitionCount}`,
    );
  }
  const { minIsrEpoch } = topic;
  const minInsyncReplicas = topicConfigOf(topic.configs)["min.insync.replicas"];
  // A directory that was given up may be deleted at any time: nobody leads with it.
  const registered = (await registry.brokers()).filter(
    ({ brokerId, directoryId }) => !isRetired(placement.intents.get(brokerId), directoryId),
  );
  const brokers = brokersOf(registered);
  const minimum = { minInsyncReplicas, minIsrEpoch };
  const next = electedPartition(found.record, minimum, brokers, request);
  const isAsRead: Compare = {
    ...{ key: keys.partition(id, request.partition), target: "modRevision" },
    equals: found.modRevision,
  };
  // Under another minimum the ELR means nothing.
  const isSameTopic: Compare = {
    ...{ key: keys.topic(topic.name), target: "modRevision", equals: modRevision },
  };
  const areRegistered = next.isr.map(
    (brokerId): Compare => ({
      ...{ key: keys.broker(brokerId), target: "createRevision" },
      equals: brokers.brokers.get(brokerId) ?? 0,
    }),
  );
  const compares = [isAsRead, isSameTopic, unchangedPlacement(placement), ...areRegistered];
  return { next, compares };
};

/** See `electedPartition`; UNKNOWN_TOPIC_OR_PARTITION as well. */
export const electLeader = async (
  store: MetadataStore,
  registry: Registry,
  logger: Logger,
  request: ElectLeaderRequest,
): Promise<ElectLeaderResponse> => {
  for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
    const topic = await registry.topic(request.topic);
    const placement = await readPlacement(store);
    const { next, compares } = await decide(registry, placement, topic, request);
    const { leader = 0, leaderEpoch, partition } = next;
    const answer = { leader, leaderEpoch };
    if (request.validateOnly) {
      const revision = BigInt(await registry.revision());
      return create(ElectLeaderResponseSchema, { ...answer, revision });
    }
    const key = keys.partition(topic.id, partition);
    const value = encodeRecord.partition(next);
    const revision = await registry.write(compares, [{ type: "put", key, value }]);
    if (revision === undefined) continue;
    const fields = { topic: request.topic, partition, leader, leader_epoch: leaderEpoch };
    if (request.type === ElectionType.UNCLEAN) {
      logger.warn(fields, "a replica that is not complete leads, by command: records may be lost");
    } else logger.info(fields, "the preferred leader leads, by command");
    return create(ElectLeaderResponseSchema, { ...answer, revision: BigInt(revision) });
  }
  throw new MillraceError(
    ErrorCode.UNAVAILABLE,
    `partition ${request.topic}/${request.partition} keeps changing under this request: retry`,
    { retryAfterMs: 100 },
  );
};
