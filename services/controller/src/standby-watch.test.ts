/** A controller that waits watches over the active one, which dies, hangs, or was never there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { keys, Mirror } from "@millrace/metadata";
import { type Dialer, HealthState, healthService } from "@millrace/rpc";
import type { ControllerProcess } from "./controller-process.ts";
import { StandbyWatch } from "./standby-watch.ts";
import { type Interpose, isActive, TestCluster, ttlSeconds } from "./testing/cluster.ts";

class World extends TestCluster {
  /** A controller that listens at `c<id>:7401`, and tells `address`. */
  async serve(id: number, { address = `c${id}:7401`, interpose = none } = {}) {
    const started = await this.controller(id, interpose);
    const { listener } = this.network.attach(`c${id}`, started.life);
    const server = await this.run(
      listener.listen(`c${id}:7401`, [healthService(new HealthState())]),
    );
    const endpoints = { clientEndpoint: "", internalEndpoint: address };
    await this.run(started.process.announce(endpoints));
    await this.pass(1000);
    return { ...started, server };
  }

  async epoch(): Promise<number> {
    return (await this.get(keys.controller))?.createRevision ?? 0;
  }

  warnings(): string[] {
    return this.lines.map(({ message }) => message).filter((one) => one.includes("dead"));
  }
}

const none: Interpose = () => ({});

/** Until one of these is active. */
const replacedMs = async (world: World, ...next: readonly ControllerProcess[]): Promise<number> => {
  for (let ms = 0; ms <= 20_000; ms += 50) {
    if (next.some(isActive)) return ms;
    await world.pass(50);
  }
  return Number.POSITIVE_INFINITY;
};

test("the key of a controller that died is not waited for", async () => {
  const world = new World();
  const first = await world.serve(1);
  const others = [await world.serve(2), await world.serve(3)];
  const epoch = await world.epoch();
  await world.pass(20_000);
  assert.ok(isActive(first.process));
  first.life.kill();
  const ms = await replacedMs(world, ...others.map(({ process }) => process));
  assert.ok(ms <= 700, `${ms} ms`);
  assert.ok((await world.epoch()) > epoch);
  const dead = "the active controller is dead: its address refuses connections";
  assert.deepEqual(world.warnings(), [dead]);
  // Whoever is active now is watched over as well.
  await world.pass(2000);
  for (const { life, process } of others) if (isActive(process)) life.kill();
  const left = others.filter(({ life }) => life.alive).map(({ process }) => process);
  assert.equal(left.length, 1);
  assert.ok((await replacedMs(world, ...left)) <= 700);
});

test("a controller that hangs keeps its key until its lease ends", async () => {
  const world = new World();
  const first = await world.serve(1);
  const second = await world.serve(2);
  const epoch = await world.epoch();
  first.life.pause();
  await world.pass(1500);
  assert.equal(await world.epoch(), epoch);
  assert.ok((await replacedMs(world, second.process)) <= 1000 * ttlSeconds);
  assert.deepEqual(world.warnings(), []);
});

test("a controller that was never reached is not taken for dead", async () => {
  const world = new World();
  const first = await world.serve(1, { address: "c1:9999" });
  await world.serve(2);
  const epoch = await world.epoch();
  await world.pass(10_000);
  assert.equal(await world.epoch(), epoch);
  assert.ok(isActive(first.process));
});

test("one that lives and listens no more is elected anew, or not, and that is the end of it", async () => {
  const world = new World();
  const first = await world.serve(1);
  const second = await world.serve(2);
  const epoch = await world.epoch();
  await world.run(first.server.shutdown(0));
  await world.pass(700);
  const next = await world.epoch();
  assert.ok(next > epoch);
  await world.pass(10_000);
  assert.equal(await world.epoch(), next);
  assert.equal([first, second].filter(({ process }) => isActive(process)).length, 1);
  assert.equal(world.warnings().length, 1);
});

test("a late deletion does not end the reign of the next controller", async () => {
  const world = new World();
  const late = Promise.withResolvers<void>();
  const first = await world.serve(1);
  const second = await world.serve(2, {
    interpose: ({ txn }) => ({
      txn: async (...args) => {
        const [operation] = args[1];
        const range = operation?.type === "delete" ? operation.range : {};
        if ("key" in range && range.key === keys.controller) await late.promise;
        return txn(...args);
      },
    }),
  });
  first.life.kill();
  assert.ok((await replacedMs(world, second.process)) <= 1000 * (ttlSeconds + 1));
  const epoch = await world.epoch();
  late.resolve();
  await world.pass(3000);
  assert.equal(await world.epoch(), epoch);
});

test("while the store does not answer it is tried again, and told once", async () => {
  const world = new World();
  let isDown = false;
  const first = await world.serve(1);
  const second = await world.serve(2, {
    interpose: ({ txn }) => ({
      txn: async (...args) => {
        if (isDown) throw new MillraceError(ErrorCode.UNAVAILABLE, "etcd does not answer");
        return txn(...args);
      },
    }),
  });
  isDown = true;
  first.life.kill();
  await world.pass(2000);
  assert.deepEqual(world.warnings(), [
    "the active controller is dead and cannot be replaced: trying again",
  ]);
  isDown = false;
  assert.ok((await replacedMs(world, second.process)) <= 700);
});

test("an active controller does not watch over itself", async () => {
  const world = new World();
  const { process, server } = await world.serve(1);
  const epoch = await world.epoch();
  await world.pass(5000);
  await world.run(server.shutdown(0));
  await world.pass(5000);
  assert.equal(await world.epoch(), epoch);
  assert.ok(isActive(process));
});

test("another address under the same key is another one", async () => {
  const world = new World();
  const first = await world.serve(1);
  await world.serve(2);
  const epoch = await world.epoch();
  const endpoints = { clientEndpoint: "", internalEndpoint: "c1:9999" };
  await world.run(first.process.announce(endpoints));
  await world.pass(3000);
  await world.run(first.server.shutdown(0));
  await world.pass(3000);
  assert.equal(await world.epoch(), epoch);
});

test("a controller that stops watches no more, though its store hangs", async () => {
  const world = new World();
  const never = new Promise<never>(() => {});
  let hangs = false;
  let deletions = 0;
  const first = await world.serve(1);
  const second = await world.serve(2, {
    interpose: ({ range, txn, keepAlive }) => ({
      range: (...args) => (hangs ? never : range(...args)),
      keepAlive: (...args) => (hangs ? never : keepAlive(...args)),
      txn: (...args) => {
        if (args[1][0]?.type === "delete") deletions += 1;
        return txn(...args);
      },
    }),
  });
  hangs = true;
  await world.pass(3000);
  void second.process.close();
  await world.pass(1000);
  first.life.kill();
  await world.pass(3000);
  assert.equal(deletions, 0);
});

test("an address where nobody ever answered is dialed twice a second", async () => {
  const world = new World();
  await world.serve(1, { address: "c1:9999" });
  const { life, ...shared } = world.process("standby");
  const mirror = new Mirror(shared);
  await world.run(mirror.start());
  const { dialer } = world.network.attach("c2", life);
  let dials = 0;
  const counting: Dialer = {
    dial: (...args) => {
      dials += 1;
      return dialer.dial(...args);
    },
  };
  const watch = new StandbyWatch({ ...shared, mirror, dialer: counting });
  await world.pass(10_000);
  assert.ok(dials >= 18 && dials <= 20, `${dials} dials`);
  watch.close();
  await world.pass(2000);
  assert.ok(dials <= 20, "none after the end");
});
