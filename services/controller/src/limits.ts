/** Every limit of the Admin service. */
export const limits = {
  /** Partitions of one topic. */
  partitionsMax: 10_000,
  /** Longest wait of CreateTopic and CreatePartitions for the new partitions' leaders. */
  servedWaitMsMax: 5_000,
  /** Attempts to change a topic that others change at the same time. */
  attemptsMax: 10,
  /** Topics in a page of ListTopics if the client does not say. */
  pageSizeDefault: 1000,
  /** Most topics in a page. */
  pageSizeMax: 10_000,
  /** Topics in one DescribeTopics. */
  topicsPerCallMax: 1000,
  /** Partitions in one AlterPartitionReassignments. */
  reassignmentsPerCallMax: 1000,
  /** Topics whose partitions one ListPartitionReassignments reads. */
  reassignmentTopicsPerPage: 100,
  /** Partitions that a drain moves away from one broker at the same time. */
  drainMovesMax: 10,
} as const;

/** Every limit of rebalances. */
export const rebalanceLimits = {
  /** Moves of one plan. */
  movesMax: 20_000,
  /** Moves in one value of the metadata store. */
  movesPerChunk: 1000,
  /** Moves that a broker takes part in at the same time, unasked. */
  movesPerBroker: 5,
  /** The most that may be asked for. */
  movesPerBrokerMax: 100,
  /** Moves that begin in one transaction. */
  movesPerStep: 40,
  /** Replicas that a plan gives to one broker. */
  replicasPerBrokerMax: 20_000,
  /** Topics that a plan may be told to leave out. */
  excludedTopicsMax: 1000,
  /** Moves in the answer of PlanRebalance. */
  movesPerAnswerMax: 1000,
  /** Skipped moves that are remembered with their reason. */
  skippedMax: 100,
  /** Plans that are over and remembered. */
  plansKept: 10,
  /** Bytes that copies of one broker, to it or from it, may lack as the next one begins. */
  lagBytesMax: 1024 * 1024 * 1024,
  /** Longest wait of a leader's records to be committed with which a copy from it begins, ms. */
  commitLagMsMax: 1_000,
  /** Wait of records up to which a broker may take part in one more move, ms. */
  paceFastMsMax: 250,
  /** Wait of records from which on it may take part in half as many, ms. */
  paceSlowMs: 500,
  /** Time between two such changes, ms. */
  paceIntervalMs: 2_000,
  /** How often brokers are asked how far their new replicas are, ms. */
  lagIntervalMs: 5_000,
  /** Longest wait for what a broker tells of its logs, ms. */
  logsWaitMsMax: 5_000,
  /** Time without a broker after which moves to it are given up, ms. */
  brokerGoneMs: 300_000,
  /** Longest time between two looks at a plan that is carried out, ms. */
  lookIntervalMs: 1_000,
} as const;

/** Part of a disk that a plan fills with logs. */
export const diskUsageMax = 0.8;
/** How far above the mean a broker's bytes may be, as a part of it, before a plan evens them. */
export const bytesSlack = 0.1;
/** And at least so far, bytes. */
export const bytesSlackMin = 1024 * 1024 * 1024;

/** Every limit of ReplicaService. */
export const replicaLimits = {
  /** Partitions in one AlterPartitions. */
  partitionsPerCallMax: 1000,
  /** Topics in one ConfirmDeletions. */
  topicsPerCallMax: 1000,
  /** Partitions in one ConfirmRemovals. */
  removalsPerCallMax: 1000,
  /** AlterPartitions of one broker that wait or are under way. */
  callsPerBrokerMax: 16,
  /** Longest wait of AlterPartitions for the mirror to read what it wrote. */
  mirrorWaitMsMax: 5_000,
} as const;

/** Every limit of the allocation of producer ids. */
export const producerIdLimits = {
  /** Ids in one block (KIP-730). */
  idsPerBlock: 1000,
  /** Calls of one broker that wait or are under way. */
  callsPerBrokerMax: 4,
  /** Attempts to move the next free id while other transactions move it too. */
  attemptsMax: 10,
} as const;

/** Every limit of maintenance leases. */
export const maintenanceLimits = {
  /** Time without a renewal after which a lease is over. */
  ttlMsMin: 1_000,
  ttlMsDefault: 60_000,
  ttlMsMax: 3_600_000,
  holderLengthMax: 128,
  reasonLengthMax: 256,
  /** Things in the way that an answer names. */
  blockersMax: 20,
  /** Data directories of one broker that were given up. */
  retiredDirectoriesMax: 1_000,
  /** Attempts to grant while what it is decided by keeps changing. */
  attemptsMax: 10,
  /** How often the controller looks for leases that have run out. */
  lookIntervalMs: 1_000,
} as const;

/** Every limit of the heartbeats of brokers. */
export const heartbeatLimits = {
  /** Time between two beats; brokers are told. */
  intervalMs: 1_000,
  /** Silence after which a broker is fenced. */
  silenceMs: 5_000,
  /** Time that a broker has for its first stream, in a new reign or registration. */
  streamWaitMs: 2_000,
  /** Longest wait for the opening message of a stream. */
  openTimeoutMs: 10_000,
  /** Longest wait for the answer of a broker that is dialed. */
  probeTimeoutMs: 1_000,
  /** Pause before a broker that answered, or did not, is dialed again. */
  probePauseMs: 100,
} as const;

/**
 * How often partitions are given back to their preferred leaders, ms (Kafka: 300,000). A change of
 * leader costs clients a fraction of a second.
 */
export const leaderBalanceIntervalMs = 60_000;

/** How often the controller looks at the heartbeats when nothing happens, ms. */
export const lookIntervalMs = 250;

/** Changes of one guarded transaction; with the guard and the token below the 128 of etcd. */
export const changesPerTransaction = 100;
/**
 * Transactions of the control loop that are in flight together: etcd fsyncs what arrives during an
 * fsync with the next one.
 */
export const transactionsInFlight = 4;
/** Conditions of one guarded transaction; with the guard and the slot below the 128 of etcd. */
export const comparesPerTransaction = 120;
/** How often a candidate looks whether the election's key is free when nothing tells it, ms. */
export const campaignIntervalMs = 1_000;
/** Longest pause of a candidate whose attempts fail, ms. */
export const campaignIntervalMsMax = 30_000;
