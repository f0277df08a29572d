/**
 * `node bench/assignors.ts [NAME …]`: how long the assignors of consumer groups take, the longest
 * step of each computation, and how many partitions move.
 */
import {
  type AssignmentRequest,
  type Assignor,
  type MemberSubscription,
  range,
  type TargetAssignment,
  uniform,
} from "@millrace/group-coordinator";
import { type TopicId, topicIdOf } from "@millrace/record";

interface Case {
  readonly name: string;
  readonly assignor: Assignor;
  readonly members: number;
  readonly topics: number;
  readonly partitions: number;
  /** Racks of members and replicas; 0: none are known. */
  readonly racks: number;
  /** Topics that each member subscribes to; all of them where it is left out. */
  readonly subscribed?: number;
}

const group = (members: number, topics: number, partitions: number) => ({
  ...{ members, topics, partitions, racks: 0 },
});

const cases: readonly Case[] = [
  { name: "uniform", assignor: uniform, ...group(1000, 20, 10_000) },
  { name: "uniform", assignor: uniform, ...group(5000, 100, 100_000) },
  { name: "uniform-racks", assignor: uniform, ...group(1000, 20, 10_000), racks: 6 },
  { name: "uniform-racks", assignor: uniform, ...group(5000, 100, 100_000), racks: 6 },
  { name: "uniform-unlike", assignor: uniform, ...group(1000, 20, 10_000), subscribed: 5 },
  { name: "uniform-unlike", assignor: uniform, ...group(5000, 100, 100_000), subscribed: 5 },
  { name: "range", assignor: range, ...group(1000, 2, 10_000) },
  { name: "range", assignor: range, ...group(5000, 10, 100_000) },
];

const idOf = (t: number): TopicId => {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(t, 12);
  return topicIdOf(bytes);
};

/** Racks of the replicas of a partition: two of the racks that there are. */
const replicaRacks = (partition: number, racks: number): string[] =>
  [0, 1 + (partition % (racks - 1))].map((shift) => `rack-${(partition + shift) % racks}`);

const requestOf = ({ members, topics, partitions, racks, subscribed }: Case): AssignmentRequest => {
  const perTopic = partitions / topics;
  const ids = Array.from({ length: topics }, (_, t) => idOf(t));
  const memberOf = (m: number): [string, MemberSubscription] => [
    `member-${String(m).padStart(6, "0")}`,
    {
      rackId: racks === 0 ? undefined : `rack-${m % racks}`,
      topicIds: new Set(
        subscribed === undefined
          ? ids
          : ids.filter((_, t) => (t * 7919 + m * 104_729) % topics < subscribed),
      ),
      assigned: new Map(),
    },
  ];
  return {
    members: new Map(Array.from({ length: members }, (_, m) => memberOf(m))),
    topics: new Map(
      ids.map((id) => [
        id,
        {
          partitionCount: perTopic,
          racks:
            racks === 0
              ? undefined
              : Array.from({ length: perTopic }, (_, p) => replicaRacks(p, racks)),
        },
      ]),
    ),
  };
};

/** The request again, with what the members have got. */
const after = (request: AssignmentRequest, target: TargetAssignment): AssignmentRequest => ({
  topics: request.topics,
  members: new Map(
    [...request.members].map(([id, member]) => [
      id,
      { ...member, assigned: target.get(id) ?? new Map() },
    ]),
  ),
});

const ownersOf = (target: TargetAssignment): Map<string, string> => {
  const owners = new Map<string, string>();
  for (const [id, assignment] of target) {
    for (const [topicId, partitions] of assignment) {
      for (const partition of partitions) owners.set(`${topicId} ${partition}`, id);
    }
  }
  return owners;
};

const moves = (before: TargetAssignment, now: TargetAssignment): number => {
  const owners = ownersOf(before);
  let moved = 0;
  for (const [partition, owner] of ownersOf(now)) {
    if (owners.get(partition) !== owner) moved += 1;
  }
  return moved;
};

const rounds = 5;

interface Run {
  readonly target: TargetAssignment;
  /** Of each step. */
  readonly ms: readonly number[];
}

const once = (assignor: Assignor, request: AssignmentRequest): Run => {
  const steps = assignor.steps(request);
  const ms: number[] = [];
  for (;;) {
    const startedMs = performance.now();
    const step = steps.next();
    ms.push(performance.now() - startedMs);
    if (step.done === true) return { target: step.value, ms };
  }
};

/** The best of each step: others may have the processor at times, and code is slow at first. */
const run = (assignor: Assignor, request: AssignmentRequest): Run => {
  const [first, ...others] = Array.from({ length: rounds }, () => once(assignor, request));
  if (first === undefined) throw new Error("no rounds");
  const best = (i: number): number => Math.min(...others.map(({ ms }) => ms[i] ?? 0));
  return { target: first.target, ms: first.ms.map((one, i) => Math.min(one, best(i))) };
};

const measure = (one: Case): void => {
  const { assignor, members, partitions } = one;
  console.log(`${one.name}, ${partitions} partitions, ${members} members`);
  const print = (what: string, { ms }: Run, moved: number): void => {
    const total = ms.reduce((sum, one) => sum + one, 0).toFixed(1);
    const times = `${total} ms, longest of ${ms.length} steps ${Math.max(...ms).toFixed(1)} ms`;
    console.log(`  ${what.padEnd(18)} ${times}, ${moved} moves`);
  };
  const empty = requestOf(one);
  const first = run(assignor, empty);
  print("nobody has any", first, partitions);
  const request = after(empty, first.target);
  const same = run(assignor, request);
  print("nothing changed", same, moves(first.target, same.target));
  const [middle = "", member] = [...request.members][members >> 1] ?? [];
  const without = new Map(request.members);
  without.delete(middle);
  const less = run(assignor, { ...request, members: without });
  print("one member less", less, moves(first.target, less.target));
  if (member === undefined) return;
  const joined = new Map(request.members).set("member-new", { ...member, assigned: new Map() });
  const more = run(assignor, { ...request, members: joined });
  print("one member more", more, moves(first.target, more.target));
};

const names = process.argv.slice(2);
for (const one of cases) if (names.length === 0 || names.includes(one.name)) measure(one);
