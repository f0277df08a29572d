/** Heartbeats of a broker to controllers that a test plays, over a simulated network. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type HeartbeatRequest,
  type HeartbeatResponse,
  HeartbeatResponseSchema,
  ReplicaService,
} from "@millrace/proto/controller";
import { bindService, type ServerStream } from "@millrace/rpc";
import { Incarnation, Kernel, SimNetwork } from "@millrace/sim";
import { Heartbeats } from "./heartbeats.ts";
import { FakeView } from "./testing/fake-view.ts";

type Stream = ServerStream<HeartbeatRequest, HeartbeatResponse>;

/** What a controller heard, with the time. */
interface Heard {
  readonly atMs: number;
  readonly controller: number;
  readonly stream: number;
  readonly request: HeartbeatRequest;
}

class World {
  readonly kernel = new Kernel(3);
  readonly network = new SimNetwork(this.kernel, () => 1);
  readonly view = new FakeView(1);
  readonly heard: Heard[] = [];
  /** Streams that controllers have seen end, with how. */
  readonly ended: string[] = [];
  readonly warnings: string[] = [];
  /** Whether controllers answer beats. */
  isAnswering = true;
  /** Whether controllers answer nothing, not even openings. */
  isMute = false;
  refusal: MillraceError | undefined;
  epoch = 7;
  #streams = 0;

  run<T>(work: Promise<T>): Promise<T> {
    return this.kernel.run(work);
  }

  pass(ms: number): Promise<void> {
    return this.run(new Promise((resolve) => void this.kernel.schedule(ms, resolve, "test")));
  }

  /** A controller at `b<id>:7401`, as the view names it. */
  async controller(id: number): Promise<Incarnation> {
    const life = new Incarnation(this.kernel, `controller ${id}`);
    const { listener } = this.network.attach(`b${id}`, life);
    const unused = (): Promise<never> => Promise.reject(new Error("not used"));
    const service = bindService(ReplicaService, {
      ...{ alterPartitions: unused, confirmDeletions: unused, confirmRemovals: unused },
      allocateProducerIds: unused,
      heartbeat: (stream: Stream) => this.#serve(id, stream),
    });
    await this.run(listener.listen(`b${id}:7401`, [service]));
    return life;
  }

  broker(): Heartbeats {
    const life = new Incarnation(this.kernel, "broker");
    const { dialer } = this.network.attach("broker", life);
    const warn = (_: unknown, message: string): void => void this.warnings.push(message);
    const heartbeats = new Heartbeats({
      logCount: () => 7,
      commitLagMs: () => 1200.4,
      ...{ clock: life.clock(), random: this.kernel.random, dialer, view: this.view },
      ...{ logger: { ...silentLogger, warn }, identity: { clusterId: "c", brokerId: 5 } },
      brokerEpoch: () => this.epoch,
    });
    heartbeats.start();
    return heartbeats;
  }

  /** Openings so far: controller, broker epoch. */
  get opened(): string[] {
    return this.heard.flatMap(({ controller, request: { open } }) =>
      open === undefined ? [] : [`${controller} under ${open.brokerEpoch}`],
    );
  }

  /** Beats so far. */
  get beats(): Heard[] {
    return this.heard.filter(({ request }) => request.open === undefined && !request.goodbye);
  }

  async #serve(controller: number, stream: Stream): Promise<void> {
    this.#streams += 1;
    const number = this.#streams;
    try {
      for (;;) {
        const request = await stream.read();
        if (request === undefined) throw new Error("end without goodbye");
        const atMs = this.kernel.nowMs;
        this.heard.push({ atMs, controller, stream: number, request });
        if (this.refusal !== undefined) throw this.refusal;
        if (request.goodbye) return void this.ended.push("goodbye");
        if (this.isMute || (request.open === undefined && !this.isAnswering)) continue;
        const opened = { intervalMs: 1000, silenceMs: 5000 };
        stream.write(create(HeartbeatResponseSchema, request.open === undefined ? {} : { opened }));
      }
    } catch (thrown) {
      this.ended.push(MillraceError.from(thrown).message);
      throw thrown;
    }
  }
}

const setUp = async () => {
  const world = new World();
  const life = await world.controller(0);
  const heartbeats = world.broker();
  await world.pass(50);
  return { world, life, heartbeats };
};

test("a broker names itself, and beats as often as the controller says", async () => {
  const { world } = await setUp();
  const open = world.heard[0]?.request.open;
  assert.deepEqual([open?.clusterId, open?.brokerId, open?.brokerEpoch], ["c", 5, 7n]);
  await world.pass(5000);
  const times = world.beats.map(({ atMs }) => atMs);
  assert.equal(times.length, 5);
  const told = world.beats.map(({ request }) => [request.logCount, request.commitLagMs]);
  assert.deepEqual(told[0], [7, 1200]);
  assert.ok(times.every((atMs, i) => i === 0 || Math.abs(atMs - (times[i - 1] ?? 0) - 1000) < 5));
  await world.pass(60_000);
  assert.deepEqual(world.opened, ["0 under 7"]);
  assert.deepEqual(world.warnings, []);
});

test("beats go on while answers are late, and after three seconds the stream is opened anew", async () => {
  const { world } = await setUp();
  await world.pass(2000);
  world.isAnswering = false;
  const before = world.beats.length;
  await world.pass(2500);
  assert.equal(world.beats.length - before, 2);
  assert.deepEqual(world.opened, ["0 under 7"]);
  await world.pass(800);
  assert.deepEqual(world.opened, ["0 under 7", "0 under 7"]);
  assert.deepEqual(world.warnings, ["heartbeats do not reach the controller: trying again"]);
});

test("a connection that is dead without a word is replaced before the broker is fenced", async () => {
  const { world } = await setUp();
  await world.pass(2100);
  const last = world.beats.at(-1)?.atMs ?? 0;
  world.network.breakConnections("broker", "b0", "half-open");
  await world.pass(6000);
  const next = world.heard.find(({ atMs }) => atMs > last)?.atMs ?? 0;
  assert.ok(next - last > 2000 && next - last < 4000, `${next - last} ms`);
});

test("a controller that does not answer an opening is given up after two seconds", async () => {
  const world = new World();
  await world.controller(0);
  world.isMute = true;
  world.broker();
  await world.pass(1990);
  assert.equal(world.opened.length, 1);
  await world.pass(200);
  assert.equal(world.opened.length, 2);
});

test("heartbeats follow the controller to another address", async () => {
  const { world } = await setUp();
  await world.controller(1);
  world.view.change({ controller: 1 });
  await world.pass(1500);
  assert.deepEqual(world.opened, ["0 under 7", "1 under 7"]);
  await world.pass(60_000);
  assert.deepEqual(world.opened.length, 2);
});

test("while no controller is known the stream that is open stays", async () => {
  const { world } = await setUp();
  world.view.change({ controller: "none" });
  await world.pass(5000);
  assert.deepEqual(world.opened, ["0 under 7"]);
  assert.equal(world.beats.length, 5);
});

test("a broker that has registered anew opens its stream under the new epoch", async () => {
  const { world } = await setUp();
  world.epoch = 9;
  await world.pass(1500);
  assert.deepEqual(world.opened, ["0 under 7", "0 under 9"]);
  await world.pass(5000);
  assert.equal(world.opened.length, 2);
});

test("a broker without a registration does not beat until it has one", async () => {
  const world = new World();
  await world.controller(0);
  world.epoch = 0;
  world.broker();
  await world.pass(10_000);
  assert.deepEqual(world.heard, []);
  world.epoch = 3;
  await world.pass(1600);
  assert.deepEqual(world.opened, ["0 under 3"]);
});

test("pauses after refusals grow to a second and a half at most", async () => {
  const world = new World();
  await world.controller(0);
  world.refusal = MillraceError.refusal(ErrorCode.NOT_CONTROLLER, "not me");
  world.broker();
  await world.pass(20_000);
  const times = world.heard.map(({ atMs }) => atMs);
  const pauses = times.slice(1).map((atMs, i) => atMs - (times[i] ?? 0));
  assert.ok((pauses[0] ?? 0) < 100, `${pauses}`);
  assert.ok(
    pauses.slice(5).every((ms) => ms > 500 && ms < 1600),
    `${pauses}`,
  );
  assert.ok(new Set(pauses.map(Math.round)).size > 10, "jittered");
  assert.equal(world.warnings.length, 1);
  world.refusal = undefined;
  await world.pass(5000);
  assert.ok(world.beats.length >= 3);
});

test("a dead controller is replaced by the next one, and the pauses begin anew", async () => {
  const { world, life } = await setUp();
  life.kill();
  await world.pass(3000);
  await world.controller(1);
  world.view.change({ controller: 1 });
  await world.pass(1600);
  assert.deepEqual(world.opened, ["0 under 7", "1 under 7"]);
});

test("a close says goodbye, and is over when the controller has heard it", async () => {
  const { world, heartbeats } = await setUp();
  const beforeMs = world.kernel.nowMs;
  await world.run(heartbeats.close());
  assert.deepEqual(world.ended, ["goodbye"]);
  assert.ok(world.kernel.nowMs - beforeMs < 10);
  await world.pass(10_000);
  assert.deepEqual([world.beats.length, world.opened.length], [0, 1]);
});

test("a close waits half a second for a controller that does not answer", async () => {
  const { world, heartbeats } = await setUp();
  world.network.cut("b0", "broker");
  const beforeMs = world.kernel.nowMs;
  await world.run(heartbeats.close());
  assert.equal(world.kernel.nowMs - beforeMs, 500);
  const early = new World();
  const unopened = early.broker();
  await early.run(unopened.close());
  assert.ok(early.kernel.nowMs < 10);
  const paused = new World();
  const retrying = paused.broker();
  await paused.pass(5000);
  await paused.run(retrying.close());
  assert.ok(paused.kernel.nowMs < 5010);
});
