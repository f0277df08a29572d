import assert from "node:assert/strict";
import { test } from "node:test";
import { type History, type Ownership, outcomeOf } from "./history.ts";
import { pictureOf, stretchesOf } from "./picture.ts";

const got = (atMs: number, member: string, partition: number): Ownership => ({
  ...{ atMs, member, partition, kind: "got" },
});
const gave = (atMs: number, member: string, partition: number): Ownership => ({
  ...{ atMs, member, partition, kind: "gave" },
});

/** Two members with two partitions each; the first one is replaced at 1,000. */
const ownerships = [
  ...[got(0, "a", 0), got(0, "a", 1), got(0, "b", 2), got(0, "b", 3)],
  ...[gave(1000, "a", 0), gave(1000, "a", 1), got(1100, "b", 0), got(1100, "b", 1)],
  ...[gave(1500, "b", 0), gave(1500, "b", 2), got(1600, "c", 0), got(1600, "c", 2)],
];
const replacement = { atMs: 1000, endMs: 2000, leaves: "a", comes: "c" };

/** Every partition is read each 100 ms while it has an owner, but the last one, once. */
const history = (changes: readonly Ownership[]): History => ({
  partitions: 4,
  ownerships: changes,
  reads: Array.from({ length: 80 }, (_, i) => ({
    ...{ atMs: Math.floor(i / 4) * 100 + 50, member: "", partition: i % 4 },
  })).filter(({ atMs, partition }) => partition !== 3 || atMs < 1200 || atMs > 1400),
});

test("moves from who leaves and to who comes are needed", () => {
  const outcome = outcomeOf(history(ownerships), [replacement]);
  assert.deepEqual(outcome, {
    ...{ moves: 4, needlessMoves: 0, movesMax: 2, settlingMs: 600 },
    ...{ gapMs: 300, movedGapMs: 100 },
  });
});

test("a move between members that stay is needless", () => {
  const more = [...ownerships, gave(1700, "b", 3), got(1800, "d", 3)];
  const outcome = outcomeOf(history(more), [replacement]);
  assert.deepEqual([outcome.moves, outcome.needlessMoves], [5, 1]);
  assert.equal(outcomeOf(history(more), [{ ...replacement, endMs: 1700 }]).needlessMoves, 0);
});

test("a picture has a stretch for each owner", () => {
  const stretches = stretchesOf(history(ownerships), 900, 2000);
  assert.deepEqual(
    stretches
      .filter(({ partition }) => partition === 0)
      .map(({ member, fromMs, toMs }) => [member, fromMs, toMs]),
    [
      ["a", 900, 1000],
      ["b", 1100, 1500],
      ["c", 1600, 2000],
    ],
  );
  const side = { title: "one", history: history(ownerships), replacements: [replacement] };
  assert.match(pictureOf([side]), /^<svg .*<rect .*<\/svg>\n$/s);
});
