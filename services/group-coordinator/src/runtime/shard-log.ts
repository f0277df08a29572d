/** The partition of the internal topic that remembers a shard. */
import type { EncodedRecord } from "../shard/records.ts";

export interface ShardLog {
  /**
   * Shows every record that is committed, in order, and resolves to the end offset. What a
   * predecessor had appended and not yet committed is waited for.
   */
  load(take: (record: EncodedRecord) => void, signal: AbortSignal): Promise<number>;
  /**
   * Appends the records as one batch, if the log ends at `expectedEndOffset`. Resolves once they
   * are committed. Any rejection leaves open whether they were: what the caller has in memory may
   * not be what the log says, and must be loaded again.
   */
  append(
    records: readonly EncodedRecord[],
    expectedEndOffset: number,
    signal: AbortSignal,
  ): Promise<void>;
}
