/** The partitions of one topic that the metadata gives to this broker. */
import type { TopicConfig } from "@millrace/config";
import type { TopicId } from "@millrace/record";
import type { PartitionView, TopicView } from "../metadata/view.ts";
import { type HostContext, HostedPartition } from "./hosted-partition.ts";
import type { Replica } from "./replica.ts";

export class HostedTopic {
  readonly id: TopicId;
  readonly #context: HostContext;
  readonly #brokerId: number;
  /** By partition index, with holes where other brokers have the replicas. */
  readonly #partitions: (HostedPartition | undefined)[] = [];
  #configs: TopicView["configs"];
  #config: TopicConfig;

  constructor(context: HostContext, brokerId: number, topic: TopicView, config: TopicConfig) {
    this.#context = context;
    this.#brokerId = brokerId;
    this.id = topic.id;
    this.#configs = topic.configs;
    this.#config = config;
  }

  /** As set on the topic; the same object while nothing changes there. */
  get configs(): TopicView["configs"] {
    return this.#configs;
  }

  get config(): TopicConfig {
    return this.#config;
  }

  partition(index: number): HostedPartition | undefined {
    return this.#partitions[index];
  }

  *partitions(): Iterable<HostedPartition> {
    for (const partition of this.#partitions) if (partition !== undefined) yield partition;
  }

  *replicas(): Iterable<Replica> {
    for (const { replica } of this.partitions()) yield replica;
  }

  /** Takes up a view of the topic. Partitions whose view is the same object are left alone. */
  take(topic: TopicView, config: TopicConfig): void {
    const configChanged = config !== this.#config;
    this.#configs = topic.configs;
    this.#config = config;
    for (let i = topic.partitions.length; i < this.#partitions.length; i += 1) this.#release(i);
    for (const view of topic.partitions) {
      const hosted = this.#partitions[view.partition];
      if (hosted?.replica.view === view && !configChanged) continue;
      this.#takePartition(topic, view, hosted);
    }
  }

  /** The registration of a broker is another one. */
  registrationsChanged(): void {
    for (const partition of this.partitions()) partition.registrationsChanged();
  }

  close(): void {
    for (const partition of this.partitions()) partition.close();
    this.#partitions.length = 0;
  }

  #takePartition(topic: TopicView, view: PartitionView, hosted: HostedPartition | undefined): void {
    if (!view.replicas.includes(this.#brokerId)) this.#release(view.partition);
    else if (hosted !== undefined) hosted.take(view, this.#config);
    else {
      const made = new HostedPartition(this.#context, topic, view, this.#config);
      this.#partitions[view.partition] = made;
    }
  }

  #release(index: number): void {
    this.#partitions[index]?.close();
    this.#partitions[index] = undefined;
  }
}
