import assert from "node:assert/strict";
import { test } from "node:test";
import type { Happening } from "../../groups/ledger.ts";
import { eventsIn, lineOf } from "./member-lines.ts";

const life = { name: "a", group: "g", autoCommit: true };

test("events are read as they were written", () => {
  const happenings: readonly Happening[] = [
    { kind: "told", revision: 3, memberEpoch: 3, assigned: ["t/0"], positions: new Map() },
    { kind: "commits", tag: "m#1", offsets: new Map([["t/0", 7]]) },
    { kind: "answered", tag: "m#1", refused: new Map([["t/0", "NO"]]), error: undefined },
    { kind: "processed", place: "t/0", offset: 6, value: "1-2", handedMs: 2 },
  ];
  const lines = happenings.map((one, atMs) => ({ ...one, memberId: "m", atMs }));
  const read = eventsIn(lines.map(lineOf).join(""), life);
  assert.deepEqual(
    read.map(({ atMs, memberId }) => [atMs, memberId]),
    [0, 1, 2, 3].map((at) => [at, "m"]),
  );
  assert.deepEqual(
    read.map(({ kind }) => kind),
    happenings.map(({ kind }) => kind),
  );
  assert.ok(read.every((one) => one.life === life));
  const [told, commits, answered] = read;
  assert.ok(told?.kind === "told" && told.positions.size === 0);
  assert.ok(commits?.kind === "commits" && commits.offsets.get("t/0") === 7);
  assert.ok(answered?.kind === "answered" && answered.refused.get("t/0") === "NO");
  assert.equal(answered.error, undefined);
});
