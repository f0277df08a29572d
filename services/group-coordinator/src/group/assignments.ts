/**
 * Who may own which partition of a group, who should, and who is still to be told.
 *
 * A partition has at most one owner: from the moment when it is given until its owner has reported
 * without it, or has left. What is taken from a member therefore stays with it for a while, and
 * goes to the next one at that moment, without anybody else being asked (KIP-848).
 */
import { assert } from "@millrace/errors";
import type { TopicId } from "@millrace/record";
import type { Member } from "./member.ts";
import type { Offsets } from "./offsets.ts";
import { PartitionMap, PartitionSet } from "./partition-map.ts";
import type { AssignmentValue, Changes, MemberId, Now } from "./types.ts";

/** What each member should have. */
export type Target = ReadonlyMap<MemberId, PartitionSet>;

const nothing = new PartitionSet();

export class Assignments {
  readonly #group: string;
  readonly #members: ReadonlyMap<MemberId, Member>;
  readonly #owners = new PartitionMap<Member>();
  #target = new Map<MemberId, PartitionSet>();
  #targetEpoch = 0;
  /** Who should have a partition. */
  readonly #targetOwners = new PartitionMap<Member>();
  /** Members whose record changed in the present command, and those to be told. */
  readonly #changed = new Set<Member>();
  readonly #untold = new Set<Member>();
  /** Of a log that is being replayed, in its order. */
  readonly #replayed = new Map<MemberId, AssignmentValue>();

  constructor(group: string, members: ReadonlyMap<MemberId, Member>) {
    this.#group = group;
    this.#members = members;
  }

  get targetEpoch(): number {
    return this.#targetEpoch;
  }

  ownerOf(topicId: TopicId, partition: number): Member | undefined {
    return this.#owners.get(topicId, partition);
  }

  /** What a member should have; undefined before the first target that knows it. */
  targetOf(memberId: MemberId): PartitionSet | undefined {
    return this.#target.get(memberId);
  }

  /** Every member has what it should have. */
  get isReconciled(): boolean {
    for (const member of this.#members.values()) {
      const target = this.#target.get(member.id) ?? nothing;
      if (!member.settled || member.assigned.size !== target.size) return false;
      for (const [topicId, partition] of target) {
        if (!member.assigned.has(topicId, partition)) return false;
      }
    }
    return true;
  }

  /**
   * Each member gives back what it should not have, and gets what nobody owns. A member that the
   * target does not know joined after it was made: it waits for the next one.
   */
  take(epoch: number, target: Target, now: Now): void {
    assert(epoch > this.#targetEpoch, "target epochs rise");
    this.#target = new Map(target);
    this.#targetEpoch = epoch;
    this.#targetOwners.clear();
    for (const [memberId, partitions] of target) {
      const member = this.#members.get(memberId);
      if (member === undefined) continue;
      for (const [topicId, partition] of partitions)
        this.#targetOwners.set(topicId, partition, member);
      this.#takeBack(member, partitions, now);
    }
    for (const [topicId, partition] of this.#targetOwners) this.#giveIfFree(topicId, partition);
  }

  /** A member has given back a partition. */
  release(member: Member, topicId: TopicId, partition: number): void {
    member.released(topicId, partition);
    this.#changed.add(member);
    this.#free(topicId, partition);
  }

  /** Nothing of what was taken from a member is left to it. */
  releaseRevoking(member: Member): void {
    for (const [topicId, partition] of [...member.revoking])
      this.release(member, topicId, partition);
  }

  /** A member that is gone owns nothing. */
  remove(member: Member): void {
    for (const [topicId, partition] of this.#target.get(member.id) ?? nothing) {
      if (this.#targetOwners.get(topicId, partition) === member)
        this.#targetOwners.delete(topicId, partition);
    }
    this.#target.delete(member.id);
    for (const partitions of [[...member.assigned], [...member.revoking]]) {
      for (const [topicId, partition] of partitions) this.#free(topicId, partition);
    }
  }

  /** A static member under a new id has what its predecessor had. */
  succeed(predecessor: Member, member: Member): void {
    this.releaseRevoking(predecessor);
    member.epoch = predecessor.epoch;
    for (const [topicId, partition] of predecessor.assigned) {
      member.give(topicId, partition);
      this.#owners.set(topicId, partition, member);
    }
    const target = this.#target.get(predecessor.id);
    this.#target.delete(predecessor.id);
    if (target !== undefined) this.#target.set(member.id, target);
    for (const [topicId, partition] of target ?? nothing)
      this.#targetOwners.set(topicId, partition, member);
    this.#changed.add(member);
  }

  /** The record of a member changed. */
  changed(member: Member): void {
    this.#changed.add(member);
  }

  /** A member is to be told what it has, whether or not that changed. */
  tell(member: Member): void {
    this.#untold.add(member);
  }

  /** Takes over a record of the log; `loaded` ends it. */
  replay(memberId: MemberId, value: AssignmentValue | undefined): void {
    this.#replayed.delete(memberId);
    if (value !== undefined) this.#replayed.set(memberId, value);
  }

  /**
   * All is replayed. The target is not remembered: it is made anew, and sticks to what members
   * have. Where two have a partition, the later record was written once the earlier member had
   * given it back, and the batch with the record that said so was not.
   */
  loaded(targetEpoch: number): void {
    for (const [memberId, value] of this.#replayed) {
      const member = this.#members.get(memberId);
      if (member === undefined) continue;
      member.restore(value);
      for (const partitions of [value.assigned, value.revoking]) {
        for (const [topicId, partition] of partitions) {
          this.#owners.get(topicId, partition)?.released(topicId, partition);
          this.#owners.set(topicId, partition, member);
        }
      }
    }
    this.#replayed.clear();
    this.#targetEpoch = targetEpoch;
  }

  /** Records what changed, and tells the members concerned. */
  finish(offsets: Offsets, changes: Changes): void {
    for (const member of this.#untold) {
      if (this.#isMember(member)) this.#push(member, offsets, changes);
    }
    this.#untold.clear();
    for (const member of this.#changed) {
      if (!this.#isMember(member)) continue;
      const { id: memberId } = member;
      const value = member.value();
      changes.records.push({ kind: "assignment", group: this.#group, memberId, value });
    }
    this.#changed.clear();
  }

  #isMember(member: Member): boolean {
    return this.#members.get(member.id) === member;
  }

  #takeBack(member: Member, target: PartitionSet, now: Now): void {
    for (const [topicId, partition] of [...member.assigned]) {
      if (target.has(topicId, partition)) continue;
      member.revoke(topicId, partition, now.monoMs);
      this.#reassigned(member);
    }
  }

  #free(topicId: TopicId, partition: number): void {
    this.#owners.delete(topicId, partition);
    this.#giveIfFree(topicId, partition);
  }

  /** Gives a partition to the member that should have it, if nobody may own it. */
  #giveIfFree(topicId: TopicId, partition: number): void {
    const member = this.#targetOwners.get(topicId, partition);
    if (member === undefined || this.#owners.has(topicId, partition)) return;
    member.give(topicId, partition);
    this.#owners.set(topicId, partition, member);
    this.#reassigned(member);
  }

  #reassigned(member: Member): void {
    member.epoch = this.#targetEpoch;
    this.#changed.add(member);
    this.#untold.add(member);
  }

  #push(member: Member, offsets: Offsets, changes: Changes): void {
    const { id: memberId, session } = member;
    if (session === undefined) return;
    const { revision, unpositioned } = member.assign();
    const positions = [...unpositioned].map(([topicId, partition]) => ({
      ...{ topicId, partition },
      committed: offsets.get(topicId, partition),
    }));
    const assigned = member.assigned.copy();
    changes.pushes.push({
      ...{ kind: "assignment", memberId, session, revision },
      ...{ memberEpoch: member.epoch, assigned, positions },
    });
  }
}
