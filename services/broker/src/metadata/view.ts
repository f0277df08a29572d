/** What a broker knows about the cluster: decoded, indexed, as of one revision. */
import type { Endpoint } from "@millrace/errors";
import type { TopicId } from "@millrace/record";

/** A replica that was removed, and whose log may still be on its broker. */
export interface RemovedReplicaView {
  readonly brokerId: number;
  /** Leader epoch that began with the removal: nothing of it is in the log. */
  readonly leaderEpoch: number;
}

export interface PartitionView {
  readonly partition: number;
  /** Undefined: no leader at the moment. */
  readonly leader: number | undefined;
  readonly leaderEpoch: number;
  readonly replicas: readonly number[];
  /** Replicas that a reassignment adds. */
  readonly adding: readonly number[];
  /** Only these entries allow a broker to delete a log of the partition. */
  readonly removed: readonly RemovedReplicaView[];
  readonly isr: readonly number[];
  /** Epochs of the registrations of `isr`, in its order. */
  readonly isrBrokerEpochs: readonly number[];
  readonly elr: readonly number[];
  /** Of the last unclean election; 0: there was none. */
  readonly uncleanLeaderEpoch: number;
  /** Revision of the record. */
  readonly modRevision: number;
}

export interface TopicView {
  readonly name: string;
  readonly id: TopicId;
  readonly replicationFactor: number;
  /** Milliseconds since the Unix epoch, by the clock of a controller. */
  readonly createdAtMs: number;
  /** Configs as set on the topic; checked by the controller. */
  readonly configs: Readonly<Record<string, string>>;
  /** In order of partition index; only partitions whose record has arrived. */
  readonly partitions: readonly PartitionView[];
}

export interface BrokerView {
  readonly brokerId: number;
  /** Where clients reach it; undefined when it tells nothing that can be dialed. */
  readonly endpoint: Endpoint | undefined;
  /** Where processes of the cluster reach it; undefined as above. */
  readonly internalEndpoint: Endpoint | undefined;
  readonly rack: string;
  /** Of its registration. */
  readonly epoch: number;
  /** It is about to stop. */
  readonly isShuttingDown: boolean;
}

/** A registered group coordinator. */
export interface CoordinatorView {
  readonly coordinatorId: number;
  /** Where clients reach it; undefined when it tells nothing that can be dialed. */
  readonly endpoint: Endpoint | undefined;
  /** It is about to stop, and serves no group. */
  readonly isShuttingDown: boolean;
}

/** A deleted topic whose partitions some broker may still hold on its disk. */
export interface DeletionView {
  readonly name: string;
  readonly id: TopicId;
  readonly pendingBrokerIds: readonly number[];
}

/** A consistent snapshot. Replaced as a whole, never changed. */
export interface ClusterSnapshot {
  readonly clusterId: string;
  /** Of the metadata; empty until the cluster's record has arrived. */
  readonly generation: Uint8Array;
  readonly revision: number;
  readonly topics: ReadonlyMap<string, TopicView>;
  readonly topicsById: ReadonlyMap<TopicId, TopicView>;
  /** By topic id. Only these allow a broker to delete the partitions of a topic. */
  readonly deletions: ReadonlyMap<TopicId, DeletionView>;
  readonly brokers: ReadonlyMap<number, BrokerView>;
  readonly coordinators: ReadonlyMap<number, CoordinatorView>;
  /** Where Admin calls go; undefined when none is known. */
  readonly controller: Endpoint | undefined;
  /** Where brokers reach the active controller; undefined as above. */
  readonly internalController: Endpoint | undefined;
}

/** Names of topics that differ between two snapshots. */
export interface ClusterChange {
  readonly changed: readonly string[];
  readonly deleted: readonly string[];
  readonly brokersChanged: boolean;
  readonly coordinatorsChanged: boolean;
  readonly deletionsChanged: boolean;
}

/** The live view; implemented over the metadata mirror. */
export interface ClusterView {
  readonly current: ClusterSnapshot;
  /**
   * Called after every replacement that changes topics, brokers, coordinators, deletions or
   * the generation.
   * Returns how to stop.
   */
  onChange(listener: (change: ClusterChange) => void): () => void;
  /** True once the view has reached the revision; false when `timeoutMs` passed first. */
  waitForRevision(revision: number, timeoutMs: number): Promise<boolean>;
}
