/**
 * What `desired` says, round after round, from the partitions that something has touched since the
 * last look. All others were looked at and left as they were, and nothing that they depend on has
 * changed since. A look at everything begins a reign, and comes with every balance of leaders.
 */
import { BrokerIntent } from "@millrace/proto/common";
import type { TopicId } from "@millrace/record";
import type { ClusterState, PartitionState, StateListener, StateMirror } from "./cluster-state.ts";
import { type Change, desired } from "./desired.ts";
import { brokersWith } from "./drain.ts";

type Looked = Iterable<readonly [string, PartitionState]>;

export class Decisions implements StateListener {
  readonly #state: Pick<StateMirror, "current">;
  readonly #epoch: number;
  readonly #stopListening: () => void;
  #everything = true;
  readonly #partitions = new Set<string>();
  readonly #topics = new Set<TopicId>();
  readonly #brokers = new Set<number>();

  /** Of the active controller of this epoch. */
  constructor(state: Pick<StateMirror, "current" | "onTouch">, epoch: number) {
    this.#state = state;
    this.#epoch = epoch;
    this.#stopListening = state.onTouch(this);
  }

  /**
   * The changes that `desired` wants. Each partition that it names is looked at again: its change
   * may meet a conflict, or a store that fails.
   */
  next(balances: boolean): Change[] {
    const { current } = this.#state;
    // What is touched stays so until something can be decided.
    if (current.revision < this.#epoch) return [];
    if (balances) this.#everything = true;
    const changes = desired(current, this.#epoch, balances, this.#looked(current));
    this.#everything = false;
    for (const touched of [this.#partitions, this.#topics, this.#brokers]) touched.clear();
    for (const { key } of changes) this.#partitions.add(key);
    return changes;
  }

  close(): void {
    this.#stopListening();
  }

  /** Of `StateListener`. */
  partition(key: string): void {
    this.#partitions.add(key);
  }

  /** Of `StateListener`. */
  topic(id: TopicId): void {
    this.#topics.add(id);
  }

  /** Of `StateListener`. */
  broker(brokerId: number): void {
    this.#brokers.add(brokerId);
  }

  /** Of `StateListener`. */
  everything(): void {
    this.#everything = true;
  }

  #looked(state: ClusterState): Looked {
    const { partitions } = state;
    // A drain is planned from where all replicas are.
    const isDraining = brokersWith(state, BrokerIntent.DRAINING).size > 0;
    if (this.#everything || isDraining) return partitions;
    // A pass over all of them costs far less than a look at each.
    if (this.#topics.size + this.#brokers.size > 0) {
      return [...partitions].filter(([key, one]) => this.#isTouched(key, one));
    }
    return [...this.#partitions].flatMap((key) => {
      const one = partitions.get(key);
      return one === undefined ? [] : [[key, one] as const];
    });
  }

  #isTouched(key: string, { record, topicId }: PartitionState): boolean {
    return (
      this.#partitions.has(key) ||
      this.#topics.has(topicId) ||
      record.replicas.some((id) => this.#brokers.has(id))
    );
  }
}
