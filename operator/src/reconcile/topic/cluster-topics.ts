/** What the operator asks a Millrace cluster about topics. Errors are `MillraceError`s. */

/** A partition as it is. */
export interface FoundPartition {
  readonly partition: number;
  /** Brokers in order of preference, those that are being added among them. */
  readonly replicas: readonly number[];
  readonly isr: readonly number[];
  /** Absent where nobody leads at the moment. */
  readonly leader?: number;
  readonly adding: readonly number[];
  readonly removing: readonly number[];
}

/** A topic as it is in the cluster. */
export interface FoundTopic {
  /** 32 hexadecimal digits. */
  readonly topicId: string;
  readonly createdAtMs: number;
  /** In order of their numbers. */
  readonly partitions: readonly FoundPartition[];
  /** Configs that are set on the topic itself. */
  readonly configs: Readonly<Record<string, string>>;
}

/** A broker that may get replicas. */
export interface PlaceBroker {
  readonly brokerId: number;
  /** Empty where it has none. */
  readonly rack: string;
  /** Replicas that it has, of all topics. */
  readonly replicas: number;
}

export interface NewClusterTopic {
  readonly name: string;
  readonly partitions: number;
  /** The cluster's default where it is left out. */
  readonly replicationFactor?: number;
  readonly configs: Readonly<Record<string, string>>;
}

/** The replicas that a partition is to have, in order of preference. */
export interface Move {
  readonly partition: number;
  readonly replicas: readonly number[];
}

export interface ClusterTopics {
  /** Undefined where there is none of this name. */
  find(name: string): Promise<FoundTopic | undefined>;
  create(topic: NewClusterTopic, how: { readonly validateOnly: boolean }): Promise<void>;
  /** `partitions` is the number in all. */
  addPartitions(name: string, partitions: number): Promise<void>;
  alterConfigs(
    name: string,
    change: { readonly set: Readonly<Record<string, string>>; readonly remove: readonly string[] },
  ): Promise<void>;
  /** Brokers that are there and take replicas. */
  brokers(): Promise<readonly PlaceBroker[]>;
  /** Throws the first refusal; the others are recorded. */
  move(name: string, moves: readonly Move[]): Promise<void>;
  /** Whether no partition has a record. */
  isEmpty(name: string): Promise<boolean>;
  /** Deletes the topic of this id and no other; one that is gone is no error. */
  delete(name: string, topicId: string): Promise<void>;
}
