/** Calls about a partition, to whoever leads it. */
import type { TopicId } from "@millrace/record";
import type { Method } from "@millrace/rpc";

export interface OfPartition {
  readonly topicId: TopicId;
  readonly partition: number;
}

export interface PartitionCalls {
  /** The partition has a leader that can be reached, as far as is known. */
  isLed(to: OfPartition): boolean;
  /**
   * One call to the leader of a partition. It may be made again, also when it may have had an
   * effect: only for calls that may be made twice.
   */
  call<I, O>(to: OfPartition, method: Method<I, O>, request: I, signal?: AbortSignal): Promise<O>;
  close(): void;
}
