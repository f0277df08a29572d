import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { RebalanceGoal, RebalanceState } from "@millrace/proto/common";
import {
  DescribeRebalanceResponseSchema,
  PlanRebalanceResponseSchema,
} from "@millrace/proto/controller";
import type { Io } from "./io.ts";
import {
  bytesText,
  planJson,
  planText,
  statusJson,
  statusText,
  summaryOf,
} from "./rebalance-text.ts";
import { toJson } from "./shared.ts";
import { Kept } from "./testing.ts";

const io: Io = {
  ...{ stdin: Readable.from([]), stdout: new Kept(), stderr: new Kept(), env: {} },
  ...{ signal: new AbortController().signal, progress: false, screen: false },
  columns: () => 80,
};

const load = (brokerId: number, replicas: number, leaders: number, bytes: number) => ({
  ...{ brokerId, replicas, leaders, bytes: BigInt(bytes) },
});

const rebalance = {
  ...{ rebalanceId: 7, state: RebalanceState.PROPOSED, moveCount: 2, pendingCount: 2 },
  ...{ copyCount: 1, copyBytes: 3_145_728n },
  before: [load(1, 2, 2, 6_291_456), load(2, 0, 0, 0)],
  after: [load(1, 1, 1, 3_145_728), load(2, 1, 1, 3_145_728)],
  unmet: [{ goal: RebalanceGoal.RACKS, why: "1 partitions share a rack" }],
  notes: ["broker 3 is cordoned"],
};

test("bytes have a unit", () => {
  assert.deepEqual([0, 1023, 1024, 1_500_000, 157_286_400, 2 ** 43, 2 ** 53].map(bytesText), [
    "0 bytes",
    "1023 bytes",
    "1.0 KiB",
    "1.4 MiB",
    "150 MiB",
    "8.0 TiB",
    "8192 TiB",
  ]);
});

test("a plan shows every broker before and after, and why a goal is not met", async () => {
  const plan = create(PlanRebalanceResponseSchema, {
    rebalance,
    moves: [{ topic: "t", partition: 0, from: [1], to: [2], bytes: 3_145_728n }],
  });
  assert.equal(
    await planText(io, plan),
    "BROKER  REPLICAS  AFTER  LEADERS  AFTER  SIZE     AFTER\n" +
      "1       2         1      2        1      6.0 MiB  3.0 MiB\n" +
      "2       0         1      0        1      0 bytes  3.0 MiB\n" +
      "\n" +
      "2 moves, 1 replica to copy, 3.0 MiB\n" +
      "goal racks is not met: 1 partitions share a rack\n" +
      "note: broker 3 is cordoned\n",
  );
  const json = JSON.parse(toJson(planJson(plan)));
  assert.deepEqual(json.brokers[1], {
    broker_id: 2,
    before: { replicas: 0, leaders: 0, bytes: 0 },
    after: { replicas: 1, leaders: 1, bytes: 3_145_728 },
  });
  assert.deepEqual(json.unmet, [{ goal: "racks", why: "1 partitions share a rack" }]);
  assert.deepEqual(json.partitions, [
    { topic: "t", partition: 0, from: [1], to: [2], bytes: 3_145_728 },
  ]);
});

test("the status says how far it is, what waits and what was skipped", async () => {
  const described = create(DescribeRebalanceResponseSchema, {
    rebalance: {
      ...{ ...rebalance, unmet: [], notes: [], state: RebalanceState.REBALANCING },
      ...{ moveCount: 1500, pendingCount: 1, ongoingCount: 1, doneCount: 1497, skippedCount: 1 },
      copiedBytes: 1_572_864n,
      skipped: [{ topic: "u", partition: 3, why: "the topic was deleted meanwhile" }],
    },
    ongoing: [
      { topic: "t", partition: 0, to: [2, 1], bytes: 3_145_728n, lagBytes: 2048n },
      { topic: "t", partition: 1, to: [2], bytes: 10n },
    ],
    waiting: "1 move waits: t-9 has no leader",
  });
  const summary =
    "rebalance 7 is rebalancing: 1,497 of 1,500 moves made, 1.5 MiB of 3.0 MiB copied, 1 under way, " +
    "1 skipped, 1 move waits: t-9 has no leader";
  assert.equal(summaryOf(described), summary);
  const text = await statusText(io, described);
  assert.ok(text.startsWith(`${summary}\n\nBROKER`), text);
  assert.match(text, /^t +0 +2,1 +3\.0 MiB +2\.0 KiB\nt +1 +2 +10 bytes +-\n/m);
  assert.match(text, /\nskipped u-3: the topic was deleted meanwhile\n$/);
  const json = JSON.parse(toJson(statusJson(described)));
  assert.deepEqual(
    [json.state, json.done, json.waiting, json.ongoing_moves[1].lag_bytes],
    ["rebalancing", 1497, "1 move waits: t-9 has no leader", null],
  );
});

test("a plan that has failed says why", async () => {
  const failed = create(DescribeRebalanceResponseSchema, {
    rebalance: { rebalanceId: 1, state: RebalanceState.FAILED, reason: "its moves are gone" },
  });
  assert.match(await statusText(io, failed), /^failed: its moves are gone$/m);
});
