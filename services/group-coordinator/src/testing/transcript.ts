/** A shard that says in lines what it is told, what it records and what it tells. */
import { MillraceError } from "@millrace/errors";
import { PartitionSet } from "../group/partition-map.ts";
import type { Changes, GroupLimits, Now, Push, StateRecord, Subscription } from "../group/types.ts";
import { type Outcome, Shard } from "../shard/shard.ts";
import { toCommit } from "./client.ts";
import { assignSimply } from "./simple-assignor.ts";
import { topicIdAt, topicsOf } from "./topics.ts";

export const t0 = topicIdAt(0);

const limits: GroupLimits = {
  membersMax: 3,
  offsetMetadataBytesMax: 8,
  offsetsRetentionMs: 10_000,
};

export const reading = (changes: Partial<Subscription> = {}): Subscription => ({
  ...{ instanceId: undefined, rackId: undefined, clientId: "c", clientHost: "h" },
  ...{ topics: ["t0"], pattern: undefined, assignor: undefined },
  ...{ sessionTimeoutMs: 1000, rebalanceTimeoutMs: 2000 },
  ...changes,
});

/** Partitions of the one topic. */
export const some = (...partitions: number[]): PartitionSet => PartitionSet.of([[t0, partitions]]);

const listed = (set: PartitionSet): string =>
  `[${set.sorted().flatMap(([, partitions]) => partitions)}]`;

const recordLine = (record: StateRecord): string | undefined => {
  const { kind, value } = record;
  if (kind === "member") return `${record.memberId} ${value === undefined ? "is gone" : "is in"}`;
  if (kind === "group")
    return value === undefined ? "no group" : `epoch ${record.value?.groupEpoch}`;
  if (kind === "offset") return `offset ${record.partition}: ${record.value?.offset ?? "none"}`;
  if (record.value === undefined) return undefined;
  const { assigned, memberEpoch, resetting, revoking } = record.value;
  const more = [
    revoking.size > 0 ? ` gives back ${listed(revoking)}` : "",
    resetting.size > 0 ? ` resets ${listed(resetting)}` : "",
  ];
  return `${record.memberId} has ${listed(assigned)} at ${memberEpoch}${more.join("")}`;
};

const pushLine = (push: Push): string => {
  if (push.kind === "end") return `tell ${push.memberId}/${push.session}: end`;
  const positions = push.positions.map(
    ({ committed, partition }) => `${partition}@${committed?.offset ?? "-"}`,
  );
  const from = positions.length > 0 ? ` from ${positions.join(" ")}` : "";
  return `tell ${push.memberId}/${push.session}: ${push.revision} ${listed(push.assigned)}${from}`;
};

export class Transcript {
  shard: Shard;
  monoMs = 0;
  readonly records: StateRecord[] = [];

  constructor(partitionCount = 2) {
    this.shard = new Shard(limits, this.topics(partitionCount));
    this.shard.loaded(this.now);
  }

  topics(partitionCount: number) {
    return topicsOf([{ topicId: t0, name: "t0", partitionCount }]);
  }

  get now(): Now {
    return { monoMs: this.monoMs, wallMs: 100_000 + this.monoMs };
  }

  /** What a change says, in lines. */
  lines({ pushes, records }: Changes): string[] {
    this.records.push(...records);
    return [...records.flatMap((record) => recordLine(record) ?? []), ...pushes.map(pushLine)];
  }

  /** What an outcome says, and the targets that follow. Refusals are lines, too. */
  says(command: (shard: Shard, now: Now) => Outcome<unknown> | Changes): string[] {
    try {
      const result = command(this.shard, this.now);
      const changes = "changes" in result ? result.changes : result;
      return [...this.lines(changes), ...this.targets()];
    } catch (thrown) {
      if (!(thrown instanceof MillraceError)) throw thrown;
      return [thrown.codeName];
    }
  }

  targets(): string[] {
    const lines: string[] = [];
    for (let request = this.shard.nextTarget(); request !== undefined; ) {
      lines.push(...this.lines(this.shard.takeTarget(request, assignSimply(request), this.now)));
      request = this.shard.nextTarget();
    }
    return lines;
  }

  join(memberId: string, session: number, subscription = reading()): string[] {
    const joining = { memberId, session, subscription, returning: undefined };
    return this.says((shard, now) => shard.join("g", joining, now));
  }

  comeBack(
    memberId: string,
    session: number,
    memberEpoch: number,
    owned: PartitionSet,
    subscription = reading(),
  ): string[] {
    const joining = { memberId, session, subscription, returning: { memberEpoch, owned } };
    return this.says((shard, now) => shard.join("g", joining, now));
  }

  report(memberId: string, session: number, revision: number, owned: PartitionSet): string[] {
    const stream = { group: "g", memberId, session };
    return this.says((shard, now) => shard.report(stream, { revision, owned }, now));
  }

  /** Lines, and the names of what is refused. */
  commit(memberId: string, session: number, partition: number, offset: number): string[] {
    const stream = { group: "g", memberId, session };
    return this.says((shard, now) => {
      const outcome = shard.commit(stream, [toCommit(t0, partition, offset)], now);
      if (outcome.answer[0] === undefined) return outcome;
      throw MillraceError.refusal(outcome.answer[0].code, outcome.answer[0].message);
    });
  }

  leave(memberId: string, session: number, temporary = false): string[] {
    const stream = { group: "g", memberId, session };
    return this.says((shard, now) => shard.leave(stream, temporary, now));
  }

  lost(memberId: string, session: number): void {
    this.shard.lost({ group: "g", memberId, session }, this.now);
  }

  pass(ms: number): string[] {
    this.monoMs += ms;
    return this.says((shard, now) => shard.tick(now));
  }

  /** Another coordinator takes over, with what was recorded. */
  failOver(partitionCount = 2): string[] {
    this.shard = new Shard(limits, this.topics(partitionCount));
    for (const record of this.records) this.shard.replay(record);
    this.shard.loaded(this.now);
    return this.targets();
  }
}
