/** The topics of a cluster's metadata, as groups see them. */
import type { Topic, Topics } from "../group/types.ts";
import type { ClusterState, TopicInView } from "./view.ts";

/** Topics of the system: no pattern matches them. */
export const isInternal = (name: string): boolean => name.startsWith("__");

const topicOf = ({ id, name, partitions }: TopicInView): Topic => ({
  ...{ topicId: id, name },
  partitionCount: partitions.length,
});

export const topicsIn = ({ topics, topicsById }: ClusterState): Topics => ({
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
