/** Which topics the members of a group read, as the metadata has them. */
import type { TopicId } from "@millrace/record";
import type { Subscription, Topics } from "./types.ts";

export class Subscribed {
  /** Patterns are matched once for each version of the metadata. */
  readonly #matching = new Map<string, ReadonlySet<TopicId>>();

  /** The metadata changed. */
  forget(): void {
    this.#matching.clear();
  }

  /** Topics of a subscription that exist. */
  of({ topics: names, pattern }: Subscription, topics: Topics): ReadonlySet<TopicId> {
    const all = new Set<TopicId>();
    for (const name of names) {
      const topic = topics.byName(name);
      if (topic !== undefined) all.add(topic.topicId);
    }
    if (pattern === undefined) return all;
    let matching = this.#matching.get(pattern.text);
    if (matching === undefined) {
      matching = pattern.matching(topics.all());
      this.#matching.set(pattern.text, matching);
    }
    for (const topicId of matching) all.add(topicId);
    return all;
  }

  /** Partitions of each topic that somebody reads. */
  partitions(subscriptions: Iterable<Subscription>, topics: Topics): ReadonlyMap<TopicId, number> {
    const partitions = new Map<TopicId, number>();
    for (const subscription of subscriptions) {
      for (const topicId of this.of(subscription, topics))
        partitions.set(topicId, topics.byId(topicId)?.partitionCount ?? 0);
    }
    return partitions;
  }
}
