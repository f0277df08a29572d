/** Whether a partition of a producer is held up, and by what. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { PartitionQueue, Route } from "./partition-queue.ts";

/**
 * Undefined while the partition goes on. A batch that was sent again holds it up until it is
 * acknowledged. An idle partition is held up only while the stream that it used is broken.
 */
export const heldUpBy = (
  queue: PartitionQueue,
  leader: Route | undefined,
  nowMs: number,
): MillraceError | undefined => {
  const { inFlight, retries, batches, topic, partition } = queue;
  const oldest = inFlight[0] ?? retries[0] ?? batches[0];
  if (oldest?.lastError !== undefined) return oldest.lastError;
  if (leader === undefined) {
    const text = `${topic}-${partition} has no leader at the moment: check its brokers`;
    return oldest === undefined
      ? queue.route?.lastError
      : new MillraceError(ErrorCode.LEADER_NOT_AVAILABLE, text);
  }
  return (inFlight.length > 0 ? (queue.route ?? leader) : leader).trouble(nowMs);
};
