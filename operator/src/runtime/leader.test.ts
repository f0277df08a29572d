import assert from "node:assert/strict";
import { test } from "node:test";
import { fenced, NotLeaderError } from "./fenced.ts";
import { LeaderElection, type LeaderOptions, leaseType } from "./leader.ts";
import { manyFaults } from "./testing/fake-api/faults.ts";
import { simulated, thing, thingKey, thingType } from "./testing/simulated.ts";

const lease = { namespace: "millrace", name: "operator" };

const candidate = (
  world: ReturnType<typeof simulated>,
  identity: string,
  options: Partial<LeaderOptions> = {},
) => {
  const process = world.process(identity);
  const log: string[] = [];
  const { api, clock, random, logger } = process;
  const election = new LeaderElection({
    ...{ api, clock, random, logger, lease, identity },
    onLeading: () => void log.push(`leads ${Math.round(clock.monoMs())}`),
    onLost: () => void log.push(`lost ${Math.round(clock.monoMs())}`),
    ...options,
  });
  return { ...process, election, log };
};

const holder = (world: ReturnType<typeof simulated>): string | undefined =>
  world.server.get(leaseType, lease)?.spec?.holderIdentity;

test("one leads and renews, the other waits", async () => {
  const world = simulated();
  const a = candidate(world, "a");
  const b = candidate(world, "b");
  a.election.start();
  await world.pass(1000);
  b.election.start();
  await world.pass(300_000);
  assert.equal(a.election.isLeading, true);
  assert.equal(b.election.isLeading, false);
  assert.deepEqual([a.log.length, b.log.length], [1, 0]);
  const { spec } = world.server.get(leaseType, lease) ?? {};
  assert.equal(spec?.leaseDurationSeconds, 15);
  assert.equal(spec?.leaseTransitions, 0);
  assert.match(spec?.renewTime ?? "", /^2023-11-14T22:18:\d\d\.\d{6}Z$/);
});

test("who dies is followed after the lease's duration, not before", async () => {
  const world = simulated();
  const a = candidate(world, "a");
  const b = candidate(world, "b");
  a.election.start();
  await world.pass(1000);
  b.election.start();
  await world.pass(20_000);
  const diedMs = world.people.monoMs();
  a.life.kill();
  await world.pass(12_000);
  assert.equal(b.election.isLeading, false);
  await world.pass(8000);
  assert.equal(b.election.isLeading, true, `died at ${diedMs}`);
  assert.equal(world.server.get(leaseType, lease)?.spec?.leaseTransitions, 1);
});

test("who stops hands the lease on", async () => {
  const world = simulated();
  const a = candidate(world, "a");
  const b = candidate(world, "b");
  a.election.start();
  await world.pass(1000);
  b.election.start();
  await world.pass(5000);
  await world.kernel.run(a.election.stop());
  assert.equal(holder(world), "");
  await world.pass(3000);
  assert.equal(b.election.isLeading, true);
  assert.deepEqual(a.log.length, 1);
});

test("clocks that disagree by years change nothing: a duration is seen, not computed", async () => {
  const world = simulated();
  const a = candidate(world, "a");
  a.election.start();
  await world.pass(5000);
  const found = world.server.get(leaseType, lease);
  assert.ok(found !== undefined);
  // As if the holder's clock were in the past.
  const spec = { ...found.spec, renewTime: "2001-01-01T00:00:00.000000Z" };
  a.life.pause();
  world.server.replace(leaseType, { ...found, spec });
  const b = candidate(world, "b");
  b.election.start();
  await world.pass(14_000);
  assert.equal(b.election.isLeading, false);
  await world.pass(6000);
  assert.equal(b.election.isLeading, true);
});

test("without renewals a leader is none after ten seconds, and says so once", async () => {
  const world = simulated();
  const a = candidate(world, "a");
  const api = fenced(a.api, () => a.election.isLeading);
  a.election.start();
  await world.pass(1000);
  await world.kernel.run(api.create(thingType, thing("a")));
  world.fail({ cut: 1 });
  await world.pass(8900);
  assert.equal(a.election.isLeading, true);
  await world.pass(3000);
  assert.equal(a.election.isLeading, false);
  const late = world.kernel.run(api.create(thingType, thing("b")));
  await assert.rejects(late, NotLeaderError);
  assert.equal(a.log.length, 2);
  world.fail({});
  await world.pass(60_000);
  // It has to end; it never leads again.
  assert.equal(a.election.isLeading, false);
  assert.equal(a.log.length, 2);
  await world.kernel.run(api.get(thingType, thingKey("a")));
});

test("a process that stood still knows at its first write that it leads no more", async () => {
  const world = simulated();
  const a = candidate(world, "a");
  a.election.start();
  await world.pass(1000);
  a.life.pause();
  await world.pass(11_000);
  // Before any timer of its own has run.
  assert.equal(a.election.isLeading, false);
});

test("a machine that was suspended has a wall clock that says so", async () => {
  const world = simulated();
  const a = candidate(world, "a");
  a.election.start();
  await world.pass(1000);
  world.kernel.wallOffsetMs += 60_000;
  assert.equal(a.election.isLeading, false);
});

test("a leader whose lease somebody has taken loses it", async () => {
  const world = simulated();
  const a = candidate(world, "a");
  a.election.start();
  await world.pass(1000);
  const found = world.server.get(leaseType, lease);
  assert.ok(found !== undefined);
  world.server.replace(leaseType, { ...found, spec: { ...found.spec, holderIdentity: "thief" } });
  await world.pass(3000);
  assert.equal(a.log.length, 2);
  assert.equal(holder(world), "thief");
});

test("an answer that was lost is no renewal, and the next try finds the lease", async () => {
  const world = simulated();
  const a = candidate(world, "a");
  world.fail({ loseAnswer: 0.7 });
  a.election.start();
  await world.pass(60_000);
  world.fail({});
  await world.pass(10_000);
  assert.equal(holder(world), "a");
  assert.equal(a.election.isLeading || a.log.length === 2, true);
});

test("a lease counts from when its renewal was sent, however late the answer comes", async () => {
  const world = simulated();
  let isSlow = false;
  const a = candidate(world, "a");
  const replace = a.api.replace.bind(a.api);
  a.api.replace = async (type, object) => {
    const answer = await replace(type, object);
    if (isSlow) await a.clock.sleep(5000);
    return answer;
  };
  a.election.start();
  await world.pass(1000);
  isSlow = true;
  // Sent at about 2 s, answered at 7 s.
  await world.pass(6500);
  world.fail({ cut: 1 });
  assert.equal(a.election.isLeading, true);
  await world.pass(4000);
  assert.equal(a.election.isLeading, true);
  await world.pass(1000);
  assert.equal(a.election.isLeading, false);
});

test("a read that hangs does not cost the lease", async () => {
  const world = simulated();
  const a = candidate(world, "a");
  const get = a.api.get.bind(a.api);
  let gets = 0;
  a.api.get = (type, key) => {
    gets += 1;
    return gets === 3 ? new Promise(() => {}) : get(type, key);
  };
  a.election.start();
  await world.pass(60_000);
  assert.equal(a.election.isLeading, true);
  assert.equal(a.log.length, 1);
});

test("times that leave no room for a write are refused", () => {
  const world = simulated();
  assert.throws(() => candidate(world, "a", { writeMs: 6000 }), /too short/);
  assert.throws(() => candidate(world, "a", { retryMs: 10_000 }), /too short/);
});

/** Two operators that write whenever they may, under every fault, pauses among them. */
const neverTwo = async (seed: number): Promise<number> => {
  const world = simulated(seed);
  let terms = 0;
  const writers: string[] = [];
  world.server.onWrite = ({ kind, key }) => {
    if (!kind.startsWith("things")) return;
    const writer = key.replace(/^n\/(\w+)-.*$/, "$1");
    if (writers.at(-1) === writer) return;
    assert.ok(!writers.includes(writer), `seed ${seed}: ${writer} wrote after ${writers.at(-1)}`);
    writers.push(writer);
  };
  const begin = (identity: string): void => {
    const one = candidate(world, identity, {
      onLeading: () => {
        terms += 1;
      },
      onLost: () => {
        one.life.kill();
        world.kernel.schedule(500, () => begin(`${identity}x`));
      },
    });
    const api = fenced(one.api, () => one.election.isLeading);
    one.election.start();
    const write = async (): Promise<void> => {
      for (let i = 0; ; i += 1) {
        await one.clock.sleep(300);
        await api.create(thingType, thing(`${identity}-${i}`)).catch(() => undefined);
      }
    };
    void write();
    const { random } = world.kernel;
    const stand = (): void => {
      if (!one.life.alive) return;
      one.life.pause();
      world.kernel.schedule(random.below(30_000), () => one.life.resume());
      world.kernel.schedule(30_000 + random.below(30_000), stand);
    };
    world.kernel.schedule(random.below(60_000), stand);
  };
  for (const identity of ["a", "b"]) begin(identity);
  for (let i = 0; i < 10; i += 1) {
    world.fail(i % 3 === 0 ? {} : { ...manyFaults, cut: 0.3 * (i % 3) });
    await world.pass(30_000);
  }
  return terms;
};

test("two operators never both write, whatever fails and whoever stands still", async () => {
  let terms = 0;
  for (let seed = 1; seed <= 40; seed += 1) terms += await neverTwo(seed);
  assert.ok(terms > 80, `${terms} terms`);
});
