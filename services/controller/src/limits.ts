/** Every limit of the Admin service. */
export const limits = {
  /** Partitions of one topic. */
  partitionsMax: 10_000,
  /** Longest wait of CreateTopic and CreatePartitions for the new partitions' leaders. */
  servedWaitMsMax: 5_000,
  /** Times that a change is tried again when somebody else was faster. */
  attemptsMax: 10,
  /** Topics in a page of ListTopics when the client does not say. */
  pageSizeDefault: 1000,
  /** Topics in a page at most. */
  pageSizeMax: 10_000,
  /** Topics in one DescribeTopics. */
  topicsPerCallMax: 1000,
} as const;
