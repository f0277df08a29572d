/** Who checks the checker: a history that is right, and one mistake after the other in it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { GroupStateRecord } from "@millrace/group-coordinator";
import type { TopicId } from "@millrace/record";
import { Check } from "./check.ts";
import { GroupLog } from "./group-log.ts";
import { type FetchedOffsets, type Happening, Ledger, type Life, type Position } from "./ledger.ts";

const group = "g";
const place = "t/0";
type Sets = readonly (readonly [string, number, true])[];
type Assignment = NonNullable<Extract<GroupStateRecord, { readonly kind: "assignment" }>["value"]>;

const setOf = (partitions: readonly number[]): Assignment["assigned"] =>
  partitions.map((one) => ["t", one, true]) satisfies Sets as unknown as Assignment["assigned"];

const epoch = (groupEpoch: number): GroupStateRecord => ({
  ...{ kind: "group", group, value: { groupEpoch, emptySinceMs: 0 } },
});
const member = (memberId: string, isThere = true, instanceId?: string): GroupStateRecord => ({
  ...{ kind: "member", group, memberId },
  value: isThere ? ({ instanceId } as never) : undefined,
});
const assignment = (
  memberId: string,
  memberEpoch: number,
  assigned: readonly number[],
  revoking: readonly number[] = [],
): GroupStateRecord => ({
  ...{ kind: "assignment", group, memberId },
  value: {
    ...{ memberEpoch, assigned: setOf(assigned) },
    ...{ revoking: setOf(revoking), resetting: setOf([]) },
  },
});
const commit = (tag: string, offset: number): GroupStateRecord => {
  const value = { offset, leaderEpoch: 1, metadata: Buffer.from(tag), commitTimeMs: 0 };
  return { kind: "offset", group, topicId: "t" as TopicId, partition: 0, value };
};

const a: Life = { name: "a", group, autoCommit: true };
const b: Life = { name: "b", group, autoCommit: true };

const told = (memberEpoch: number, position?: Position): Happening => ({
  ...{ kind: "told", revision: memberEpoch, memberEpoch, assigned: [place] },
  positions: new Map(position === undefined ? [] : [[place, position]]),
});
const places = [place];
const processed = (offset: number, handedMs = Infinity): Happening => ({
  ...{ kind: "processed", place, offset, value: `v${offset}`, handedMs },
});
const commits = (tag: string, offset: number): Happening => ({
  ...{ kind: "commits", tag, offsets: new Map([[place, offset]]) },
});
const answered = (tag: string): Happening => ({
  ...{ kind: "answered", tag, refused: new Map(), error: undefined },
});

type Line = readonly [Life, Happening];
interface Story {
  readonly log: GroupStateRecord[];
  readonly lines: Line[];
  readonly fetched: FetchedOffsets[];
}

/** One member reads two of three records, gives the partition back, and another one goes on. */
const story = (): Story => ({
  log: [
    ...[epoch(1), member("ma"), assignment("ma", 1, [0])],
    ...[epoch(2), member("mb"), assignment("ma", 2, [], [0]), commit("ma#1", 2)],
    ...[assignment("ma", 2, []), assignment("mb", 2, [0]), commit("mb#1", 3)],
  ],
  lines: [
    ...([
      [a, told(1)],
      [a, { kind: "assigned", places }],
      [a, processed(0)],
      [a, processed(1)],
    ] as const),
    ...([
      [a, { kind: "revoked", places }],
      [a, commits("ma#1", 2)],
      [a, answered("ma#1")],
      [a, { kind: "reported", revision: 1, owned: [] }],
    ] as const),
    ...([
      [b, told(2, { offset: 2, tag: "ma#1" })],
      [b, { kind: "assigned", places }],
      [b, processed(2)],
      [b, commits("mb#1", 3)],
      [b, answered("mb#1")],
    ] as const),
  ],
  fetched: [
    { group, invoked: 8, returned: 9, offsets: new Map([[place, { offset: 2, tag: "ma#1" }]]) },
  ],
});

const violationsOf = ({ fetched, lines, log }: Story): string[] => {
  const clock = { nowMs: 0, trace: () => {} };
  const ledger = new Ledger(clock);
  for (const [n, [life, happening]] of lines.entries()) {
    clock.nowMs = n;
    ledger.note(life, life === a ? "ma" : "mb", happening);
  }
  ledger.fetched.push(...fetched);
  const logged = new GroupLog((id) => id);
  for (const [at, record] of log.entries()) logged.add(record, at);
  const records = new Map([[place, new Map([0, 1, 2].map((at) => [at, `v${at}`]))]]);
  const check = new Check({ ledger, log: logged, records, finished: [group] });
  check.run();
  return check.violations;
};

/** The story with a change must be found out, as what the text says. */
const finds = (text: string, change: (story: Story) => unknown): void => {
  const changed = story();
  change(changed);
  const found = violationsOf(changed);
  assert.ok(
    found.some((one) => one.startsWith(text)),
    `${text}: ${found}`,
  );
};

test("nothing is wrong with a clean hand-over", () => {
  assert.deepEqual(violationsOf(story()), []);
});

test("what the log of a shard may not say is found", () => {
  finds("G1: t/0 is given to mb, and ma has it", ({ log }) => log.splice(7, 1));
  finds("G1: mb is assigned partitions, and is no member", ({ log }) => log.splice(4, 1));
  finds("G2: x is ma, and mb, too", ({ log }) => {
    log[1] = member("ma", true, "x");
    log[4] = member("mb", true, "x");
  });
  finds("G3: mb commits t/0, whose owner is ma", ({ log }) => log.splice(6, 0, commit("mb#9", 1)));
  finds("G3: ma commits t/0, whose owner is mb", ({ log }) => log.push(commit("ma#9", 3)));
  finds("G7: the commit mb#1 moves t/0 back, from 2 to 1", ({ log }) => {
    log[9] = commit("mb#1", 1);
  });
  finds("G7: t/0 of g is committed at 9", ({ log }) => log.push(commit("mb#2", 9)));
  finds("G8: the group epoch is 1 after 2", ({ log }) => log.push(epoch(1)));
  finds("G8: mb is at epoch 7, not in 2 to 2", ({ log }) => log.push(assignment("mb", 7, [0])));
  finds("G10: the offset of t/0 is forgotten", ({ log }) =>
    log.push({ kind: "offset", group, topicId: "t", partition: 0, value: undefined } as never),
  );
});

test("what members do and are told in spite of the log is found", () => {
  finds("G1: mb is told t/0, of which the log knows nothing", ({ log }) => log.splice(8, 1));
  finds("G1: t/0 is announced, and was never told", ({ lines }) => lines.splice(8, 1));
  finds("G2: b begins to read t/0, which a still reads", ({ lines }) => lines.splice(4, 1));
  finds("G4: mb#1 of t/0 at 3 is acknowledged, and not there", ({ log }) => log.splice(9, 1));
  finds("G4: t/0 of g is read as nothing", ({ fetched }) =>
    fetched.push({ group, invoked: 8, returned: 8, offsets: new Map() }),
  );
  finds("G5: t/0 begins at nowhere", ({ lines }) => {
    lines[8] = [b, told(2)];
  });
  finds("G5: t/0 is committed at 2, and 1 is not processed", ({ lines }) => lines.splice(3, 1));
  finds("G5: v2 at t/0@2 is passed over by g", ({ lines }) => lines.splice(10, 3));
  finds("G5: t/0@2 is processed as v9, and is v2", ({ lines }) => {
    lines[10] = [b, { kind: "processed", place, offset: 2, value: "v9", handedMs: 9 }];
  });
  finds("G6: t/0 is given back at 2, and committed is 0", ({ lines }) => lines.splice(5, 2));
  finds("G6: t/0@1 is processed, and 2 is where it begins", ({ lines }) =>
    lines.splice(10, 0, [b, processed(1)]),
  );
  finds("G6: t/0@2 is processed after the partition was revoked", ({ lines }) =>
    lines.splice(7, 0, [a, processed(2)]),
  );
});

test("a member that the group has given up may read on", () => {
  const { fetched, lines, log } = story();
  const others = lines.filter(([life]) => life === b);
  const expelled = [epoch(3), member("ma", false), assignment("mb", 2, [0]), commit("mb#1", 3)];
  const given = [...log.slice(0, 7), ...expelled];
  assert.deepEqual(
    violationsOf({
      fetched,
      log: given,
      lines: [...lines.slice(0, 4), ...lines.slice(5, 7), ...others],
    }),
    [],
  );
});

test("a body may end with what it had in hand before the partition was lost and given again", () => {
  const { lines, ...rest } = story();
  const given = lines.findIndex(([life, { kind }]) => life === b && kind === "assigned");
  const ended = (handedMs: number): string[] =>
    violationsOf({ ...rest, lines: lines.toSpliced(given + 1, 0, [b, processed(1, handedMs)]) });
  assert.deepEqual(ended(given - 1), []);
  const [found] = ended(given);
  assert.match(found ?? "", /^G6: t\/0@1 is processed, and 2 is where it begins/);
});

test("what was done before a reset is not promised to be committed", () => {
  const changed = story();
  changed.lines.splice(5, 2);
  changed.lines.splice(4, 0, [a, told(1, { offset: 0, tag: "ma#1" })]);
  const found = violationsOf(changed);
  assert.deepEqual(
    found.filter((one) => one.startsWith("G6: t/0 is given back")),
    [],
  );
});
