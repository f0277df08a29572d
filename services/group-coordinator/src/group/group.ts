/**
 * One consumer group: who its members are, what they may own, and what is committed.
 *
 * A pure state machine with the model of KIP-848. Each command changes the memory at once, and
 * leaves in `Changes` the records that make the change durable, and what members are to be told
 * after it. Commands that throw change nothing.
 */
import { assert, ErrorCode, MillraceError, must } from "@millrace/errors";
import type { TopicId } from "@millrace/record";
import { Assignments, type Target } from "./assignments.ts";
import { Member } from "./member.ts";
import { Offsets } from "./offsets.ts";
import { PartitionSet } from "./partition-map.ts";
import { Subscribed } from "./subscribed.ts";
import type {
  AssignorName,
  Changes,
  GroupLimits,
  MemberId,
  Now,
  OffsetToCommit,
  RefusedOffset,
  Session,
  StateRecord,
  Subscription,
  Topics,
} from "./types.ts";

/** What a member of a stream that opens says. */
export interface Joining {
  /** Of a member that comes back; otherwise a new one that nobody else has. */
  readonly memberId: MemberId;
  readonly session: Session;
  readonly subscription: Subscription;
  /** Of a member that comes back. */
  readonly returning: { readonly memberEpoch: number; readonly owned: PartitionSet } | undefined;
}

export type GroupState = "empty" | "reconciling" | "stable";

const nothing = new PartitionSet();

const refused = (code: ErrorCode, message: string): MillraceError =>
  MillraceError.refusal(code, message);

export class Group {
  readonly name: string;
  readonly offsets: Offsets;
  readonly #limits: GroupLimits;
  readonly #members = new Map<MemberId, Member>();
  /** Static members by their names. */
  readonly #instances = new Map<string, MemberId>();
  readonly #assignments: Assignments;
  readonly #subscribed = new Subscribed();
  /** As of the present version of the metadata. */
  readonly #topicsNow: () => Topics;
  #groupEpoch = 0;
  #emptySinceMs = 0;
  /** No member has to be expelled before, monotonic milliseconds. */
  #quietUntilMs = Number.MAX_VALUE;

  constructor(name: string, limits: GroupLimits, topicsNow: () => Topics) {
    this.name = name;
    this.#limits = limits;
    this.#topicsNow = topicsNow;
    this.offsets = new Offsets(name, limits);
    this.#assignments = new Assignments(name, this.#members);
  }

  get #topics(): Topics {
    return this.#topicsNow();
  }

  get groupEpoch(): number {
    return this.#groupEpoch;
  }

  get targetEpoch(): number {
    return this.#assignments.targetEpoch;
  }

  get members(): ReadonlyMap<MemberId, Member> {
    return this.#members;
  }

  get emptySinceMs(): number {
    return this.#emptySinceMs;
  }

  /** A target assignment for the present members and topics is due: see `takeTarget`. */
  get needsTarget(): boolean {
    return this.#groupEpoch > this.targetEpoch;
  }

  get state(): GroupState {
    if (this.#members.size === 0) return "empty";
    return this.needsTarget || !this.#assignments.isReconciled ? "reconciling" : "stable";
  }

  /** `tick` has nothing to do before, monotonic milliseconds. */
  get quietUntilMs(): number {
    return this.#quietUntilMs;
  }

  /** The assignor that most members ask for; `uniform` unless there are more for `range`. */
  get assignor(): AssignorName {
    let range = 0;
    for (const { subscription } of this.#members.values()) {
      if (subscription.assignor === "range") range += 1;
      else if (subscription.assignor === "uniform") range -= 1;
    }
    return range > 0 ? "range" : "uniform";
  }

  ownerOf(topicId: TopicId, partition: number): MemberId | undefined {
    return this.#assignments.ownerOf(topicId, partition)?.id;
  }

  /** What a member should have; undefined before the first target that knows it. */
  targetOf(memberId: MemberId): PartitionSet | undefined {
    return this.#assignments.targetOf(memberId);
  }

  /** Topics that a member is to read, as the metadata has them. */
  topicsOf(member: Member): ReadonlySet<TopicId> {
    return this.#subscribed.of(member.subscription, this.#topics);
  }

  /**
   * A member joins, or comes back. Throws GROUP_MAX_SIZE_REACHED, UNKNOWN_MEMBER_ID,
   * FENCED_MEMBER_EPOCH, FENCED_INSTANCE_ID, UNRELEASED_INSTANCE_ID; nothing is changed then.
   */
  join(joining: Joining, now: Now, changes: Changes): void {
    if (joining.returning !== undefined) this.#comeBack(joining, joining.returning, now, changes);
    else this.#joinAnew(joining, now, changes);
    this.#finish(changes);
  }

  /** A member was heard. Throws UNKNOWN_MEMBER_ID for a stream that was replaced, or ended. */
  heard(memberId: MemberId, session: Session, now: Now): void {
    this.#present(memberId, session).heard(now.monoMs);
  }

  /**
   * A member says what it owns, having applied the assignment `revision`. Throws
   * UNKNOWN_MEMBER_ID; FENCED_MEMBER_EPOCH when it owns what it was not given: it is expelled.
   */
  report(
    memberId: MemberId,
    session: Session,
    report: { readonly revision: number; readonly owned: PartitionSet },
    now: Now,
    changes: Changes,
  ): void {
    const member = this.#present(memberId, session);
    member.heard(now.monoMs);
    const tooNew = report.revision > member.revision;
    if (tooNew || !this.#mayOwnAll(member, report.owned)) {
      this.#expel(member, "the member owns what it was not given: join anew", now, changes);
    } else {
      for (const [topicId, partition] of [...member.givenBack(report.revision, report.owned)])
        this.#assignments.release(member, topicId, partition);
      if (member.applied(report.revision)) this.#assignments.changed(member);
    }
    this.#finish(changes);
  }

  /** Commits offsets of a member. Returns what was refused. Throws UNKNOWN_MEMBER_ID. */
  commit(
    memberId: MemberId,
    session: Session,
    offsets: readonly OffsetToCommit[],
    now: Now,
    changes: Changes,
  ): RefusedOffset[] {
    const member = this.#present(memberId, session);
    member.heard(now.monoMs);
    const check = ({ topicId, partition }: OffsetToCommit) => {
      if (!member.mayOwn(topicId, partition)) {
        const message = "the partition is not the member's: stop reading it";
        return { code: ErrorCode.PARTITION_NOT_ASSIGNED, message };
      }
      if (!member.isResetting(topicId, partition)) return undefined;
      const message = "the position was reset: go on where the assignment says";
      return { code: ErrorCode.POSITION_RESET, message };
    };
    return this.offsets.commit(offsets, { topics: this.#topics, check }, now, changes);
  }

  /** Commits offsets for nobody. Throws NON_EMPTY_GROUP. */
  commitFromOutside(
    offsets: readonly OffsetToCommit[],
    now: Now,
    changes: Changes,
  ): RefusedOffset[] {
    this.#refuseMembers("commit as one of them, or reset the offsets");
    const check = () => undefined;
    return this.offsets.commit(offsets, { topics: this.#topics, check }, now, changes);
  }

  /** Sets offsets, also of partitions that a member owns: it is told to go on there. */
  reset(offsets: readonly OffsetToCommit[], now: Now, changes: Changes): RefusedOffset[] {
    const check = () => undefined;
    const all = this.offsets.commit(offsets, { topics: this.#topics, check }, now, changes);
    const refusedOnes = new PartitionSet();
    for (const { topicId, partition } of all) refusedOnes.add(topicId, partition);
    for (const { topicId, partition } of offsets) {
      const owner = this.#assignments.ownerOf(topicId, partition);
      if (refusedOnes.has(topicId, partition) || owner === undefined) continue;
      owner.reset(topicId, partition);
      this.#assignments.changed(owner);
      this.#assignments.tell(owner);
    }
    this.#finish(changes);
    return all;
  }

  /**
   * A member leaves. Temporarily: a static member that comes back within the session timeout finds
   * its partitions as they were. Throws UNKNOWN_MEMBER_ID.
   */
  leave(
    memberId: MemberId,
    session: Session,
    temporary: boolean,
    now: Now,
    changes: Changes,
  ): void {
    const member = this.#present(memberId, session);
    if (temporary && member.subscription.instanceId !== undefined) {
      this.#assignments.releaseRevoking(member);
      member.disconnected(now.monoMs);
      this.#watch(member);
    } else {
      this.#remove(member, now, changes);
    }
    this.#finish(changes);
  }

  /** The stream of a member broke: it has the session timeout to come back. */
  lost(memberId: MemberId, session: Session, now: Now): void {
    const member = this.#members.get(memberId);
    if (member === undefined || member.session !== session) return;
    member.disconnected(now.monoMs);
    this.#watch(member);
  }

  /** Expels members that are silent, or do not give back what was taken. */
  tick(now: Now, changes: Changes): void {
    if (now.monoMs < this.#quietUntilMs) return;
    this.#quietUntilMs = Number.MAX_VALUE;
    for (const member of [...this.#members.values()]) {
      if (member.deadlineMs > now.monoMs) {
        this.#watch(member);
        continue;
      }
      this.#expel(member, "the member was silent or kept its partitions: join anew", now, changes);
    }
    this.#finish(changes);
  }

  /** The metadata changed: an epoch begins if the topics that members read did. */
  topicsChanged(topicsBefore: Topics, changes: Changes): void {
    const before = this.#subscribed.partitions(this.#subscriptions(), topicsBefore);
    this.#subscribed.forget();
    const after = this.#subscribed.partitions(this.#subscriptions(), this.#topics);
    const same =
      before.size === after.size && [...before].every(([topicId, n]) => after.get(topicId) === n);
    if (!same) this.#begin(changes);
  }

  /**
   * Takes a target assignment that was made for `epoch`; members and topics may have changed since.
   */
  takeTarget(epoch: number, target: Target, now: Now, changes: Changes): void {
    assert(epoch <= this.#groupEpoch, "a target is of an epoch that has begun");
    this.#assignments.take(epoch, target, now);
    for (const member of this.#members.values()) this.#watch(member);
    this.#finish(changes);
  }

  /**
   * Forgets offsets that nobody has committed for the retention time: of topics that no member
   * reads, or all, once the group has been empty for as long. Returns whether the group is gone.
   */
  expire(now: Now, changes: Changes): boolean {
    const beforeMs = now.wallMs - this.#limits.offsetsRetentionMs;
    const read = this.#subscribed.partitions(this.#subscriptions(), this.#topics);
    if (this.#members.size > 0 || this.#emptySinceMs < beforeMs)
      this.offsets.expire(beforeMs, (topicId) => read.has(topicId), changes);
    const isGone =
      this.#members.size === 0 && this.offsets.size === 0 && this.#emptySinceMs < beforeMs;
    if (isGone) changes.records.push({ kind: "group", group: this.name, value: undefined });
    return isGone;
  }

  /** Deletes the group with its offsets. Throws NON_EMPTY_GROUP. */
  delete(changes: Changes): void {
    this.#refuseMembers("end them first");
    this.offsets.deleteAll(changes);
    changes.records.push({ kind: "group", group: this.name, value: undefined });
  }

  /** Takes over a record of the log. */
  replay(record: StateRecord): void {
    if (record.kind === "group") {
      this.#groupEpoch = record.value?.groupEpoch ?? 0;
      this.#emptySinceMs = record.value?.emptySinceMs ?? 0;
    } else if (record.kind === "offset") {
      this.offsets.replay(record);
    } else if (record.kind === "member") {
      this.#replayMember(record.memberId, record.value);
    } else {
      this.#assignments.replay(record.memberId, record.value);
    }
  }

  /** All records are replayed: who owns what follows from them, and every member is waited for. */
  loaded(now: Now): void {
    this.#assignments.loaded(Math.max(0, this.#groupEpoch - 1));
    for (const member of this.#members.values()) {
      member.heard(now.monoMs);
      this.#watch(member);
    }
  }

  #replayMember(memberId: MemberId, subscription: Subscription | undefined): void {
    const before = this.#members.get(memberId);
    const instanceId = before?.subscription.instanceId;
    if (instanceId !== undefined && this.#instances.get(instanceId) === memberId)
      this.#instances.delete(instanceId);
    if (subscription === undefined) {
      this.#members.delete(memberId);
      return;
    }
    if (subscription.instanceId !== undefined)
      this.#instances.set(subscription.instanceId, memberId);
    if (before !== undefined) before.subscription = subscription;
    else this.#members.set(memberId, new Member(memberId, subscription));
  }

  #comeBack(
    { memberId, session, subscription }: Joining,
    { memberEpoch, owned }: { memberEpoch: number; owned: PartitionSet },
    now: Now,
    changes: Changes,
  ): void {
    const member = this.#members.get(memberId);
    const { instanceId } = subscription;
    if (member === undefined) {
      if (instanceId !== undefined && this.#instances.has(instanceId))
        throw refused(ErrorCode.FENCED_INSTANCE_ID, `${instanceId} is another process now: end`);
      const message = `the group has no member ${memberId}: join anew, without a member id`;
      throw refused(ErrorCode.UNKNOWN_MEMBER_ID, message);
    }
    if (memberEpoch > member.epoch || !this.#mayOwnAll(member, owned)) {
      const message = "the member owns what it was not given: drop it, and join anew";
      throw refused(ErrorCode.FENCED_MEMBER_EPOCH, message);
    }
    if (instanceId !== member.subscription.instanceId) {
      const message = "a member keeps the instance id that it joined with";
      throw refused(ErrorCode.INVALID_REQUEST, message);
    }
    this.#endSession(member, changes);
    for (const [topicId, partition] of [...member.revoking]) {
      if (!owned.has(topicId, partition)) this.#assignments.release(member, topicId, partition);
    }
    member.connected(session, owned, now.monoMs);
    this.#assignments.tell(member);
    this.#subscribe(member, subscription, changes);
  }

  #joinAnew({ memberId, session, subscription }: Joining, now: Now, changes: Changes): void {
    assert(!this.#members.has(memberId), "a new member has a new id");
    const { instanceId } = subscription;
    const before = instanceId === undefined ? undefined : this.#instances.get(instanceId);
    if (before !== undefined) {
      const predecessor = must(this.#members.get(before), "member of an instance");
      if (predecessor.session !== undefined) {
        const message = `a member ${instanceId} is connected: end it, or use another instance id`;
        throw refused(ErrorCode.UNRELEASED_INSTANCE_ID, message);
      }
      this.#succeed(predecessor, memberId, changes);
    } else if (this.#members.size >= this.#limits.membersMax) {
      const message = `the group has ${this.#members.size} members, which is the most`;
      throw refused(ErrorCode.GROUP_MAX_SIZE_REACHED, message);
    }
    const successor = this.#members.get(memberId);
    const member = successor ?? new Member(memberId, subscription);
    this.#members.set(memberId, member);
    if (instanceId !== undefined) this.#instances.set(instanceId, memberId);
    member.connected(session, nothing, now.monoMs);
    this.#watch(member);
    this.#assignments.tell(member);
    if (successor !== undefined) {
      this.#subscribe(member, subscription, changes);
    } else {
      this.#emptySinceMs = 0;
      this.#record(member, changes);
      this.#begin(changes);
    }
  }

  /** A static member under a new id: its partitions are its predecessor's. */
  #succeed(predecessor: Member, memberId: MemberId, changes: Changes): void {
    const member = new Member(memberId, predecessor.subscription);
    this.#assignments.succeed(predecessor, member);
    this.#forget(predecessor, changes);
    this.#members.set(memberId, member);
    // A target that is being made does not know the new id.
    if (this.needsTarget) this.#begin(changes);
  }

  /** A member says what it wants to read; the group begins an epoch when that is something else. */
  #subscribe(member: Member, subscription: Subscription, changes: Changes): void {
    const before = this.topicsOf(member);
    const assignor = this.assignor;
    const rackId = member.subscription.rackId;
    member.subscription = subscription;
    this.#record(member, changes);
    const after = this.topicsOf(member);
    const same = before.size === after.size && [...before].every((topicId) => after.has(topicId));
    if (!same || assignor !== this.assignor || rackId !== subscription.rackId) this.#begin(changes);
  }

  /** Members, subscriptions or topics changed: a target is due. */
  #begin(changes: Changes): void {
    this.#groupEpoch += 1;
    const value = { groupEpoch: this.#groupEpoch, emptySinceMs: this.#emptySinceMs };
    changes.records.push({ kind: "group", group: this.name, value });
  }

  #record({ id, subscription }: Member, changes: Changes): void {
    const { name: group } = this;
    changes.records.push({ kind: "member", group, memberId: id, value: subscription });
  }

  *#subscriptions(): Generator<Subscription, void, undefined> {
    for (const { subscription } of this.#members.values()) yield subscription;
  }

  /** The member may have to be expelled at its deadline. */
  #watch(member: Member): void {
    this.#quietUntilMs = Math.min(this.#quietUntilMs, member.deadlineMs);
  }

  /** The member of a stream. */
  #present(memberId: MemberId, session: Session): Member {
    const member = this.#members.get(memberId);
    if (member?.session === session) return member;
    throw refused(ErrorCode.UNKNOWN_MEMBER_ID, "the member has left, or has another stream now");
  }

  #refuseMembers(whatToDo: string): void {
    const { size } = this.#members;
    if (size === 0) return;
    const has = size === 1 ? "1 member" : `${size} members`;
    const message = `the group ${this.name} has ${has}: ${whatToDo}`;
    throw refused(ErrorCode.NON_EMPTY_GROUP, message);
  }

  #mayOwnAll(member: Member, owned: PartitionSet): boolean {
    for (const [topicId, partition] of owned) {
      if (!member.mayOwn(topicId, partition)) return false;
    }
    return true;
  }

  #expel(member: Member, message: string, now: Now, changes: Changes): void {
    const { id: memberId, session } = member;
    changes.expelled += 1;
    if (session !== undefined) {
      const code = ErrorCode.FENCED_MEMBER_EPOCH;
      changes.pushes.push({ kind: "end", memberId, session, code, message });
    }
    this.#remove(member, now, changes);
  }

  /** A stream of the member is open, and another one takes its place. */
  #endSession({ id: memberId, session }: Member, changes: Changes): void {
    if (session === undefined) return;
    const code = ErrorCode.UNKNOWN_MEMBER_ID;
    const message = "the member has another stream now";
    changes.pushes.push({ kind: "end", memberId, session, code, message });
  }

  #remove(member: Member, now: Now, changes: Changes): void {
    this.#forget(member, changes);
    if (this.#members.size === 0) this.#emptySinceMs = now.wallMs;
    this.#assignments.remove(member);
    this.#begin(changes);
  }

  #forget({ id: memberId, subscription: { instanceId } }: Member, changes: Changes): void {
    const { name: group } = this;
    this.#members.delete(memberId);
    if (instanceId !== undefined && this.#instances.get(instanceId) === memberId)
      this.#instances.delete(instanceId);
    changes.records.push({ kind: "assignment", group, memberId, value: undefined });
    changes.records.push({ kind: "member", group, memberId, value: undefined });
  }

  /** Records what changed, and tells the members concerned. */
  #finish(changes: Changes): void {
    this.#assignments.finish(this.offsets, changes);
  }
}
