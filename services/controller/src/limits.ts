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
} as const;
