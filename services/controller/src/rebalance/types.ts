/** What a rebalance is planned from, and what is planned. */

/** A broker as the planner sees it. */
export interface PlannedBroker {
  readonly id: number;
  /** Empty: in no rack; then it shares one with nobody. */
  readonly rack: string;
  /** Whether it may get replicas. */
  readonly isActive: boolean;
  /** Of one that is not active: whether what it has stays. Else that goes elsewhere. */
  readonly keeps?: boolean;
  /** Bytes of logs that it has room for. */
  readonly bytesMax: number;
}

export interface PlannedPartition {
  /** Whatever the caller knows it by. */
  readonly key: string;
  /** Brokers, the preferred leader first; each at most once. */
  readonly replicas: readonly number[];
  /** Of one replica. */
  readonly bytes: number;
  /** It counts, and stays as it is. */
  readonly isFixed?: boolean;
}

export interface PlanRequest {
  readonly brokers: readonly PlannedBroker[];
  readonly partitions: readonly PlannedPartition[];
  /** Replicas that a broker may have. */
  readonly replicasMax: number;
  /** How far above the mean a broker's bytes may be, as a part of it. */
  readonly bytesSlack: number;
  /** And at least so many bytes: less is not worth a copy. Default 0. */
  readonly bytesSlackMin?: number;
}

/**
 * What must never become worse (`brokers`: replicas where they may be; `racks`: as many racks as
 * there can be; `disk`, `replicas`: no broker beyond its room), and what is made even.
 */
export type Goal = "brokers" | "racks" | "disk" | "replicas" | "count" | "bytes" | "leaders";

/** A goal that cannot be met. */
export interface Unmet {
  readonly goal: Goal;
  /** For people: what about it, and what would help. */
  readonly why: string;
}

export interface PlannedMove {
  readonly key: string;
  readonly from: readonly number[];
  /** Equal to `from` but for the order where only the preferred leader changes. */
  readonly to: readonly number[];
}

/** What a broker has. */
export interface BrokerShare {
  readonly id: number;
  readonly replicas: number;
  readonly leaders: number;
  readonly bytes: number;
}

export interface RebalancePlan {
  /** In the order of the partitions. */
  readonly moves: readonly PlannedMove[];
  /** Replicas that are copied, and their bytes. */
  readonly copies: number;
  readonly copiedBytes: number;
  /** In the order of the brokers. */
  readonly before: readonly BrokerShare[];
  readonly after: readonly BrokerShare[];
  readonly unmet: readonly Unmet[];
}
