/** Reassignments of partitions, as the Admin service records and tells them. */
import { create } from "@bufbuild/protobuf";
import { topicConfigOf } from "@millrace/config";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { keys, type MetadataStore } from "@millrace/metadata";
import { BrokerIntent } from "@millrace/proto/common";
import {
  type AlterPartitionReassignmentsRequest,
  type AlterPartitionReassignmentsResponse,
  AlterPartitionReassignmentsResponseSchema,
  type ListPartitionReassignmentsRequest,
  type ListPartitionReassignmentsResponse,
  ListPartitionReassignmentsResponseSchema,
  type OngoingReassignment,
  OngoingReassignmentSchema,
  type PartitionReassignment,
  type PartitionReassignmentResult,
  PartitionReassignmentResultSchema,
} from "@millrace/proto/controller";
import type { PartitionRecord } from "@millrace/proto/storage";
import { partitionError } from "@millrace/rpc";
import { type GuardedChange, writeChanges } from "./guarded-changes.ts";
import type { Brokers, MinInsync } from "./leadership.ts";
import { limits } from "./limits.ts";
import { intentOf, type Placement, readPlacement } from "./placement.ts";
import { isBeingReassigned, originalOf, reassigned } from "./reassignment.ts";
import type { RegisteredBroker, Registry, StoredTopic } from "./registry.ts";
import type { Write } from "./reign.ts";

/** Where reassignments are read and written. */
export interface Metadata {
  readonly registry: Registry;
  readonly store: MetadataStore;
  readonly write: Write;
}

/** A change that is to be written, and its place in the answer. */
interface Move extends GuardedChange {
  readonly index: number;
}

const invalid = (message: string): MillraceError =>
  MillraceError.refusal(ErrorCode.INVALID_REQUEST, message);

const invalidAssignment = (message: string): MillraceError =>
  MillraceError.refusal(ErrorCode.INVALID_REPLICA_ASSIGNMENT, message);

const conflict = (): MillraceError =>
  new MillraceError(
    ErrorCode.UNAVAILABLE,
    "the partition keeps changing under this request: retry",
    { retryAfterMs: 100 },
  );

/** Throws INVALID_REQUEST. */
const checkRequest = ({ partitions }: AlterPartitionReassignmentsRequest): void => {
  const { reassignmentsPerCallMax: max } = limits;
  if (partitions.length > max) {
    throw invalid(`${partitions.length} partitions in one call: send at most ${max}`);
  }
  const names = new Set(partitions.map(({ topic, partition }) => `${partition}#${topic}`));
  if (names.size < partitions.length) {
    throw invalid("a partition is in the request twice: send one change of it");
  }
};

/** Brokers, and what is wanted of them, as of one look. */
interface Found {
  readonly brokers: ReadonlyMap<number, RegisteredBroker>;
  readonly placement: Placement;
}

/** Why a broker may not get a replica. */
const unfit = (id: number, { brokers, placement }: Found): string | undefined => {
  const broker = brokers.get(id);
  if (broker === undefined) return `broker ${id} is not registered: see millrace broker list`;
  const intent = intentOf(placement, id, broker.directoryId);
  if (intent === BrokerIntent.ACTIVE) return undefined;
  const name = BrokerIntent[intent].toLowerCase();
  return `broker ${id} is ${name} and gets no replicas: choose another one, or uncordon it`;
};

/** Throws INVALID_REPLICA_ASSIGNMENT, INVALID_REQUEST. */
const checkTarget = (
  { replicas, cancel }: PartitionReassignment,
  record: PartitionRecord,
  found: Found,
): void => {
  if (cancel) {
    if (replicas.length > 0) throw invalid("replicas are given to a cancellation: leave them out");
    return;
  }
  if (replicas.length === 0) throw invalidAssignment("no replicas: name at least one broker");
  if (new Set(replicas).size < replicas.length) {
    throw invalidAssignment(`broker ids ${replicas}: name each broker once`);
  }
  // One that has a replica already may be down at the moment, or be drained.
  for (const id of replicas) {
    const why = record.replicas.includes(id) ? undefined : unfit(id, found);
    if (why !== undefined) throw invalidAssignment(why);
  }
};

const minInsyncOf = ({ record }: StoredTopic): MinInsync => ({
  minInsyncReplicas: topicConfigOf(record.configs)["min.insync.replicas"],
  minIsrEpoch: record.minIsrEpoch,
});

/** What the partition becomes; undefined when it is so already. Throws the refusal. */
const judge = (
  wanted: PartitionReassignment,
  record: PartitionRecord,
  topic: StoredTopic,
  found: Found,
): PartitionRecord | undefined => {
  checkTarget(wanted, record, found);
  const { brokers } = found;
  if (wanted.cancel && !isBeingReassigned(record)) {
    throw MillraceError.refusal(
      ErrorCode.NO_REASSIGNMENT_IN_PROGRESS,
      `${wanted.topic}-${wanted.partition} is not being reassigned: there is nothing to cancel`,
    );
  }
  const registered: Brokers = {
    brokers: new Map([...brokers].map(([id, { epoch }]) => [id, epoch])),
    shuttingDown: new Set(
      [...brokers.values()].flatMap(({ brokerId, shuttingDown }) => (shuttingDown ? brokerId : [])),
    ),
    directories: new Map(
      [...brokers].flatMap(([id, { directoryId }]) =>
        directoryId.length > 0 ? [[id, directoryId] as const] : [],
      ),
    ),
  };
  const target = wanted.cancel ? originalOf(record) : wanted.replicas;
  const next = reassigned(record, minInsyncOf(topic), registered, target);
  if (next.kind === "refused") {
    throw invalidAssignment(
      `${wanted.topic}-${wanted.partition}: brokers ${record.isr} alone have everything that was ` +
        "acknowledged, and none of them would stay: wait until one that stays is in sync",
    );
  }
  return next.kind === "changed" ? next.record : undefined;
};

/** One look at the metadata that requests are judged by. */
class Judgement {
  readonly #registry: Registry;
  readonly #topics = new Map<string, StoredTopic>();
  readonly #found: Found;

  private constructor(registry: Registry, found: Found) {
    this.#registry = registry;
    this.#found = found;
  }

  static async begin({ registry, store }: Pick<Metadata, "registry" | "store">) {
    const placement = await readPlacement(store);
    const registered = await registry.brokers();
    const brokers = new Map(registered.map((one) => [one.brokerId, one]));
    return new Judgement(registry, { brokers, placement });
  }

  /** The change of one partition, or undefined without any. Throws the refusal. */
  async move(wanted: PartitionReassignment): Promise<GuardedChange | undefined> {
    const topic = await this.#topic(wanted.topic);
    const found = await this.#registry.partition(topic.id, wanted.partition);
    if (found === undefined || wanted.partition >= topic.record.partitionCount) {
      throw MillraceError.refusal(
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        `topic ${wanted.topic} has no partition ${wanted.partition}`,
      );
    }
    const record = judge(wanted, found.record, topic, this.#found);
    if (record === undefined) return undefined;
    const key = keys.partition(topic.id, wanted.partition);
    // A topic that is deleted meanwhile must not get a new replica that its deletion does not know.
    const { placement } = this.#found;
    const unchanged = new Map([
      [keys.topic(wanted.topic), topic.modRevision],
      [keys.placement, placement.revision],
    ]);
    return { key, modRevision: found.modRevision, record, unchanged };
  }

  async #topic(name: string): Promise<StoredTopic> {
    const topic = this.#topics.get(name) ?? (await this.#registry.topic(name));
    this.#topics.set(name, topic);
    return topic;
  }
}

/**
 * Records reassignments, each by itself. Throws INVALID_REQUEST for the call as a whole, and what
 * the store throws; some of them may have been recorded then.
 */
export const alterPartitionReassignments = async (
  { registry, store, write }: Metadata,
  request: AlterPartitionReassignmentsRequest,
): Promise<AlterPartitionReassignmentsResponse> => {
  checkRequest(request);
  const { partitions, validateOnly } = request;
  const results = partitions.map(
    ({ topic, partition }): PartitionReassignmentResult =>
      create(PartitionReassignmentResultSchema, { topic, partition }),
  );
  let left = partitions.map((_, index) => index);
  let newest = 0;
  for (let attempt = 0; attempt < limits.attemptsMax && left.length > 0; attempt += 1) {
    const judgement = await Judgement.begin({ registry, store });
    const moves: Move[] = [];
    for (const index of left) {
      const wanted = partitions[index];
      const result = results[index];
      if (wanted === undefined || result === undefined) continue;
      try {
        const move = await judgement.move(wanted);
        if (move !== undefined && !validateOnly) moves.push({ ...move, index });
      } catch (thrown) {
        result.error = partitionError(thrown);
      }
    }
    left = [];
    await writeChanges(write, moves, {
      onWritten: (_, revision) => {
        newest = revision;
      },
      onConflict: ({ index }) => void left.push(index),
    });
  }
  for (const index of left) {
    const result = results[index];
    if (result !== undefined) result.error = partitionError(conflict());
  }
  const revision = BigInt(newest === 0 ? await registry.revision() : newest);
  return create(AlterPartitionReassignmentsResponseSchema, { results, revision });
};

const ongoing = (topic: string, record: PartitionRecord): OngoingReassignment => {
  const { partition, replicas, adding, removing, isr } = record;
  return create(OngoingReassignmentSchema, { topic, partition, replicas, adding, removing, isr });
};

/** Reassignments of a page of topics. */
export const listPartitionReassignments = async (
  registry: Registry,
  { pageToken }: ListPartitionReassignmentsRequest,
): Promise<ListPartitionReassignmentsResponse> => {
  const { topics, more } = await registry.topics(pageToken, limits.reassignmentTopicsPerPage);
  const reassignments: OngoingReassignment[] = [];
  for (const { id, record } of topics) {
    for (const one of await registry.partitions(id)) {
      if (isBeingReassigned(one.record)) reassignments.push(ongoing(record.name, one.record));
    }
  }
  const nextPageToken = more ? (topics.at(-1)?.record.name ?? "") : "";
  return create(ListPartitionReassignmentsResponseSchema, { reassignments, nextPageToken });
};
