/** The topics of a cluster's metadata, as groups see them. */
import type { ClusterSnapshot } from "@millrace/broker";
import type { Topic, Topics } from "../group/types.ts";

/** Topics of the system: no pattern matches them. */
export const isInternal = (name: string): boolean => name.startsWith("__");

type TopicView = ClusterSnapshot["topics"] extends ReadonlyMap<string, infer View> ? View : never;

const topicOf = ({ id, name, partitions }: TopicView): Topic => ({
  ...{ topicId: id, name },
  partitionCount: partitions.length,
});

export const topicsIn = ({ topics, topicsById }: ClusterSnapshot): Topics => ({
  byName: (name) => {
    const view = topics.get(name);
    return view && topicOf(view);
  },
  byId: (topicId) => {
    const view = topicsById.get(topicId);
    return view && topicOf(view);
  },
  *all() {
    for (const view of topics.values()) if (!isInternal(view.name)) yield topicOf(view);
  },
});
