/**
 * What the log of a shard says, record by record: a simple model of groups beside the one of the
 * coordinator. G1, G3, G7, G8 and G10 are asked here, of every step.
 */
import { decodeGroupRecord, type GroupStateRecord } from "@millrace/group-coordinator";
import { type Place, placeOf } from "./ledger.ts";

/** A commit in the log. `at`: its place in the log of the shard. */
export interface LoggedCommit {
  readonly at: number;
  readonly offset: number;
  readonly tag: string;
}

/** What the log says that a member has. */
export interface LoggedAssignment {
  readonly at: number;
  readonly memberEpoch: number;
  readonly assigned: ReadonlySet<Place>;
}

interface MemberState {
  epoch: number;
  assigned: ReadonlySet<Place>;
  revoking: ReadonlySet<Place>;
  resetting: ReadonlySet<Place>;
}

/** Marks the commit of a reset, which may go back. */
export const resetTag = "reset";

const nothing: ReadonlySet<Place> = new Set();

/** Records of an append. Patterns are not looked at here. */
export const groupRecordOf = (key: Uint8Array, value: Uint8Array | undefined) =>
  decodeGroupRecord({ key, value }, (text) => ({ text, matching: () => new Set() }));

export class LoggedGroup {
  readonly name: string;
  epoch = 0;
  readonly members = new Map<string, MemberState>();
  /** All that was ever committed, in order. */
  readonly commits = new Map<Place, LoggedCommit[]>();
  /** Of each member, in order. */
  readonly assignments = new Map<string, LoggedAssignment[]>();
  /** Where the log says that a member is gone. */
  readonly goneAt = new Map<string, number>();
  /** Members that left, or were expelled, with partitions that they had not given back. */
  unanswered = 0;
  /** Names of static members that another process has now. */
  replaced = 0;
  readonly instances = new Map<string, string>();

  constructor(name: string) {
    this.name = name;
  }
}

type Of<Kind> = Extract<GroupStateRecord, { readonly kind: Kind }>;

export class GroupLog {
  readonly groups = new Map<string, LoggedGroup>();
  readonly violations: string[] = [];
  readonly #nameOf: (topicId: string) => string;

  constructor(nameOf: (topicId: string) => string) {
    this.#nameOf = nameOf;
  }

  /** The next record of a shard; `at` is its offset. */
  add(record: GroupStateRecord, at: number): void {
    const group = this.groups.get(record.group) ?? new LoggedGroup(record.group);
    this.groups.set(record.group, group);
    if (record.kind === "group") this.#group(group, record, at);
    else if (record.kind === "member") this.#member(group, record, at);
    else if (record.kind === "assignment") this.#assignment(group, record, at);
    else this.#offset(group, record, at);
  }

  #violated(group: LoggedGroup, at: number, text: string): void {
    this.violations.push(`${text} (group ${group.name}, ${at} in its log)`);
  }

  #group(group: LoggedGroup, { value }: Of<"group">, at: number): void {
    if (value === undefined) {
      if (group.members.size > 0) this.#violated(group, at, "G10: a group with members is deleted");
      group.epoch = 0;
      return;
    }
    if (value.groupEpoch <= group.epoch) {
      const text = `G8: the group epoch is ${value.groupEpoch} after ${group.epoch}`;
      this.#violated(group, at, text);
    }
    group.epoch = value.groupEpoch;
  }

  #member(group: LoggedGroup, { memberId, value }: Of<"member">, at: number): void {
    const before = group.members.get(memberId);
    if (value === undefined) {
      if ((before?.revoking.size ?? 0) > 0) group.unanswered += 1;
      group.members.delete(memberId);
      group.goneAt.set(memberId, at);
      return;
    }
    if (before === undefined) {
      const epoch = 0;
      group.members.set(memberId, {
        ...{ epoch, assigned: nothing, revoking: nothing, resetting: nothing },
      });
    }
    if (value.instanceId === undefined) return;
    const other = group.instances.get(value.instanceId);
    if (other !== undefined && other !== memberId) {
      group.replaced += 1;
      if (group.members.has(other)) {
        this.#violated(group, at, `G2: ${value.instanceId} is ${other}, and ${memberId}, too`);
      }
    }
    group.instances.set(value.instanceId, memberId);
  }

  #assignment(group: LoggedGroup, { memberId, value }: Of<"assignment">, at: number): void {
    const member = group.members.get(memberId);
    if (value === undefined) return;
    if (member === undefined) {
      this.#violated(group, at, `G1: ${memberId} is assigned partitions, and is no member`);
      return;
    }
    const named = (set: Iterable<readonly [string, number, ...unknown[]]>): ReadonlySet<Place> =>
      new Set([...set].map(([id, partition]) => placeOf({ topic: this.#nameOf(id), partition })));
    const { memberEpoch } = value;
    if (memberEpoch < member.epoch || memberEpoch > group.epoch) {
      const range = `${member.epoch} to ${group.epoch}`;
      this.#violated(group, at, `G8: ${memberId} is at epoch ${memberEpoch}, not in ${range}`);
    }
    member.epoch = memberEpoch;
    member.assigned = named(value.assigned);
    member.revoking = named(value.revoking);
    member.resetting = named(value.resetting);
    for (const place of [...member.assigned, ...member.revoking]) {
      const other = this.#otherOwner(group, memberId, place);
      if (other === undefined) continue;
      this.#violated(group, at, `G1: ${place} is given to ${memberId}, and ${other} has it`);
    }
    const all = group.assignments.get(memberId) ?? [];
    all.push({ at, memberEpoch, assigned: member.assigned });
    group.assignments.set(memberId, all);
  }

  #otherOwner(group: LoggedGroup, memberId: string, place: Place): string | undefined {
    for (const [id, { assigned, revoking }] of group.members) {
      if (id !== memberId && (assigned.has(place) || revoking.has(place))) return id;
    }
    return undefined;
  }

  #offset(group: LoggedGroup, record: Of<"offset">, at: number): void {
    const { partition, topicId, value } = record;
    const place = placeOf({ topic: this.#nameOf(topicId), partition });
    const all = group.commits.get(place) ?? [];
    const last = all.at(-1);
    if (value === undefined) {
      if (group.members.size > 0) {
        this.#violated(group, at, `G10: the offset of ${place} is forgotten, and is in use`);
      }
      group.commits.delete(place);
      return;
    }
    const tag = Buffer.from(value.metadata).toString();
    const { offset } = value;
    const [memberId = "", number] = tag.split("#");
    if (number !== undefined) this.#check(group, place, memberId, at);
    if (last !== undefined && offset < last.offset && !tag.startsWith(resetTag)) {
      const text = `G7: the commit ${tag} moves ${place} back, from ${last.offset} to ${offset}`;
      this.#violated(group, at, text);
    }
    all.push({ at, offset, tag });
    group.commits.set(place, all);
  }

  /** Only the owner of a partition commits it. */
  #check(group: LoggedGroup, place: Place, memberId: string, at: number): void {
    const member = group.members.get(memberId);
    const owns = member?.assigned.has(place) === true || member?.revoking.has(place) === true;
    if (owns && !member?.resetting.has(place)) return;
    const other = this.#otherOwner(group, memberId, place) ?? "nobody";
    const text = `G3: ${memberId} commits ${place}, whose owner is ${owns ? "resetting" : other}`;
    this.#violated(group, at, text);
  }
}
