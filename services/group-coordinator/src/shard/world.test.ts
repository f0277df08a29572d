/** Groups under clients that behave and break at random: what must hold, after every step. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Member } from "../group/member.ts";
import type { Subscription } from "../group/types.ts";
import type { TestClient } from "../testing/client.ts";
import { SeededRandom } from "../testing/random.ts";
import { groupName, patternOf, World } from "../testing/world.ts";
import type { Shard } from "./shard.ts";

const clientsMax = 6;

const subscription = (random: SeededRandom): Subscription => ({
  instanceId: random.chance(0.3) ? `i${random.below(3)}` : undefined,
  rackId: undefined,
  clientId: "c",
  clientHost: "h",
  topics: random.chance(0.2) ? ["t1", "t3"] : ["t0", "t1", "t2"],
  pattern: random.chance(0.2) ? patternOf("t[0-2]") : undefined,
  assignor: undefined,
  sessionTimeoutMs: 10_000,
  rebalanceTimeoutMs: 20_000,
});

/** What the log remembers of a shard. */
const dump = (shard: Shard): string[] =>
  [...shard.groups.values()].flatMap((group) => [
    `epoch ${group.groupEpoch} empty since ${group.emptySinceMs}`,
    ...[...group.members.values()]
      .map((member) => {
        const { assigned, memberEpoch, resetting, revoking } = member.value();
        const sets = [assigned, revoking, resetting].map((set) => JSON.stringify(set.sorted()));
        return `${member.id} ${memberEpoch} ${member.subscription.topics} ${sets.join(" ")}`;
      })
      .sort(),
    ...[...group.offsets]
      .map(([id, partition, { offset }]) => `${id}/${partition}: ${offset}`)
      .sort(),
  ]);

/** What may happen, and how often. */
const events: readonly (readonly [number, (world: World, client: TestClient) => void])[] = [
  [250, (world, client) => world.receive(client)],
  [200, (world, client) => world.tell(client)],
  [200, (world) => world.commitFirst()],
  [80, (world) => world.target()],
  [120, readSome],
  [30, (world, client) => world.connect(client)],
  [10, (world, client) => world.breakStream(client)],
  [10, (_, client) => client.report()],
  [5, (world, client) => leave(client, world.random.chance(0.5))],
  [40, (world) => world.pass(world.random.below(3000))],
  [10, resetSome],
  [5, (world) => world.changeTopics()],
  [2, (world) => world.failOver()],
];

function readSome({ random }: World, client: TestClient): void {
  for (const [topicId, partition] of client.owned) client.read(topicId, partition, random.below(5));
  if (client.session !== undefined) client.commit();
}

function leave(client: TestClient, temporary: boolean): void {
  if (client.session !== undefined && client.joined)
    client.outbox.push({ kind: "leave", temporary });
}

function resetSome(world: World): void {
  const { random, topics } = world;
  const topic = random.pick(topics);
  if (topic === undefined) return;
  world.reset(topic.topicId, random.below(topic.partitionCount), random.below(50));
}

const all = events.reduce((sum, [weight]) => sum + weight, 0);

const act = (world: World): void => {
  const { random } = world;
  world.forgetGone();
  if (world.clients.length < clientsMax && random.chance(0.05))
    world.connect(world.newClient(subscription(random)));
  const client = random.pick(world.clients);
  if (client === undefined) return;
  let at = random.below(all);
  const event = events.find(([weight]) => {
    at -= weight;
    return at < 0;
  });
  event?.[1](world, client);
};

/** Nothing breaks any more: clients go on until nothing is left to do. */
const settle = (world: World): void => {
  for (let round = 0; round < 200; round += 1) {
    while (!world.isIdle) {
      world.commitFirst();
      world.target();
    }
    world.target();
    for (const client of world.clients) {
      if (client.session === undefined && client.joined) world.connect(client);
      while (client.outbox.length > 0) world.receive(client);
      while (client.inbox.length > 0) world.tell(client);
    }
    for (const client of world.clients) {
      if (client.session !== undefined && round % 5 === 0) client.report();
    }
    world.pass(1000);
    world.checkOwners();
  }
};

const checkSettled = (world: World, seed: number): void => {
  const group = world.shard.groups.get(groupName);
  const present = world.clients.filter(({ joined, session }) => joined && session !== undefined);
  assert.equal(group?.members.size ?? 0, present.length, `seed ${seed}: members`);
  if (group === undefined || present.length === 0) return;
  assert.equal(group.state, "stable", `seed ${seed}`);
  for (const topic of world.topics) {
    const readers: readonly TestClient[] = present.filter(({ memberId }) => {
      const member: Member | undefined = group.members.get(memberId);
      return member !== undefined && group.topicsOf(member).has(topic.topicId);
    });
    for (let partition = 0; partition < topic.partitionCount; partition += 1) {
      const owners = present.filter(({ owned }) => owned.has(topic.topicId, partition));
      assert.equal(
        owners.length,
        readers.length > 0 ? 1 : 0,
        `seed ${seed}: ${topic.name}/${partition}`,
      );
    }
  }
  for (const [topicId, partition, offset] of world.acknowledged)
    assert.equal(group.offsets.get(topicId, partition)?.offset, offset, `seed ${seed}: committed`);
};

test("a partition has one reader, and what is committed stays, whatever breaks", () => {
  const counts = new Map<string, number>();
  for (let seed = 1; seed <= 150; seed += 1) {
    const world = new World(new SeededRandom(seed));
    try {
      for (let step = 0; step < 600; step += 1) {
        act(world);
        world.checkOwners();
      }
      settle(world);
      checkSettled(world, seed);
      assert.deepEqual(dump(world.load(world.log)), dump(world.shard), "the log has all of it");
    } catch (thrown) {
      throw new Error(`seed ${seed}`, { cause: thrown });
    }
    for (const [what, count] of world.counts) counts.set(what, (counts.get(what) ?? 0) + count);
  }
  for (const mark of ["joined", "came back", "assigned", "expelled", "commit", "failed over"])
    assert.ok((counts.get(mark) ?? 0) > 0, `${mark}: never`);
  if (process.env["SHOW_COUNTS"] !== undefined) console.log(counts);
});
