/**
 * The groups of one partition of the internal topic. A pure state machine over many groups: each
 * command answers with `Changes`, which must be appended in the order of the commands, as a whole,
 * and are told after it. When an append fails, what the memory says may never have been: the shard
 * is thrown away, and loaded from the log again.
 */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { TopicId } from "@millrace/record";
import type { Target } from "../group/assignments.ts";
import { Group, type Joining } from "../group/group.ts";
import type { PartitionSet } from "../group/partition-map.ts";
import {
  type AssignorName,
  Changes,
  type GroupLimits,
  type MemberId,
  type Now,
  type OffsetToCommit,
  type RefusedOffset,
  type Session,
  type StateRecord,
  type Topics,
} from "../group/types.ts";

/** Which member of which group a stream belongs to. */
export interface StreamOf {
  readonly group: string;
  readonly memberId: MemberId;
  readonly session: Session;
}

/** What an assignor is to be asked. */
export interface TargetRequest {
  readonly group: string;
  readonly groupEpoch: number;
  readonly assignor: AssignorName;
  readonly members: ReadonlyMap<MemberId, MemberForAssignor>;
  /** Partitions of each topic that a member reads. */
  readonly topics: ReadonlyMap<TopicId, number>;
}

export interface MemberForAssignor {
  readonly instanceId: string | undefined;
  readonly rackId: string | undefined;
  readonly topicIds: ReadonlySet<TopicId>;
  /** What it should have so far, or else what it has. */
  readonly assigned: PartitionSet;
}

/** What a command changed, and what the caller is told once that is committed. */
export interface Outcome<Answer> {
  readonly changes: Changes;
  readonly answer: Answer;
}

export class Shard {
  readonly #limits: GroupLimits;
  readonly #groups = new Map<string, Group>();
  /** Those with members: nothing happens to others by itself, but that they are forgotten. */
  readonly #populated = new Set<Group>();
  /** Of the pass that forgets offsets. */
  #expiring: Iterator<readonly [string, Group]> = [].values();
  #topics: Topics;
  /** Groups whose target assignment is due, in the order in which it became so. */
  readonly #untargeted = new Set<Group>();

  constructor(limits: GroupLimits, topics: Topics) {
    this.#limits = limits;
    this.#topics = topics;
  }

  get groups(): ReadonlyMap<string, Group> {
    return this.#groups;
  }

  /** Takes over a record of the log, in its order. `loaded` ends it. */
  replay(record: StateRecord): void {
    const isGone = record.kind === "group" && record.value === undefined;
    if (isGone && (this.#groups.get(record.group)?.offsets.size ?? 0) === 0)
      this.#groups.delete(record.group);
    else this.#groupFor(record.group).replay(record);
  }

  loaded(now: Now): void {
    for (const group of this.#groups.values()) {
      group.loaded(now);
      // What was deleted may have left records that say so.
      this.#forgetIfNothing(group.name);
      this.#queue(group);
    }
  }

  /** See `Group.join`; a group that does not exist is made. */
  join(group: string, joining: Joining, now: Now): Outcome<void> {
    try {
      return this.#change(this.#groupFor(group), (of, changes) => of.join(joining, now, changes));
    } finally {
      this.#forgetIfNothing(group);
    }
  }

  /** See `Group.heard`. */
  heard({ group, memberId, session }: StreamOf, now: Now): void {
    this.#existing(group).heard(memberId, session, now);
  }

  /** See `Group.report`. */
  report(
    { group, memberId, session }: StreamOf,
    report: { readonly revision: number; readonly owned: PartitionSet },
    now: Now,
  ): Outcome<void> {
    return this.#change(this.#existing(group), (of, changes) =>
      of.report(memberId, session, report, now, changes),
    );
  }

  /** See `Group.commit`. */
  commit(
    { group, memberId, session }: StreamOf,
    offsets: readonly OffsetToCommit[],
    now: Now,
  ): Outcome<RefusedOffset[]> {
    return this.#change(this.#existing(group), (of, changes) =>
      of.commit(memberId, session, offsets, now, changes),
    );
  }

  /** See `Group.commitFromOutside`; a group that does not exist is made. */
  commitFromOutside(
    group: string,
    offsets: readonly OffsetToCommit[],
    now: Now,
  ): Outcome<RefusedOffset[]> {
    try {
      return this.#change(this.#groupFor(group), (of, changes) =>
        of.commitFromOutside(offsets, now, changes),
      );
    } finally {
      this.#forgetIfNothing(group);
    }
  }

  /** See `Group.reset`. Throws GROUP_ID_NOT_FOUND. */
  reset(group: string, offsets: readonly OffsetToCommit[], now: Now): Outcome<RefusedOffset[]> {
    return this.#change(this.#known(group), (of, changes) => of.reset(offsets, now, changes));
  }

  /** See `Group.leave`. */
  leave({ group, memberId, session }: StreamOf, temporary: boolean, now: Now): Outcome<void> {
    return this.#change(this.#existing(group), (of, changes) =>
      of.leave(memberId, session, temporary, now, changes),
    );
  }

  /** See `Group.lost`. */
  lost({ group, memberId, session }: StreamOf, now: Now): void {
    this.#groups.get(group)?.lost(memberId, session, now);
  }

  /** See `Group.delete`. Throws GROUP_ID_NOT_FOUND. */
  delete(group: string): Outcome<void> {
    const outcome = this.#change(this.#known(group), (of, changes) => of.delete(changes));
    this.#groups.delete(group);
    return outcome;
  }

  /** Expels members whose time is over. */
  tick(now: Now): Changes {
    const changes = new Changes();
    for (const group of this.#populated) {
      if (now.monoMs < group.quietUntilMs) continue;
      group.tick(now, changes);
      this.#queue(group);
    }
    return changes;
  }

  /**
   * Forgets offsets and groups that nobody has used for the retention time. Looks at so many
   * groups; the next call goes on behind them, and begins anew behind the last one.
   */
  expire(now: Now, groupsMax: number): Changes {
    const changes = new Changes();
    for (let looked = 0; looked < groupsMax; looked += 1) {
      const next = this.#expiring.next();
      if (next.done === true) {
        this.#expiring = this.#groups.entries();
        break;
      }
      const [name, group] = next.value;
      if (this.#groups.get(name) === group && group.expire(now, changes)) this.#groups.delete(name);
    }
    return changes;
  }

  /** The metadata changed. */
  topicsChanged(topics: Topics): Changes {
    const changes = new Changes();
    const before = this.#topics;
    this.#topics = topics;
    for (const group of this.#populated) {
      group.topicsChanged(before, changes);
      this.#queue(group);
    }
    return changes;
  }

  get targetIsDue(): boolean {
    return this.#untargeted.size > 0;
  }

  /** What an assignor is to be asked next, if anything. It is due until `takeTarget`. */
  nextTarget(): TargetRequest | undefined {
    for (const group of this.#untargeted) {
      this.#untargeted.delete(group);
      if (this.#groups.get(group.name) === group && group.needsTarget) return this.#request(group);
    }
    return undefined;
  }

  /** See `Group.takeTarget`. Nothing happens where the group is gone. */
  takeTarget(request: TargetRequest, target: Target, now: Now): Changes {
    const group = this.#groups.get(request.group);
    if (group === undefined || request.groupEpoch <= group.targetEpoch) return new Changes();
    return this.#change(group, (of, changes) =>
      of.takeTarget(request.groupEpoch, target, now, changes),
    ).changes;
  }

  #request(group: Group): TargetRequest {
    const members = new Map<MemberId, MemberForAssignor>();
    const topics = new Map<TopicId, number>();
    for (const member of group.members.values()) {
      const { instanceId, rackId } = member.subscription;
      const topicIds = group.topicsOf(member);
      for (const topicId of topicIds)
        topics.set(topicId, this.#topics.byId(topicId)?.partitionCount ?? 0);
      const assigned = group.targetOf(member.id) ?? member.assigned.copy();
      members.set(member.id, { instanceId, rackId, topicIds, assigned });
    }
    const { name, groupEpoch, assignor } = group;
    return { group: name, groupEpoch, assignor, members, topics };
  }

  #change<Answer>(
    group: Group,
    change: (group: Group, changes: Changes) => Answer,
  ): Outcome<Answer> {
    const changes = new Changes();
    const answer = change(group, changes);
    this.#queue(group);
    return { changes, answer };
  }

  /** After a change of a group. */
  #queue(group: Group): void {
    if (group.members.size === 0) {
      this.#populated.delete(group);
      return;
    }
    this.#populated.add(group);
    if (group.needsTarget) this.#untargeted.add(group);
  }

  #groupFor(name: string): Group {
    const group = this.#groups.get(name) ?? new Group(name, this.#limits, () => this.#topics);
    this.#groups.set(name, group);
    return group;
  }

  /** The group of a stream. */
  #existing(name: string): Group {
    const group = this.#groups.get(name);
    if (group !== undefined) return group;
    const message = "the member has left: join anew";
    throw MillraceError.refusal(ErrorCode.UNKNOWN_MEMBER_ID, message);
  }

  #known(name: string): Group {
    const group = this.#groups.get(name);
    if (group !== undefined) return group;
    const message = `no group ${name}: it has neither members nor committed offsets`;
    throw MillraceError.refusal(ErrorCode.GROUP_ID_NOT_FOUND, message);
  }

  /** A group is what has had members, or has offsets. */
  #forgetIfNothing(name: string): void {
    const group = this.#groups.get(name);
    if (group?.groupEpoch === 0 && group.offsets.size === 0) this.#groups.delete(name);
  }
}
