/** RebalanceService over a metadata store: plans are made, changed, forgotten. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/errors";
import { decodeRecord, encodeRecord, keys } from "@millrace/metadata";
import { BrokerIntent, RebalanceGoal, RebalanceState } from "@millrace/proto/common";
import {
  DescribeRebalanceRequestSchema,
  PlanRebalanceRequestSchema,
  type Rebalance,
  RebalanceService,
} from "@millrace/proto/controller";
import { BrokerIntentRecordSchema } from "@millrace/proto/storage";
import { methodOf } from "@millrace/rpc";
import { rebalanceLimits } from "./limits.ts";
import { RebalanceHandlers } from "./rebalances.ts";
import { type Interpose, TestCluster } from "./testing/cluster.ts";
import { RebalanceWorld } from "./testing/rebalance-world.ts";

const { ABORTED, FAILED, PAUSED, PROPOSED, REBALANCING } = RebalanceState;

class World extends TestCluster {
  handlers: RebalanceHandlers | undefined;

  async serve(id: number, interpose?: Interpose) {
    const started = await this.controller(id, interpose);
    const { life, process } = started;
    const clock = life.clock();
    const options = { clusterId: "c", clock, store: this.store, active: process };
    const handlers = new RebalanceHandlers(options);
    this.handlers = handlers;
    const { listener } = this.network.attach(`s${id}`, life);
    await this.run(listener.listen(`s${id}:7400`, handlers.bindings()));
    await this.pass(200);
    return started;
  }

  /** Calls by their names, of controller 1. */
  async call(name: "start" | "pause" | "resume" | "abort", rebalanceId = 0): Promise<Rebalance> {
    const { life } = this.process(`client ${this.kernel.nowMs}`);
    const { dialer } = this.network.attach(`client`, life);
    const method = RebalanceService.method[`${name}Rebalance`];
    const request = create(method.input, { rebalanceId } as never);
    const answer = await this.run(dialer.dial("s1:7400").unary(methodOf(method), request));
    return (answer as { readonly rebalance?: Rebalance }).rebalance ?? assert.fail();
  }

  async codeOf(work: Promise<unknown>): Promise<string> {
    return work.then(
      () => "done",
      (thrown: unknown) => MillraceError.from(thrown).codeName,
    );
  }

  async plan(fields: object = {}) {
    const request = create(PlanRebalanceRequestSchema, fields);
    const { moves, rebalance } = await this.run(
      this.handlers?.planRebalance(request) ?? assert.fail(),
    );
    return { moves, ...(rebalance ?? assert.fail()) };
  }

  describe(rebalanceId = 0) {
    const request = create(DescribeRebalanceRequestSchema, { rebalanceId });
    return this.run(this.handlers?.describeRebalance(request) ?? assert.fail());
  }

  async keysOf(prefix: string): Promise<string[]> {
    return (await this.run(this.store.range({ prefix }))).kvs.map(({ key }) => key);
  }

  /** An intent, as `BrokersService` writes it. */
  async want(brokerId: number, intent: BrokerIntent): Promise<void> {
    const record = create(BrokerIntentRecordSchema, { brokerId, intent });
    const value = encodeRecord.brokerIntent(record);
    await this.run(
      this.store.txn(
        [],
        [
          { type: "put", key: keys.brokerIntent(brokerId), value },
          { type: "put", key: keys.placement, value: new Uint8Array(0) },
        ],
      ),
    );
    await this.pass(100);
  }
}

/** A controller, and two brokers, the first one with all of the partitions. */
const setUp = async (partitions = 4, interpose?: Interpose) => {
  const world = new World();
  const registrations = [1, 2].map((id) => world.registration(id, { ttlSeconds: 60 }));
  for (const { registration } of registrations) await world.run(registration.register());
  await world.topic(partitions, 1);
  const controller = await world.serve(1, interpose);
  await world.pass(500);
  return { world, controller, registrations };
};

test("a plan is shown, stored, and takes the place of the one before", async () => {
  const { world } = await setUp();
  const dry = await world.plan({ validateOnly: true });
  assert.deepEqual([dry.rebalanceId, dry.moves.length, dry.copyCount], [0, 2, 2]);
  assert.deepEqual(await world.keysOf("rebalance"), []);
  const first = await world.plan();
  assert.deepEqual([first.rebalanceId, first.state, first.movesPerBrokerMax], [1, PROPOSED, 5]);
  assert.deepEqual(
    [first.before, first.after].map((all) => all.map(({ replicas }) => replicas)),
    [
      [4, 0],
      [2, 2],
    ],
  );
  assert.match(first.notes[0] ?? "", /^broker 1 does not tell its sizes: it has told no address/);
  assert.equal((await world.plan({ movesPerBrokerMax: 9 })).rebalanceId, 2);
  assert.deepEqual(await world.keysOf("rebalance"), [
    "rebalance-moves/2#00000",
    "rebalances",
    "rebalances/2",
  ]);
  assert.deepEqual((await world.describe()).rebalance?.movesPerBrokerMax, 9);
});

test("what a plan leaves out, and which goals it cannot meet", async () => {
  const { world, registrations } = await setUp(3);
  const excluded = await world.plan({ excludedTopics: ["t"] });
  assert.deepEqual([excluded.moves, excluded.rebalanceId], [[], 0]);
  assert.deepEqual(
    excluded.unmet.map(({ goal }) => goal),
    [RebalanceGoal.COUNT, RebalanceGoal.LEADERS],
  );
  await world.want(2, BrokerIntent.CORDONED);
  const cordoned = await world.plan();
  assert.deepEqual(cordoned.moves, []);
  assert.ok(cordoned.notes.includes("broker 2 is cordoned: it keeps its replicas, and gets none"));
  await world.want(1, BrokerIntent.DRAINING);
  const draining = await world.plan();
  assert.match(draining.notes.join(), /broker 1 is being drained: partitions with a replica on it/);
  await world.run(registrations[1]?.registration.close() ?? assert.fail());
  await world.pass(500);
  await world.want(1, BrokerIntent.ACTIVE);
  const alone = await world.plan();
  assert.deepEqual([alone.moves, alone.before.map(({ brokerId }) => brokerId)], [[], [1]]);
});

test("requests out of range are refused before anything is asked", async () => {
  const { world } = await setUp();
  assert.equal(await world.codeOf(world.describe()), "INVALID_REQUEST");
  const refused = (fields: object) => world.codeOf(world.plan(fields));
  assert.equal(await refused({ movesPerBrokerMax: 101 }), "INVALID_REQUEST");
  const both = await Promise.all([refused({}), refused({})]);
  assert.deepEqual(both.sort(), ["ADMISSION_REJECTED", "done"], "one plan is made at a time");
  const excludedTopics = Array.from({ length: 1001 }, (_, i) => `t${i}`);
  assert.equal(await refused({ excludedTopics }), "INVALID_REQUEST");
  assert.equal(await world.codeOf(world.describe(7)), "INVALID_REQUEST");
});

test("one plan is carried out at a time, and commands have one effect", async () => {
  const { world } = await setUp();
  assert.equal(await world.codeOf(world.call("abort")), "NO_REASSIGNMENT_IN_PROGRESS");
  await world.plan();
  assert.equal((await world.call("start")).state, REBALANCING);
  assert.equal((await world.call("start")).rebalanceId, 1, "started again");
  // Broker 2 has no process: the moves to it do not end.
  await world.pass(2000);
  const described = await world.describe();
  assert.deepEqual([described.rebalance?.ongoingCount, described.ongoing.length], [2, 2]);
  assert.deepEqual(world.moves, [0, 2]);
  assert.equal((await world.call("pause")).state, RebalanceState.PAUSED);
  assert.equal((await world.call("pause", 1)).state, RebalanceState.PAUSED);
  assert.equal(await world.codeOf(world.call("resume", 2)), "NO_REASSIGNMENT_IN_PROGRESS");
  await world.plan();
  await world.want(2, BrokerIntent.CORDONED);
  assert.equal(await world.codeOf(world.call("start", 1)), "done");
  assert.equal((await world.call("resume")).state, REBALANCING);
  assert.equal((await world.call("abort")).state, RebalanceState.ABORTING);
  await world.pass(2000);
  assert.equal((await world.describe(1)).rebalance?.state, ABORTED);
  assert.equal((await world.describe(1)).rebalance?.cancelledCount, 2);
  assert.deepEqual(world.moves, [0, 0]);
  assert.ok((await world.partitions()).every(({ adding }) => adding.length === 0));
  assert.equal(await world.codeOf(world.call("start", 1)), "INVALID_REQUEST");
  await world.want(2, BrokerIntent.ACTIVE);
  const next = await world.plan();
  assert.equal(
    (await world.call("start", next.rebalanceId)).state,
    REBALANCING,
    "the next one may begin",
  );
});

/** What changes while a step is on its way to the store, by the key that the step depends on. */
const meanwhile: Readonly<Record<string, (world: World) => Promise<void>>> = {
  "the plan": async (world) => {
    const [kv] = (await world.store.range({ key: keys.rebalance(1) })).kvs;
    const record = { ...decodeRecord.rebalance(kv ?? assert.fail()), state: PAUSED };
    const value = encodeRecord.rebalance(record);
    await world.store.txn([], [{ type: "put", key: keys.rebalance(1), value }]);
  },
  "a partition": async (world) => {
    const { kvs } = await world.store.range({ prefix: keys.partitions });
    for (const { key, value } of kvs) await world.store.txn([], [{ type: "put", key, value }]);
  },
  "the topic": async (world) => {
    const [kv] = (await world.store.range({ key: keys.topic("t") })).kvs;
    const { key, value } = kv ?? assert.fail();
    await world.store.txn([], [{ type: "put", key, value }]);
  },
  "the intents of brokers": async (world) => {
    const value = new Uint8Array(0);
    await world.store.txn([], [{ type: "put", key: keys.placement, value }]);
  },
};

for (const [what, change] of Object.entries(meanwhile)) {
  test(`moves begin only if ${what} has not changed since they were judged`, async () => {
    const results: boolean[] = [];
    const worlds: World[] = [];
    const { world } = await setUp(4, (store) => ({
      async txn(compares, operations, ...rest) {
        const [only] = worlds;
        const isStep = operations.some(
          (one) => one.type === "put" && one.key.startsWith(keys.partitions),
        );
        if (!isStep || only === undefined) return store.txn(compares, operations, ...rest);
        if (results.length === 0) await change(only);
        const result = await store.txn(compares, operations, ...rest);
        results.push(result.succeeded);
        return result;
      },
    }));
    await world.plan();
    worlds.push(world);
    await world.call("start");
    await world.pass(3000);
    assert.equal(results[0], false);
    const { rebalance } = await world.describe(1);
    const isPaused = what === "the plan";
    assert.deepEqual(
      [results.at(1), rebalance?.ongoingCount],
      isPaused ? [undefined, 0] : [true, 2],
    );
  });
}

test("a proposal is given up, and the last ten that are over are remembered", async () => {
  const { world } = await setUp();
  const kept = rebalanceLimits.plansKept;
  for (let i = 0; i < kept + 3; i += 1) {
    await world.plan();
    assert.equal((await world.call("abort")).state, ABORTED);
  }
  await world.plan();
  const ids = (await world.keysOf(keys.rebalances)).map((key) => Number(key.split("/")[1]));
  assert.deepEqual(
    ids.sort((a, b) => a - b),
    Array.from({ length: kept + 1 }, (_, i) => 4 + i),
  );
  assert.equal((await world.keysOf("rebalance-moves/")).length, kept + 1);
});

test("a plan without its moves fails, and says so; the next one can be started", async () => {
  const { world } = await setUp();
  await world.plan();
  const prefix = keys.rebalanceMovesOf(1);
  await world.run(world.store.txn([], [{ type: "delete", range: { prefix } }]));
  await world.call("start");
  await world.pass(1000);
  const { rebalance } = await world.describe(1);
  assert.deepEqual([rebalance?.state, rebalance?.endedAtMs !== 0n], [FAILED, true]);
  assert.match(rebalance?.reason ?? "", /its moves are not all in the metadata store/);
  await world.plan();
  assert.equal((await world.call("start")).rebalanceId, 2);
  const [index] = (await world.run(world.store.range({ key: keys.rebalanceIndex }))).kvs;
  assert.equal(index && decodeRecord.rebalanceIndex(index).runningId, 2);
});

test("a plan with more moves than a value holds is in several, which a controller reads again", async () => {
  const count = rebalanceLimits.movesPerChunk * 2 + 2;
  const { world } = await setUp(2 * count);
  const planned = await world.plan({ movesPerBrokerMax: 100 });
  assert.equal(planned.moveCount, count);
  assert.equal(planned.moves.length, rebalanceLimits.movesPerAnswerMax);
  assert.equal((await world.keysOf("rebalance-moves/")).length, 3);
  await world.call("start");
  await world.pass(3000);
  const { rebalance } = await world.describe();
  assert.deepEqual([rebalance?.ongoingCount, rebalance?.pendingCount], [2, count - 2]);
});

test("a store with other moves under the same id, as after a restore, is believed", async () => {
  const { world } = await setUp();
  await world.plan({ movesPerBrokerMax: 1 });
  await world.call("start");
  await world.pass(1000);
  assert.deepEqual(world.moves, [1, 1]);
  const key = keys.rebalanceMoves(1, 0);
  const [kv] = (await world.run(world.store.range({ key }))).kvs;
  const record = decodeRecord.rebalanceMoves(kv ?? assert.fail());
  const moves = record.moves.map((move) => ({ ...move, from: [9] }));
  const value = encodeRecord.rebalanceMoves({ ...record, moves });
  await world.run(world.store.txn([], [{ type: "put", key, value }]));
  await world.pass(2000);
  const { rebalance } = await world.describe();
  assert.deepEqual(
    [rebalance?.ongoingCount, rebalance?.skipped.map(({ why }) => why)],
    [1, ["its replicas are 1, not 9 as planned"]],
  );
});

test("a plan of more moves than can be stored is refused", async () => {
  const world = new World();
  // Two thirds of them go to the new brokers.
  const count = (rebalanceLimits.movesMax / 2) * 3 + 6;
  const cluster = new RebalanceWorld({
    ...{ racks: ["", "", ""], replicas: Array.from({ length: count }, () => [1]) },
  });
  const { life } = world.process("controller");
  const handlers = new RebalanceHandlers({
    ...{ clusterId: "c", clock: life.clock(), store: world.store },
    active: {
      writeOfReign: () => () => assert.fail("nothing is written"),
      rebalancerOfReign: () => ({
        askLoads: async () => ({ logs: new Map(), failures: new Map() }),
        progressOf: () => ({ ongoing: [], waiting: "" }),
      }),
      waitForRevision: async () => true,
      state: cluster.state,
    },
  });
  world.handlers = handlers;
  assert.equal(await world.codeOf(world.plan({ validateOnly: true })), "INVALID_REQUEST");
});

test("what an interrupted plan has left is not taken for moves of the next one", async () => {
  const { world } = await setUp();
  const key = keys.rebalanceMoves(1, 7);
  await world.run(world.store.txn([], [{ type: "put", key, value: Buffer.from("old") }]));
  await world.plan();
  assert.deepEqual(await world.keysOf("rebalance-moves/"), ["rebalance-moves/1#00000"]);
});

test("a controller that is not active plans nothing", async () => {
  const { world, controller } = await setUp();
  await world.serve(2);
  assert.equal(await world.codeOf(world.plan()), "NOT_CONTROLLER");
  assert.equal(await world.codeOf(world.describe()), "NOT_CONTROLLER");
  await world.run(controller.process.close());
});
