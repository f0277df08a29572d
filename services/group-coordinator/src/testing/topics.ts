/** Topics of a test. */
import { type TopicId, topicIdOf } from "@millrace/record";
import type { Topic, Topics } from "../group/types.ts";

export const topicIdAt = (index: number): TopicId => topicIdOf(new Uint8Array(16).fill(index + 1));

export const topicsOf = (topics: readonly Topic[]): Topics => ({
  byName: (name) => topics.find((topic) => topic.name === name),
  byId: (topicId) => topics.find((topic) => topic.topicId === topicId),
  all: () => topics,
});
