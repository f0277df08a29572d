/** What coordinators ask about partitions: where they end, and how old their records are. */
import type { GroupTopic } from "@millrace/proto/group";
import type { OffsetToCommit, RefusedOffset } from "../group/types.ts";

export interface PartitionEnds {
  /** Offsets that lie behind the end of their partition, and the refusal of each. */
  beyond(offsets: readonly OffsetToCommit[]): Promise<ReadonlyMap<OffsetToCommit, RefusedOffset>>;
  /** Fills in the ends and the lag of partitions, as far as they can be told now. */
  measure(topics: readonly GroupTopic[]): Promise<void>;
}
