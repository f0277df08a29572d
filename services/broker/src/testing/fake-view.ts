/** A view of the cluster that a test changes as it likes. */
import { parseEndpoint } from "@millrace/errors";
import { topicIdOf } from "@millrace/record";
import type {
  BrokerView,
  ClusterChange,
  ClusterSnapshot,
  ClusterView,
  CoordinatorView,
  DeletionView,
  PartitionView,
  TopicView,
} from "../metadata/view.ts";

/** A partition on brokers 0 and 1. */
export const partitionOf = (
  partition: number,
  leader: number | "none" = 0,
  leaderEpoch = 1,
  isr: readonly number[] = [0, 1],
): PartitionView => {
  const known = leader === "none" ? undefined : leader;
  return {
    ...{ partition, leader: known, leaderEpoch, replicas: [0, 1], isr, elr: [] },
    ...{ adding: [], removed: [], uncleanLeaderEpoch: 0 },
    ...{ isrBrokerEpochs: isr.map(() => 1), modRevision: 1 },
  };
};

/** `id` makes the topic's id; a topic that is made again has another one. */
export const topicOf = (
  name: string,
  partitions: readonly PartitionView[],
  id = name.charCodeAt(0),
): TopicView => ({
  name,
  id: topicIdOf(new Uint8Array(16).fill(id)),
  replicationFactor: 2,
  createdAtMs: 0,
  configs: {},
  partitions,
});

export const brokerOf = (brokerId: number): BrokerView => ({
  brokerId,
  endpoint: parseEndpoint(`b${brokerId}:7400`),
  internalEndpoint: parseEndpoint(`b${brokerId}:7401`),
  rack: "",
  epoch: 1,
  isShuttingDown: false,
});

const controllerAt = (brokerId: number | "none") => {
  if (brokerId === "none") return { controller: undefined, internalController: undefined };
  const { endpoint: controller, internalEndpoint: internalController } = brokerOf(brokerId);
  return { controller, internalController };
};

const byId = (topics: Iterable<TopicView>) =>
  new Map([...topics].map((topic) => [topic.id, topic] as const));

/** What a test changes in one revision. */
export interface Change {
  readonly put?: readonly TopicView[];
  readonly remove?: readonly string[];
  readonly brokers?: readonly BrokerView[];
  readonly coordinators?: readonly CoordinatorView[];
  readonly generation?: number;
  /** Where the controller is active; none when it is nowhere. */
  readonly controller?: number | "none";
  readonly deletions?: readonly DeletionView[];
  /** Default: the next one. */
  readonly revision?: number;
}

export class FakeView implements ClusterView {
  current: ClusterSnapshot;
  readonly #listeners = new Set<(change: ClusterChange) => void>();
  #waiters: { readonly revision: number; readonly resolve: (reached: boolean) => void }[] = [];

  constructor(revision: number, topics: readonly TopicView[] = []) {
    this.current = {
      clusterId: "c",
      generation: new Uint8Array(16).fill(1),
      revision,
      topics: new Map(topics.map((topic) => [topic.name, topic])),
      topicsById: byId(topics),
      deletions: new Map(),
      brokers: new Map([[0, brokerOf(0)]]),
      coordinators: new Map(),
      controller: parseEndpoint("b0:7400"),
      internalController: parseEndpoint("b0:7401"),
    };
  }

  /** Listeners left. */
  get listeners(): number {
    return this.#listeners.size;
  }

  change(change: Change): void {
    const {
      put = [],
      remove = [],
      brokers,
      controller,
      coordinators,
      deletions,
      generation,
    } = change;
    const { revision = this.current.revision + 1 } = change;
    const topics = new Map(this.current.topics);
    for (const topic of put) topics.set(topic.name, topic);
    for (const name of remove) topics.delete(name);
    this.current = {
      ...this.current,
      ...{ revision, topics, topicsById: byId(topics.values()) },
      ...(brokers && { brokers: new Map(brokers.map((one) => [one.brokerId, one])) }),
      ...(coordinators && {
        coordinators: new Map(coordinators.map((one) => [one.coordinatorId, one])),
      }),
      ...(controller !== undefined && controllerAt(controller)),
      ...(deletions && { deletions: new Map(deletions.map((one) => [one.id, one])) }),
      ...(generation !== undefined && { generation: new Uint8Array(16).fill(generation) }),
    };
    const told = {
      changed: put.map(({ name }) => name),
      deleted: [...remove],
      brokersChanged: brokers !== undefined,
      coordinatorsChanged: coordinators !== undefined,
      deletionsChanged: deletions !== undefined,
    };
    for (const listener of this.#listeners) listener(told);
    const reached = this.#waiters.filter((waiter) => waiter.revision <= revision);
    this.#waiters = this.#waiters.filter((waiter) => waiter.revision > revision);
    for (const { resolve } of reached) resolve(true);
  }

  onChange(listener: (change: ClusterChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  waitForRevision(revision: number): Promise<boolean> {
    if (this.current.revision >= revision) return Promise.resolve(true);
    return new Promise((resolve) => this.#waiters.push({ revision, resolve }));
  }

  /** What waits for a revision has waited too long. */
  giveUp(): void {
    for (const { resolve } of this.#waiters.splice(0)) resolve(false);
  }
}
