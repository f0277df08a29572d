/** One member of a group: what it asked for, what it may own, and what it has been told. */
import type { TopicId } from "@millrace/record";
import { PartitionMap, PartitionSet } from "./partition-map.ts";
import type { AssignmentValue, MemberId, Session, Subscription } from "./types.ts";

/** Since when a partition is on its way back. */
interface Revoked {
  /** Of the assignment that took it. */
  readonly revision: number;
  /** The member is expelled then, monotonic milliseconds. */
  readonly deadlineMs: number;
}

export class Member {
  readonly id: MemberId;
  subscription: Subscription;
  /** Group epoch of the target that gave or took something last. */
  epoch = 0;
  readonly assigned = new PartitionSet();
  readonly #revoking = new PartitionMap<Revoked>();
  /** Partitions whose position was reset, by the revision that says so. */
  readonly #resetting = new PartitionMap<number>();
  #session: Session | undefined;
  /** Of the latest assignment of the stream. */
  #revision = 0;
  /** Partitions whose position the client has. */
  #positioned = new PartitionSet();
  #silentUntilMs = 0;

  constructor(id: MemberId, subscription: Subscription) {
    this.id = id;
    this.subscription = subscription;
  }

  get session(): Session | undefined {
    return this.#session;
  }

  /** It is expelled then, unless it is heard before. Monotonic milliseconds. */
  get deadlineMs(): number {
    let first = this.#silentUntilMs;
    for (const [, , { deadlineMs }] of this.#revoking) first = Math.min(first, deadlineMs);
    return first;
  }

  get revoking(): Iterable<readonly [TopicId, number, unknown]> {
    return this.#revoking;
  }

  /** Everything that was asked of it is done. */
  get settled(): boolean {
    return this.#revoking.size === 0;
  }

  isResetting(topicId: TopicId, partition: number): boolean {
    return this.#resetting.has(topicId, partition);
  }

  /** It may own the partition: it was given, and was not given back. */
  mayOwn(topicId: TopicId, partition: number): boolean {
    return this.assigned.has(topicId, partition) || this.#revoking.has(topicId, partition);
  }

  heard(monoMs: number): void {
    this.#silentUntilMs = monoMs + this.subscription.sessionTimeoutMs;
  }

  /** A stream of the member opens; its client owns `owned`. The next assignment is the first. */
  connected(session: Session, owned: PartitionSet, monoMs: number): void {
    this.#session = session;
    this.#revision = 0;
    this.#positioned = owned.copy();
    for (const [topicId, partition] of this.#resetting) {
      this.#positioned.delete(topicId, partition);
      this.#resetting.set(topicId, partition, 1);
    }
    for (const [topicId, partition, revoked] of this.#revoking) {
      const latestMs = monoMs + this.subscription.rebalanceTimeoutMs;
      const deadlineMs = Math.min(revoked.deadlineMs, latestMs);
      this.#revoking.set(topicId, partition, { revision: 1, deadlineMs });
    }
    this.heard(monoMs);
  }

  disconnected(monoMs: number): void {
    this.#session = undefined;
    this.heard(monoMs);
  }

  give(topicId: TopicId, partition: number): void {
    this.assigned.add(topicId, partition);
  }

  /** Takes a partition away with the next assignment. */
  revoke(topicId: TopicId, partition: number, monoMs: number): void {
    this.assigned.delete(topicId, partition);
    this.#revoking.set(topicId, partition, {
      revision: this.#revision + 1,
      deadlineMs: monoMs + this.subscription.rebalanceTimeoutMs,
    });
  }

  /** Nothing of the partition is left to the member. */
  released(topicId: TopicId, partition: number): void {
    this.assigned.delete(topicId, partition);
    this.#revoking.delete(topicId, partition);
    this.#resetting.delete(topicId, partition);
    this.#positioned.delete(topicId, partition);
  }

  /** The position was reset: the next assignment says where to go on. */
  reset(topicId: TopicId, partition: number): void {
    this.#positioned.delete(topicId, partition);
    this.#resetting.set(topicId, partition, this.#revision + 1);
  }

  /** What it has given back, by a report on the assignment `revision`. */
  *givenBack(
    revision: number,
    owned: PartitionSet,
  ): Generator<readonly [TopicId, number], void, undefined> {
    for (const [topicId, partition, revoked] of this.#revoking) {
      if (revoked.revision <= revision && !owned.has(topicId, partition))
        yield [topicId, partition];
    }
  }

  /** It has applied the assignment `revision`. Returns whether a reset was waited for. */
  applied(revision: number): boolean {
    let any = false;
    for (const [topicId, partition, since] of this.#resetting) {
      if (since > revision) continue;
      this.#resetting.delete(topicId, partition);
      any = true;
    }
    return any;
  }

  /** The next assignment: its revision, and the partitions whose position the client needs. */
  assign(): { readonly revision: number; readonly unpositioned: PartitionSet } {
    this.#revision += 1;
    const unpositioned = new PartitionSet();
    for (const [topicId, partition] of this.assigned) {
      if (this.#positioned.has(topicId, partition)) continue;
      unpositioned.add(topicId, partition);
      this.#positioned.add(topicId, partition);
    }
    return { revision: this.#revision, unpositioned };
  }

  get revision(): number {
    return this.#revision;
  }

  /** What the log remembers of it. */
  value(): AssignmentValue {
    const revoking = new PartitionSet();
    for (const [topicId, partition] of this.#revoking) revoking.add(topicId, partition);
    const resetting = new PartitionSet();
    for (const [topicId, partition] of this.#resetting) resetting.add(topicId, partition);
    return { memberEpoch: this.epoch, assigned: this.assigned.copy(), revoking, resetting };
  }

  /** Takes over what the log remembers. No stream of it is open. */
  restore({ memberEpoch, assigned, revoking, resetting }: AssignmentValue): void {
    this.epoch = memberEpoch;
    this.assigned.clear();
    this.#revoking.clear();
    this.#resetting.clear();
    for (const [topicId, partition] of assigned) this.assigned.add(topicId, partition);
    for (const [topicId, partition] of revoking)
      this.#revoking.set(topicId, partition, { revision: 1, deadlineMs: Number.MAX_VALUE });
    for (const [topicId, partition] of resetting) this.#resetting.set(topicId, partition, 1);
  }
}
