/** Collections by topic id and partition. */
import type { TopicId } from "@millrace/record";

/** A value for each of some partitions. */
export class PartitionMap<Value> {
  readonly #topics = new Map<TopicId, Map<number, Value>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(topicId: TopicId, partition: number): Value | undefined {
    return this.#topics.get(topicId)?.get(partition);
  }

  has(topicId: TopicId, partition: number): boolean {
    return this.#topics.get(topicId)?.has(partition) === true;
  }

  set(topicId: TopicId, partition: number, value: Value): void {
    let topic = this.#topics.get(topicId);
    if (topic === undefined) {
      topic = new Map();
      this.#topics.set(topicId, topic);
    }
    if (!topic.has(partition)) this.#size += 1;
    topic.set(partition, value);
  }

  /** Returns whether there was a value. */
  delete(topicId: TopicId, partition: number): boolean {
    const topic = this.#topics.get(topicId);
    if (topic?.delete(partition) !== true) return false;
    this.#size -= 1;
    if (topic.size === 0) this.#topics.delete(topicId);
    return true;
  }

  clear(): void {
    this.#topics.clear();
    this.#size = 0;
  }

  /** Entries may be deleted while they are visited. */
  *[Symbol.iterator](): Generator<readonly [TopicId, number, Value], void, undefined> {
    for (const [topicId, topic] of this.#topics) {
      for (const [partition, value] of topic) yield [topicId, partition, value];
    }
  }

  /** Topics with a value for some partition. */
  topicIds(): Iterable<TopicId> {
    return this.#topics.keys();
  }

  /** By topic id, each with its partitions, all rising. */
  sorted(): readonly (readonly [TopicId, readonly number[]])[] {
    return [...this.#topics]
      .map(([topicId, topic]) => [topicId, [...topic.keys()].sort((a, b) => a - b)] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1));
  }
}

/** Some partitions. */
export class PartitionSet extends PartitionMap<true> {
  static of(topics: Iterable<readonly [TopicId, Iterable<number>]>): PartitionSet {
    const set = new PartitionSet();
    for (const [topicId, partitions] of topics) {
      for (const partition of partitions) set.add(topicId, partition);
    }
    return set;
  }

  add(topicId: TopicId, partition: number): void {
    this.set(topicId, partition, true);
  }

  copy(): PartitionSet {
    const copy = new PartitionSet();
    for (const [topicId, partition] of this) copy.add(topicId, partition);
    return copy;
  }
}
