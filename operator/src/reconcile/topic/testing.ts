/**
 * A cluster for tests: its topics are objects of the API server of the tests, so that what the
 * operator asks of the cluster is lost, delayed, refused and cut off in the same ways.
 */
import { createHash } from "node:crypto";
import type { Clock } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  ApiError,
  type KubernetesApi,
  type KubernetesObject,
  type ResourceType,
} from "../../runtime/kubernetes.ts";
import type {
  ClusterTopics,
  FoundPartition,
  FoundTopic,
  NewClusterTopic,
} from "./cluster-topics.ts";

export interface StoredTopic extends KubernetesObject {
  readonly spec: {
    readonly partitions: readonly FoundPartition[];
    readonly configs: Readonly<Record<string, string>>;
    readonly records: number;
    /** When replicas were asked to move. */
    readonly movedAtMs?: number;
  };
}

export const storedTopicType: ResourceType<StoredTopic> = {
  ...{ group: "cluster.test", version: "v1", kind: "StoredTopic", plural: "storedtopics" },
  namespaced: true,
};

/** How long they take. */
const moveMs = 12_000;

/** As many as the brokers 1, 2, 3. */
const brokerIds = [1, 2, 3];
const defaultReplicas = 3;

const partitionsOf = (from: number, to: number, replicas: number): FoundPartition[] =>
  Array.from({ length: to - from }, (_, i) => {
    const ids = brokerIds.slice(0, replicas);
    const about = { partition: from + i, replicas: ids, isr: ids, adding: [], removing: [] };
    return { ...about, leader: 1 };
  });

export const storedTopic = (
  cluster: string,
  { configs, name, partitions, replicationFactor = defaultReplicas }: NewClusterTopic,
  records = 0,
): StoredTopic => ({
  ...{ apiVersion: "cluster.test/v1", kind: "StoredTopic" },
  metadata: { namespace: cluster, name },
  spec: { partitions: partitionsOf(0, partitions, replicationFactor), configs, records },
});

/** The id of a topic: another one for a later topic of the name. */
export const storedId = ({ metadata }: StoredTopic): string =>
  createHash("sha256").update(String(metadata.uid)).digest("hex").slice(0, 32);

const refusals: Readonly<Record<number, ErrorCode>> = {
  404: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
};

const asked = async <T>(call: () => Promise<T>, conflict: ErrorCode): Promise<T> => {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const code = error.status === 409 ? conflict : refusals[error.status];
    throw new MillraceError(code ?? ErrorCode.UNAVAILABLE, error.message);
  }
};

/** What a controller refuses. */
const checkTopic = ({ configs, partitions, replicationFactor }: NewClusterTopic): void => {
  if ((replicationFactor ?? 0) > brokerIds.length) {
    const text = `replication factor ${replicationFactor} is more than there are brokers`;
    throw new MillraceError(ErrorCode.INVALID_REPLICATION_FACTOR, text);
  }
  if (partitions > 10_000 || configs["flush.ms"] === "13") {
    throw new MillraceError(ErrorCode.INVALID_CONFIG, "flush.ms is 13: use another number");
  }
};

/** Replicas that are on their way have arrived after a while. */
export const partitionsAt = ({ spec }: StoredTopic, nowMs: number): readonly FoundPartition[] => {
  if (spec.movedAtMs === undefined || nowMs < spec.movedAtMs + moveMs) return spec.partitions;
  return spec.partitions.map((one) => {
    const replicas = one.replicas.filter((id) => !one.removing.includes(id));
    return { ...one, replicas, isr: replicas, adding: [], removing: [] };
  });
};

export const storedTopics = (
  api: KubernetesApi,
  cluster: string,
  clock: Pick<Clock, "wallMs">,
): ClusterTopics => {
  const read = (name: string): Promise<StoredTopic | undefined> =>
    asked(() => api.get(storedTopicType, { namespace: cluster, name }), ErrorCode.UNAVAILABLE);
  const change = async (
    name: string,
    how: (spec: StoredTopic["spec"]) => StoredTopic["spec"],
  ): Promise<void> => {
    const stored = await read(name);
    if (stored === undefined) {
      throw new MillraceError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `${name} is not there`);
    }
    const next = { ...stored, spec: how(stored.spec) };
    await asked(() => api.replace(storedTopicType, next), ErrorCode.UNAVAILABLE);
  };
  const now = (stored: StoredTopic) => partitionsAt(stored, clock.wallMs());
  return {
    find: async (name) => {
      const stored = await read(name);
      if (stored === undefined) return undefined;
      const about = { topicId: storedId(stored), createdAtMs: 0, configs: stored.spec.configs };
      return { ...about, partitions: now(stored) } satisfies FoundTopic;
    },
    create: async (topic, { validateOnly }) => {
      checkTopic(topic);
      if (validateOnly) return;
      const stored = storedTopic(cluster, topic);
      await asked(() => api.create(storedTopicType, stored), ErrorCode.TOPIC_ALREADY_EXISTS);
    },
    addPartitions: (name, count) =>
      change(name, (spec) => {
        const { length } = spec.partitions;
        const replicas = spec.partitions[0]?.replicas.length ?? defaultReplicas;
        return {
          ...spec,
          partitions: [...spec.partitions, ...partitionsOf(length, count, replicas)],
        };
      }),
    alterConfigs: async (name, { remove, set }) => {
      checkTopic({ name, partitions: 1, configs: set });
      await change(name, (spec) => {
        const kept = Object.entries(spec.configs).filter(([key]) => !remove.includes(key));
        return { ...spec, configs: { ...Object.fromEntries(kept), ...set } };
      });
    },
    brokers: async () => brokerIds.map((brokerId) => ({ brokerId, rack: "", replicas: 0 })),
    move: (name, moves) =>
      change(name, (spec) => ({
        ...spec,
        movedAtMs: clock.wallMs(),
        partitions: spec.partitions.map((one) => {
          const to = moves.find(({ partition }) => partition === one.partition)?.replicas;
          if (to === undefined) return one;
          const adding = to.filter((id) => !one.replicas.includes(id));
          const removing = one.replicas.filter((id) => !to.includes(id));
          return { ...one, replicas: [...one.replicas, ...adding], adding, removing };
        }),
      })),
    isEmpty: async (name) => ((await read(name))?.spec.records ?? 0) === 0,
    delete: async (name, topicId) => {
      const stored = await read(name);
      if (stored === undefined || storedId(stored) !== topicId) {
        throw new MillraceError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `${name} is not there`);
      }
      const uid = stored.metadata.uid ?? "";
      const key = { namespace: cluster, name };
      await asked(() => api.delete(storedTopicType, key, { uid }), ErrorCode.UNAVAILABLE);
    },
  };
};
