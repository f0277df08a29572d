/** Streams of heartbeats to a controller, brokers that die in several ways, and what is fenced. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/errors";
import { keys, type Operation, type Registration } from "@millrace/metadata";
import {
  HeartbeatRequestSchema,
  type HeartbeatResponse,
  ReplicaService,
} from "@millrace/proto/controller";
import { BrokerRecordSchema } from "@millrace/proto/storage";
import { type Dialer, HealthState, healthService, type Listener, methodOf } from "@millrace/rpc";
import type { Incarnation } from "@millrace/sim";
import { ProducerIdBlocks } from "../producer-ids.ts";
import { ReplicaHandlers } from "../replicas.ts";
import { type Interpose, TestCluster } from "../testing/cluster.ts";

const method = methodOf(ReplicaService.method.heartbeat);
const ttlSeconds = 60;

type Controller = Awaited<ReturnType<TestCluster["controller"]>>;

/** A broker that beats, as a process on a host of its own. */
interface Member {
  readonly id: number;
  readonly host: string;
  readonly life: Incarnation;
  readonly dialer: Dialer;
  readonly listener: Listener;
  readonly registration: Registration;
}

class World extends TestCluster {
  readonly members: Member[] = [];

  /** A controller that serves at `c<id>:7401`. */
  async serve(id: number, interpose?: Interpose): Promise<Controller & { stop(): Promise<void> }> {
    const started = await this.controller(id, interpose);
    const { listener } = this.network.attach(`c${id}`, started.life);
    const handlers = new ReplicaHandlers({
      ...{ clusterId: "c", clock: started.life.clock(), active: started.process },
      deletionDone: async () => {},
      removalsDone: async () => {},
      producerIds: new ProducerIdBlocks({ store: this.store, active: started.process }),
    });
    const server = await this.run(listener.listen(`c${id}:7401`, handlers.bindings()));
    await this.pass(100);
    return { ...started, stop: () => server.shutdown(0) };
  }

  /** Registers broker `id`, which answers at `b<id>:7401`. */
  async join(id: number, address = `b${id}:7401`, ttl = ttlSeconds): Promise<Member> {
    const incarnationId = this.kernel.random.bytes(16);
    const record = create(BrokerRecordSchema, {
      ...{ brokerId: id, incarnationId, internalEndpoint: address },
    });
    const { life, registration } = this.registration(id, { record, ttlSeconds: ttl });
    const host = `b${id}`;
    const { dialer, listener } = this.network.attach(host, life);
    await this.run(listener.listen(`${host}:7401`, [healthService(new HealthState())]));
    await this.run(registration.register());
    await this.pass(100);
    const member = { id, host, life, dialer, listener, registration };
    this.members.push(member);
    return member;
  }

  /** Opens a stream, and beats on it every second for as long as it is open. */
  beat(
    { dialer, id, life, registration }: Member,
    fields: { clusterId?: string; brokerEpoch?: bigint; controller?: number } = {},
    told: { commitLagMs?: number } = {},
  ) {
    const { clusterId = "c", brokerEpoch = BigInt(registration.epoch), controller = 1 } = fields;
    const stream = dialer.dial(`c${controller}:7401`).bidi(method);
    const open = { clusterId, brokerId: id, brokerEpoch };
    stream.write(create(HeartbeatRequestSchema, { open }));
    const clock = life.clock();
    let cancel = (): void => {};
    const next = (): void => {
      cancel = clock.timer(1000, () => {
        stream.write(create(HeartbeatRequestSchema, told));
        next();
      });
    };
    next();
    const heard: HeartbeatResponse[] = [];
    const listen = async (): Promise<string> => {
      try {
        for (;;) {
          const message = await stream.read();
          if (message === undefined) return "OK";
          heard.push(message);
        }
      } catch (thrown) {
        return MillraceError.from(thrown).codeName;
      } finally {
        cancel();
      }
    };
    const ended: string[] = [];
    void listen().then((how) => ended.push(how));
    return { stream, heard, ended, stop: () => cancel() };
  }

  /** Ids of the brokers that are registered. */
  async registered(): Promise<string> {
    const { kvs } = await this.run(this.store.range({ prefix: keys.brokers }));
    return kvs.map(({ key }) => key.slice(keys.brokers.length)).join();
  }

  said(text: string): number {
    return this.lines.filter(({ message }) => message.startsWith(text)).length;
  }
}

/** A controller, and three brokers that beat. */
const setUp = async (interpose?: Interpose, ttl?: number) => {
  const world = new World();
  const controller = await world.serve(1, interpose);
  const members = [
    await world.join(0, undefined, ttl),
    await world.join(1, undefined, ttl),
    await world.join(2, undefined, ttl),
  ] as const;
  const streams = members.map((member) => world.beat(member));
  await world.pass(2500);
  return { world, controller, members, streams };
};

test("the controller tells the interval, and answers each beat once", async () => {
  const { world, streams } = await setUp();
  const { heard, ended } = streams[0] ?? assert.fail();
  const [first, ...others] = heard;
  assert.deepEqual([first?.opened?.intervalMs, first?.opened?.silenceMs], [1000, 5000]);
  assert.ok(others.every(({ opened }) => opened === undefined));
  assert.deepEqual([others.length, ended], [2, []]);
  await world.pass(60_000);
  assert.equal(await world.registered(), "0,1,2");
  assert.equal(heard.length, 63);
});

test("brokers tell how long their records wait to be committed", async () => {
  const { world, controller, members } = await setUp();
  const lags = () => [...controller.process.watchOfReign().commitLagsMs()];
  assert.deepEqual(lags(), [], "these are too old to tell");
  world.beat(members[1], {}, { commitLagMs: 700 });
  await world.pass(1500);
  assert.deepEqual(lags(), [[1, 700]]);
});

test("a process that was killed is fenced at once", async () => {
  const { world, members, streams } = await setUp();
  members[1].life.kill();
  await world.pass(50);
  assert.equal(await world.registered(), "0,2");
  assert.equal(world.said("a dead broker is fenced"), 1);
  assert.equal(world.counts.fenced, 1);
  await world.pass(30_000);
  assert.equal(await world.registered(), "0,2");
  assert.deepEqual(streams[0]?.ended, []);
});

test("a process that listens for a moment longer is fenced at the next dial", async () => {
  const { world, members } = await setUp();
  world.network.breakConnections("b1", "c1", "reset");
  await world.pass(20);
  members[1].life.kill();
  assert.equal(await world.registered(), "0,1,2");
  await world.pass(120);
  assert.equal(await world.registered(), "0,2");
});

test("a process that hangs is fenced after five seconds, and registers anew", async () => {
  const { world, members, streams } = await setUp(undefined, 9);
  const before = members[1].registration.epoch;
  members[1].life.pause();
  await world.pass(4000);
  assert.equal(await world.registered(), "0,1,2");
  await world.pass(1400);
  assert.equal(await world.registered(), "0,2");
  assert.equal(world.said("a hung broker is fenced"), 1);
  members[1].life.resume();
  await world.pass(4000);
  assert.equal(await world.registered(), "0,1,2");
  assert.ok(members[1].registration.epoch > before);
  assert.deepEqual(streams[1]?.ended, ["STALE_BROKER_EPOCH"]);
  world.beat(members[1]);
  await world.pass(20_000);
  assert.equal(await world.registered(), "0,1,2");
  assert.equal(world.counts.fenced, 1);
});

test("a machine that is gone is fenced after its silence, not at the break", async () => {
  const { world, controller } = await setUp();
  const channel = world.network;
  channel.powerOff("b1");
  channel.breakConnections("b1", "c1", "reset");
  await world.pass(3500);
  assert.equal(await world.registered(), "0,1,2");
  await world.pass(2000);
  assert.equal(await world.registered(), "0,2");
  assert.equal(world.said("a hung broker is fenced"), 1);
  assert.ok(controller.process.requireActive() === undefined);
});

test("a broker whose stream breaks goes on with a new one", async () => {
  const { world, members, streams } = await setUp();
  world.network.breakConnections("b1", "c1", "reset");
  await world.pass(3000);
  assert.deepEqual(streams[1]?.ended, ["UNAVAILABLE"]);
  world.beat(members[1]);
  await world.pass(20_000);
  assert.equal(await world.registered(), "0,1,2");
});

test("a broker that ends its stream without a goodbye is judged as one that broke", async () => {
  const { world, streams } = await setUp();
  streams[1]?.stop();
  streams[1]?.stream.end();
  await world.pass(3500);
  assert.equal(await world.registered(), "0,1,2");
  await world.pass(2000);
  assert.equal(await world.registered(), "0,2");
});

test("a broker that says goodbye ends its registration itself", async () => {
  const { world, members, streams } = await setUp();
  streams[1]?.stop();
  streams[1]?.stream.write(create(HeartbeatRequestSchema, { goodbye: true }));
  await world.pass(100);
  assert.deepEqual(streams[1]?.ended, ["OK"]);
  members[1].life.kill();
  await world.pass(20_000);
  assert.equal(await world.registered(), "0,1,2");
  assert.equal(world.counts.fenced, 0);
});

test("streams are refused as calls are", async () => {
  const { world, members } = await setUp();
  await world.serve(2);
  const brokerEpoch = BigInt(members[0].registration.epoch);
  const cases = [
    [{ clusterId: "other" }, "CLUSTER_ID_MISMATCH"],
    [{ clusterId: "" }, "STREAM_PROTOCOL_VIOLATION"],
    [{ brokerEpoch: brokerEpoch - 1n }, "STALE_BROKER_EPOCH"],
    [{ brokerEpoch: brokerEpoch + 1n }, "STALE_BROKER_EPOCH"],
    [{ controller: 2 }, "NOT_CONTROLLER"],
  ] as const;
  for (const [fields, code] of cases) {
    const { ended, heard } = world.beat(members[0], fields);
    await world.pass(200);
    assert.deepEqual([ended, heard], [[code], []]);
  }
  const channel = members[0].dialer.dial("c1:7401");
  const [silent, hasty] = [channel.bidi(method), channel.bidi(method)];
  hasty.write(create(HeartbeatRequestSchema, {}));
  const codeOf = (one: typeof silent): Promise<string> =>
    world.run(
      one.read().then(
        () => "answered",
        (thrown: unknown) => MillraceError.from(thrown).codeName,
      ),
    );
  assert.equal(await codeOf(hasty), "STREAM_PROTOCOL_VIOLATION");
  assert.equal(await codeOf(silent), "STREAM_PROTOCOL_VIOLATION");
  assert.equal(await world.registered(), "0,1,2", "nobody is taken for dead by that");
});

test("a second opening on a stream breaks the protocol", async () => {
  const { world, members, streams } = await setUp();
  const open = { clusterId: "c", brokerId: 0, brokerEpoch: BigInt(members[0].registration.epoch) };
  streams[0]?.stream.write(create(HeartbeatRequestSchema, { open }));
  await world.pass(100);
  assert.deepEqual(streams[0]?.ended, ["STREAM_PROTOCOL_VIOLATION"]);
});

test("the newest stream of a broker is the one that counts", async () => {
  const { world, members, streams } = await setUp();
  world.beat(members[0]);
  await world.pass(100);
  assert.deepEqual(streams[0]?.ended, ["CANCELLED"]);
  await world.pass(20_000);
  assert.equal(await world.registered(), "0,1,2");
});

test("streams end with the reign, and nothing is fenced any more", async () => {
  const { world, controller, members, streams } = await setUp();
  const dials: string[] = [];
  world.kernel.onTrace = (line) => {
    if (/c1>b\d syn/.test(line)) dials.push(line);
  };
  const closing = controller.process.close();
  await world.pass(100);
  await world.run(closing);
  assert.deepEqual(
    streams.map(({ ended }) => ended),
    [["NOT_CONTROLLER"], ["NOT_CONTROLLER"], ["NOT_CONTROLLER"]],
  );
  members[1].life.kill();
  await world.pass(20_000);
  assert.equal(await world.registered(), "0,1,2");
  assert.deepEqual(dials, [], "nobody is dialed any more");
});

test("a controller that stops ends the streams, and takes that for nobody's death", async () => {
  const { world, controller, members, streams } = await setUp();
  await world.run(controller.stop());
  await world.pass(100);
  assert.deepEqual(streams[0]?.ended, ["SHUTTING_DOWN"]);
  members[1].life.kill();
  await world.pass(20_000);
  assert.equal(await world.registered(), "0,1,2");
});

test("two of three that die at once are left to their leases, with a warning", async () => {
  const { world, members } = await setUp(undefined, 12);
  for (const { life } of members.slice(1)) life.pause();
  await world.pass(7000);
  assert.equal(await world.registered(), "0,1,2");
  assert.equal(world.said("half of the brokers or more seem dead"), 1);
  await world.pass(10_000);
  assert.equal(await world.registered(), "0");
});

test("a controller that is cut off from all brokers fences none", async () => {
  const { world, members } = await setUp();
  world.network.partition(
    "c1",
    members.map(({ host }) => host),
  );
  await world.pass(40_000);
  assert.equal(await world.registered(), "0,1,2");
  assert.ok(world.said("half of the brokers or more seem dead") >= 1);
});

test("a pause of the controller is no silence of the brokers", async () => {
  const { world, controller } = await setUp();
  // Shorter than the lease of the election, or the reign ends.
  controller.life.pause();
  await world.pass(2900);
  controller.life.resume();
  await world.pass(2900);
  assert.equal(await world.registered(), "0,1,2");
  assert.equal(world.said("half of the brokers"), 0);
});

test("a new reign dials brokers without a stream, and fences those that are dead", async () => {
  const world = new World();
  const [dead, , older] = [await world.join(0), await world.join(1), await world.join(2)];
  const nowhere = await world.join(3, "");
  dead.life.kill();
  nowhere.life.kill();
  await world.serve(1);
  await world.pass(1500);
  assert.equal(await world.registered(), "0,1,2,3");
  await world.pass(1000);
  assert.equal(await world.registered(), "1,2,3");
  await world.pass(60_000);
  assert.equal(await world.registered(), "1,2", "its lease has ended");
  assert.equal(world.counts.fenced, 1, "one without an address, or without heartbeats, is not");
  assert.ok(older.life.alive);
});

test("a broker that registers anew before it is fenced keeps its new registration", async () => {
  let hook = async (): Promise<void> => {};
  const isFencing = (one: Operation): boolean =>
    one.type === "delete" && "key" in one.range && one.range.key.startsWith(keys.brokers);
  const { world, members } = await setUp(({ txn }) => ({
    txn: async (compares, then, ...rest) => {
      if (then.some(isFencing)) await hook();
      return txn(compares, then, ...rest);
    },
  }));
  const value = (await world.get(keys.broker(1)))?.value ?? assert.fail();
  const { store } = world;
  hook = async () => {
    hook = async () => {};
    await store.txn([], [{ type: "delete", range: { key: keys.broker(1) } }]);
    await store.txn([], [{ type: "put", key: keys.broker(1), value }]);
  };
  members[1].life.kill();
  await world.pass(1000);
  assert.equal(await world.registered(), "0,1,2");
  assert.equal(world.counts.fenced, 0);
});

test("a fencing that fails is tried again", async () => {
  let isFailing = true;
  const { world, members } = await setUp(({ txn }) => ({
    txn: async (compares, then, ...rest) => {
      const isFencing = then.some((one) => one.type === "delete" && "key" in one.range);
      if (isFencing && isFailing) throw new Error("the store fails");
      return txn(compares, then, ...rest);
    },
  }));
  members[1].life.kill();
  await world.pass(15_000);
  assert.equal(await world.registered(), "0,1,2");
  assert.equal(world.said("a broker cannot be fenced"), 1);
  isFailing = false;
  await world.pass(2000);
  assert.equal(await world.registered(), "0,2");
});
