/**
 * Thousands of random clusters whose plans are carried out while brokers come and go, operators
 * interfere, and controllers change hands: the next one knows the records alone.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BrokerIntent, RebalanceState } from "@millrace/proto/common";
import type { PartitionRecord } from "@millrace/proto/storage";
import fc from "fast-check";
import { isBeingReassigned, originalOf } from "../reassignment.ts";
import { RebalanceWorld, unmeasured } from "../testing/rebalance-world.ts";
import { addedBy, keyOfMove, Outcome } from "./steps.ts";

const { ABORTED, ABORTING, COMPLETED, PAUSED, REBALANCING } = RebalanceState;
const { ACTIVE, CORDONED, DRAINING } = BrokerIntent;

type Event =
  | { readonly kind: "step"; readonly max: number }
  | { readonly kind: "round" | "pause" | "resume" | "abort" }
  | { readonly kind: "catch up"; readonly at: number }
  | { readonly kind: "fence" | "register"; readonly at: number }
  | { readonly kind: "intent"; readonly at: number; readonly intent: BrokerIntent }
  | { readonly kind: "by hand"; readonly at: number; readonly to: number }
  | { readonly kind: "lost"; readonly at: number };

const at = fc.nat(1000);
const of = <K extends string>(...kinds: K[]) => fc.constantFrom(...kinds);
const events: fc.Arbitrary<Event> = fc.oneof(
  { weight: 10, arbitrary: fc.record({ kind: of("step"), max: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 6, arbitrary: fc.record({ kind: of("round") }) },
  { weight: 12, arbitrary: fc.record({ kind: of("catch up"), at }) },
  { weight: 4, arbitrary: fc.record({ kind: of("fence", "register"), at }) },
  {
    weight: 2,
    arbitrary: fc.record({
      ...{ kind: of("intent"), at },
      intent: fc.constantFrom(ACTIVE, CORDONED, DRAINING),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: of("by hand"), at, to: at }) },
  { weight: 1, arbitrary: fc.record({ kind: of("lost"), at }) },
  { weight: 1, arbitrary: fc.record({ kind: of("pause", "resume", "abort") }) },
);

const shapes = fc.record({
  brokers: fc.integer({ min: 2, max: 7 }),
  racks: fc.integer({ min: 0, max: 3 }),
  partitions: fc.integer({ min: 1, max: 14 }),
  factor: fc.integer({ min: 1, max: 3 }),
  min: fc.integer({ min: 1, max: 3 }),
  movesPerBroker: fc.integer({ min: 1, max: 3 }),
  seed: fc.integer({ min: 1, max: 1e6 }),
});

type Shape = typeof shapes extends fc.Arbitrary<infer T> ? T : never;

/** A cluster whose replicas are on its first brokers. */
const worldOf = ({ brokers, factor, min, movesPerBroker, partitions, racks, seed }: Shape) => {
  const used = Math.max(factor, 1 + (seed % brokers));
  const world = new RebalanceWorld({
    racks: Array.from({ length: Math.max(brokers, used) }, (_, i) =>
      racks === 0 ? "" : `r${(seed * (i + 7)) % racks}`,
    ),
    replicas: Array.from({ length: partitions }, (_, p) =>
      Array.from({ length: factor }, (_, i) => 1 + ((seed * p + i) % used)),
    ),
    ...{ minInsyncReplicas: min, movesPerBroker },
  });
  world.planAll();
  return world;
};

/** Watches what a step changes. */
class Watched {
  readonly world: RebalanceWorld;
  readonly #begun = new Set<string>();

  constructor(shape: Shape) {
    this.world = worldOf(shape);
  }

  step(max: number): void {
    const { world } = this;
    const before = new Map([...world.partitions].map(([key, one]) => [key, one.record]));
    const outcomes = world.record.outcomes.slice();
    const { changes } = world.step(max);
    assert.ok(changes.length <= max);
    for (const [i, move] of world.moves.entries()) {
      const [was = 0, is = 0] = [outcomes[i], world.record.outcomes[i]];
      assert.ok(was === is || was <= Outcome.moving, `move ${i} was over: ${was}, now ${is}`);
      if (was !== is && is === Outcome.moving) this.#begins(keyOfMove(move));
    }
    for (const { key, record } of changes) this.#changed(before.get(key), record);
    this.#checkTraffic();
  }

  #begins(key: string): void {
    assert.ok(!this.#begun.has(key), `${key} begins twice`);
    this.#begun.add(key);
  }

  #changed(before: PartitionRecord | undefined, after: PartitionRecord): void {
    assert.ok(before !== undefined);
    const { intents, racks, topic } = this.world;
    const added = after.replicas.filter((id) => !before.replicas.includes(id));
    for (const id of added) {
      assert.equal(intents.get(id) ?? ACTIVE, ACTIVE, `broker ${id} gets a replica`);
      assert.ok(this.world.brokers.has(id), `broker ${id} is away`);
    }
    // No minimum is broken: what was in sync stays, but for what a cancellation adds and drops.
    const min = Math.min(topic.minInsyncReplicas, originalOf(before).length);
    const lost = before.isr.filter((id) => !after.isr.includes(id));
    assert.ok(
      lost.every((id) => before.adding.includes(id)),
      `in sync were ${before.isr}`,
    );
    if (!isBeingReassigned(before)) {
      assert.deepEqual(lost, []);
      assert.ok(added.length === 0 || before.isr.length >= min, "it was below its minimum");
      const count = (ids: readonly number[]): number =>
        new Set(ids.map((id) => racks.get(id) ?? `#${id}`)).size;
      const target = after.replicas.filter((id) => !after.removing.includes(id));
      const asGood = count(target) >= Math.min(target.length, count(before.replicas));
      assert.ok(added.length === 0 || asGood, "fewer racks");
    }
    // Whoever leads is in sync; where nobody does a step changes the order of replicas at most.
    const leads = after.leader !== undefined && after.isr.includes(after.leader);
    assert.ok(
      leads || (before.leader === undefined && after.leader === undefined && !added.length),
    );
  }

  /** New replicas of the plan per broker. */
  #checkTraffic(): void {
    const { moves, record } = this.world;
    const counts = new Map<number, number>();
    for (const [i, move] of moves.entries()) {
      if (record.outcomes[i] !== Outcome.moving) continue;
      for (const id of addedBy(move)) counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    for (const [id, count] of counts)
      assert.ok(count <= record.movesPerBrokerMax, `${count} moves to broker ${id}`);
  }
}

const setState = (world: RebalanceWorld, state: RebalanceState): void => {
  world.record = { ...world.record, state };
};

const disturb = ({ world }: Watched, event: Exclude<Event, { kind: "step" }>): void => {
  const brokerAt = (index: number): number => 1 + (index % world.brokerCount);
  const { state } = world.record;
  switch (event.kind) {
    case "round":
      world.round();
      break;
    case "catch up":
      world.catchUp(event.at % world.topic.partitionCount);
      break;
    case "fence":
      world.brokers.delete(brokerAt(event.at));
      world.round();
      break;
    case "register": {
      const id = brokerAt(event.at);
      if (!world.brokers.has(id)) world.brokers.set(id, 1000 + event.at);
      break;
    }
    case "intent":
      world.intents.set(brokerAt(event.at), event.intent);
      break;
    case "by hand": {
      const partition = event.at % world.topic.partitionCount;
      const [, ...rest] = world.of(partition).replicas;
      const to = brokerAt(event.to);
      if (world.brokers.has(to)) world.reassign(partition, [...new Set([to, ...rest])]);
      break;
    }
    case "lost":
      world.measured = { ...unmeasured, gone: new Set([brokerAt(event.at)]) };
      break;
    case "pause":
      if (state === REBALANCING) setState(world, PAUSED);
      break;
    case "resume":
      if (state === PAUSED) setState(world, REBALANCING);
      break;
    default:
      if (state === REBALANCING || state === PAUSED) setState(world, ABORTING);
  }
};

/** All brokers are there, and nobody interferes any more. */
const calm = ({ world }: Watched): void => {
  world.measured = unmeasured;
  world.intents.clear();
  for (let id = 1; id <= world.brokerCount; id += 1) {
    if (!world.brokers.has(id)) world.brokers.set(id, 5000 + id);
  }
  if (world.record.state === PAUSED) setState(world, REBALANCING);
};

test("whatever happens meanwhile, a plan breaks no minimum, begins each move once, and ends", () => {
  let moves = 0;
  let made = 0;
  fc.assert(
    fc.property(shapes, fc.array(events, { maxLength: 120 }), (shape, drawn) => {
      const watched = new Watched(shape);
      const { world } = watched;
      moves += world.moves.length;
      for (const event of drawn) {
        if (event.kind === "step") watched.step(event.max);
        else disturb(watched, event);
      }
      calm(watched);
      for (let i = 0; i < 400; i += 1) {
        if (world.record.endedAtMs > 0n) break;
        for (let p = 0; p < shape.partitions; p += 1) world.catchUp(p);
        world.round();
        watched.step(5);
      }
      assert.ok([COMPLETED, ABORTED].includes(world.record.state), `${world.record.state}`);
      assert.ok(!world.record.outcomes.includes(Outcome.moving));
      made += world.record.outcomes.filter((one) => one === Outcome.done).length;
    }),
    { numRuns: 3000 },
  );
  // Else the test shows little.
  assert.ok(made > moves / 4, `${made} of ${moves}`);
});

test("a plan that nobody interferes with is made to the last move", () => {
  fc.assert(
    fc.property(shapes, (shape) => {
      const { world } = new Watched({ ...shape, min: 1 });
      const targets = world.moves.map(({ partition, to }) => [partition, to] as const);
      world.settle(500);
      assert.equal(world.record.state, COMPLETED);
      assert.ok(world.record.outcomes.every((one) => one === Outcome.done));
      for (const [partition, to] of targets) assert.deepEqual(world.of(partition).replicas, to);
    }),
    { numRuns: 1000 },
  );
});
