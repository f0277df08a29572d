import assert from "node:assert/strict";
import { test } from "node:test";
import { BrokerIntent } from "@millrace/proto/common";
import { diskUsageMax } from "../limits.ts";
import { keyOf, RebalanceWorld } from "../testing/rebalance-world.ts";
import type { BrokerLogs, Loads } from "./loads.ts";
import { planInput } from "./request.ts";

const logsOf = (sizes: Readonly<Record<number, number>>, freeBytes?: number): BrokerLogs => ({
  bytes: new Map(Object.entries(sizes).map(([p, bytes]) => [keyOf(Number(p)), bytes])),
  freeBytes,
});

const loads = (
  logs: Readonly<Record<number, BrokerLogs>>,
  failures: Readonly<Record<number, string>> = {},
): Loads => ({
  logs: new Map(Object.entries(logs).map(([id, one]) => [Number(id), one])),
  failures: new Map(Object.entries(failures).map(([id, why]) => [Number(id), why])),
});

const world = () =>
  new RebalanceWorld({
    racks: ["a", "b", "", ""],
    replicas: [
      [1, 2],
      [2, 1],
      [1, 3],
    ],
  });

const plain = new Set<string>();

test("a replica is as large as its leader's, or as the largest that is known", () => {
  const told = loads({ 1: logsOf({ 0: 500, 1: 900 }), 2: logsOf({ 0: 700, 1: 800 }) });
  const { request } = planInput(world().state, told, plain);
  assert.deepEqual(
    request.partitions.map(({ bytes, replicas }) => [bytes, replicas]),
    [
      [500, [1, 2]],
      [800, [2, 1]],
      [0, [1, 3]],
    ],
  );
  const { request: without } = planInput(world().state, loads({ 2: logsOf({ 0: 700 }) }), plain);
  assert.equal(without.partitions[0]?.bytes, 700, "the leader has told nothing");
});

test("a broker has room for what it has and for what is free, up to a part of its disk", () => {
  const told = loads({ 1: logsOf({ 0: 6000, 7: 1000 }, 3000), 2: logsOf({ 0: 1 }) });
  const { notes, request } = planInput(world().state, told, plain);
  const [first, second, third] = request.brokers;
  assert.deepEqual([first?.rack, third?.rack], ["a", ""]);
  assert.equal(first?.bytesMax, 10_000 * diskUsageMax);
  assert.equal(second?.bytesMax, Number.MAX_SAFE_INTEGER);
  assert.equal(notes[0], "broker 2 does not tell its free space: its disk counts as large enough");
});

test("brokers that get nothing keep what they have, unless they are decommissioned", () => {
  const cluster = world();
  cluster.brokers.delete(3);
  cluster.intents.set(1, BrokerIntent.CORDONED);
  cluster.intents.set(2, BrokerIntent.DECOMMISSIONED);
  const told = loads({ 1: logsOf({}, 1), 2: logsOf({}, 1) }, { 4: "no answer" });
  const { notes, request } = planInput(cluster.state, told, plain);
  assert.deepEqual(
    request.brokers.map(({ id, isActive, keeps }) => [id, isActive, keeps]),
    [
      [1, false, true],
      [2, false, false],
      [3, false, true],
      [4, true, true],
    ],
  );
  assert.deepEqual(notes, [
    "broker 1 is cordoned: it keeps its replicas, and gets none",
    "broker 3 is not registered: it keeps its replicas; drain it if it does not come back",
    "broker 4 does not tell its sizes: no answer",
  ]);
});

test("what moves already, is drained or is left out stays, and counts as it is going to be", () => {
  const cluster = world();
  const fixed = (excluded: ReadonlySet<string> = plain) =>
    planInput(cluster.state, loads({}), excluded).request.partitions.map(({ isFixed }) => isFixed);
  assert.deepEqual(fixed(), [false, false, false]);
  assert.deepEqual(fixed(new Set(["t"])), [true, true, true]);
  cluster.reassign(0, [4, 2]);
  cluster.intents.set(3, BrokerIntent.DRAINING);
  assert.deepEqual(fixed(), [true, false, true]);
  const { notes, request } = planInput(cluster.state, loads({}), plain);
  assert.deepEqual(request.partitions[0]?.replicas, [4, 2]);
  assert.ok(
    notes.includes("1 partitions are moving already: they count as they are going to be"),
    String(notes),
  );
});
