/**
 * What clients do with topics and partitions, for the metrics page. Every partition has an object
 * whose numbers are added to; a scrape makes series of them.
 *
 * The number of topics with a label of their own is bounded; the others share one series. Topics
 * get labels in the order in which the broker takes them up, at a start the oldest first, and keep
 * them until they leave the broker: then the next topic gets the label. Labels for the largest
 * topics would change all the time, and each change begins a new series in the scraper's database.
 */
import type { LogManager } from "@millrace/log";
import type { TopicId } from "@millrace/record";

/** Label value of everything that has no label of its own. */
export const otherLabel = "other";

/** Counts what clients do with a partition. Called on the hot path. */
export interface PartitionMeter {
  /** A batch was accepted by the log. */
  onAppend(records: number, bytes: number): void;
  /** Batches were sent to a client. */
  onFetch(records: number, bytes: number): void;
  /** A request or cursor failed. */
  onError(): void;
  /** The partition is none of this broker any more. */
  close(): void;
}

/** For a process that counts nothing. */
export const noMeter: PartitionMeter = {
  onAppend() {},
  onFetch() {},
  onError() {},
  close() {},
};

/** Totals since the series began. */
export class Totals {
  producedRecords = 0;
  producedBytes = 0;
  fetchedRecords = 0;
  fetchedBytes = 0;
  errors = 0;
  /** Of the logs, as of the last scrape. */
  sizeBytes = 0;
}

/** A series, or the part of one that a topic or partition adds. */
export interface Series {
  readonly topic: string;
  /** Undefined for a series of a topic. */
  readonly partition: string | undefined;
  readonly totals: Totals;
}

/** The first ones have totals of their own; the others share theirs until one of these is gone. */
class Ranks<M extends { totals: Totals }> {
  readonly shared = new Totals();
  readonly ranked = new Set<M>();
  readonly #waiting = new Set<M>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  add(member: M): void {
    if (this.ranked.size >= this.#max) this.#waiting.add(member);
    else this.#rank(member);
  }

  delete(member: M): void {
    if (this.#waiting.delete(member) || !this.ranked.delete(member)) return;
    const [next] = this.#waiting;
    if (next === undefined) return;
    this.#waiting.delete(next);
    this.#rank(next);
  }

  #rank(member: M): void {
    // From zero: what it has counted stays where it was, because totals never fall.
    member.totals = new Totals();
    this.ranked.add(member);
  }
}

interface Topic {
  readonly id: TopicId;
  readonly name: string;
  totals: Totals;
  readonly partitions: Map<number, Partition>;
}

class Partition implements PartitionMeter {
  readonly topic: Topic;
  readonly index: number;
  totals: Totals;
  readonly #closed: (partition: Partition) => void;

  constructor(topic: Topic, index: number, totals: Totals, closed: (partition: Partition) => void) {
    this.topic = topic;
    this.index = index;
    this.totals = totals;
    this.#closed = closed;
  }

  onAppend(records: number, bytes: number): void {
    const { topic, totals } = this;
    topic.totals.producedRecords += records;
    topic.totals.producedBytes += bytes;
    totals.producedRecords += records;
    totals.producedBytes += bytes;
  }

  onFetch(records: number, bytes: number): void {
    const { topic, totals } = this;
    topic.totals.fetchedRecords += records;
    topic.totals.fetchedBytes += bytes;
    totals.fetchedRecords += records;
    totals.fetchedBytes += bytes;
  }

  onError(): void {
    this.topic.totals.errors += 1;
    this.totals.errors += 1;
  }

  close(): void {
    this.#closed(this);
  }
}

export interface TopicMetersOptions {
  /** Topics with a label of their own. */
  readonly topicsMax: number;
  /** Partitions with labels of their own; 0: there are no series of partitions. */
  readonly partitionsMax: number;
}

/** The meters of all partitions of a broker. */
export class TopicMeters {
  readonly #partitionsMax: number;
  readonly #topics = new Map<TopicId, Topic>();
  readonly #topicRanks: Ranks<Topic>;
  readonly #partitionRanks: Ranks<Partition>;
  readonly #close = (partition: Partition): void => this.#closed(partition);

  constructor({ topicsMax, partitionsMax }: TopicMetersOptions) {
    this.#partitionsMax = partitionsMax;
    this.#topicRanks = new Ranks(topicsMax);
    this.#partitionRanks = new Ranks(partitionsMax);
  }

  /** The broker takes up a partition. */
  open(topicId: TopicId, name: string, index: number): PartitionMeter {
    const topic = this.#topics.get(topicId) ?? this.#addTopic(topicId, name);
    const made = new Partition(topic, index, this.#partitionRanks.shared, this.#close);
    topic.partitions.set(index, made);
    if (this.#partitionsMax > 0 && name !== otherLabel) this.#partitionRanks.add(made);
    return made;
  }

  /** Series of topics; sizes are those of the last `measure`. */
  *topics(): Iterable<Series> {
    const { ranked, shared } = this.#topicRanks;
    for (const { name, totals } of ranked) yield { topic: name, partition: undefined, totals };
    yield { topic: otherLabel, partition: undefined, totals: shared };
  }

  /** Series of partitions, where there are any. */
  *partitions(): Iterable<Series> {
    if (this.#partitionsMax === 0) return;
    const { ranked, shared } = this.#partitionRanks;
    for (const { topic, index, totals } of ranked) {
      yield { topic: topic.name, partition: String(index), totals };
    }
    yield { topic: otherLabel, partition: otherLabel, totals: shared };
  }

  /** Reads the sizes of the logs. */
  measure(logs: Pick<LogManager, "partitions">): void {
    const [topics, partitions] = [this.#topicRanks.shared, this.#partitionRanks.shared];
    for (const { totals } of this.topics()) totals.sizeBytes = 0;
    for (const { totals } of this.partitions()) totals.sizeBytes = 0;
    for (const { partition: index, sizeBytes, topicId } of logs.partitions()) {
      const topic = this.#topics.get(topicId);
      (topic?.totals ?? topics).sizeBytes += sizeBytes;
      (topic?.partitions.get(index)?.totals ?? partitions).sizeBytes += sizeBytes;
    }
  }

  #addTopic(id: TopicId, name: string): Topic {
    const { shared } = this.#topicRanks;
    const topic: Topic = { id, name, totals: shared, partitions: new Map() };
    this.#topics.set(id, topic);
    // A topic of that name could not be told from the others.
    if (name !== otherLabel) this.#topicRanks.add(topic);
    return topic;
  }

  #closed(partition: Partition): void {
    const { topic, index } = partition;
    if (topic.partitions.get(index) !== partition) return;
    topic.partitions.delete(index);
    this.#partitionRanks.delete(partition);
    if (topic.partitions.size > 0) return;
    this.#topics.delete(topic.id);
    this.#topicRanks.delete(topic);
  }
}
