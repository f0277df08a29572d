/** What a coordinator needs to know of its cluster. The view of a broker is one. */
import type { Endpoint } from "@millrace/errors";
import type { TopicId } from "@millrace/record";

export interface TopicInView {
  readonly id: TopicId;
  readonly name: string;
  /** By index; only those whose record has arrived. */
  readonly partitions: readonly { readonly leader: number | undefined }[];
}

/** As of one revision of the metadata. */
export interface ClusterState {
  readonly topics: ReadonlyMap<string, TopicInView>;
  readonly topicsById: ReadonlyMap<TopicId, TopicInView>;
  readonly brokers: ReadonlyMap<number, { readonly internalEndpoint: Endpoint | undefined }>;
}

export interface ClusterView {
  readonly current: ClusterState;
  /** Calls the listener with the names of topics that differ. Returns how to stop. */
  onChange(
    listener: (change: {
      readonly changed: readonly string[];
      readonly deleted: readonly string[];
    }) => void,
  ): () => void;
}
