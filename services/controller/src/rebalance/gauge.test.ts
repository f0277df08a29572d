/** What is measured of copies, from brokers that answer and brokers that do not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { keys } from "@millrace/metadata";
import {
  type DescribeLogsRequest,
  DescribeLogsResponseSchema,
  LogService,
} from "@millrace/proto/broker";
import { RebalanceState } from "@millrace/proto/common";
import { BrokerRecordSchema } from "@millrace/proto/storage";
import { topicIdBytes } from "@millrace/record";
import { bindService } from "@millrace/rpc";
import { Incarnation, Kernel, SimNetwork } from "@millrace/sim";
import { rebalanceLimits } from "../limits.ts";
import { keyOf, RebalanceWorld, topicId } from "../testing/rebalance-world.ts";
import { Gauge } from "./gauge.ts";
import { askLoads } from "./loads.ts";

class World {
  readonly kernel = new Kernel(1);
  readonly network = new SimNetwork(this.kernel);
  readonly life = new Incarnation(this.kernel, "controller");
  readonly cluster = new RebalanceWorld({
    ...{
      racks: ["", "", "", ""],
      replicas: [
        [1, 2],
        [1, 2],
        [1, 2],
      ],
    },
  });
  /** Bytes of the log of each partition, by broker. */
  readonly bytes = new Map<number, readonly number[]>();
  readonly asked: { readonly broker: number; readonly topics: readonly string[] }[] = [];
  readonly gauge: Gauge;
  readonly context;

  constructor() {
    const { dialer } = this.network.attach("controller", this.life);
    const mirror = {
      get: (key: string) => {
        const brokerId = Number(key.slice(keys.brokers.length));
        const internalEndpoint = `b${brokerId}:7401`;
        const record = create(BrokerRecordSchema, { brokerId, internalEndpoint });
        const value = toBinary(BrokerRecordSchema, record);
        return { key, value, createRevision: 1, modRevision: 1, version: 1, lease: undefined };
      },
    };
    this.context = { dialer, mirror };
    this.gauge = new Gauge({
      ...{ ...this.context, clock: this.life.clock(), logger: silentLogger },
      state: { current: this.cluster.state },
      watch: { commitLagsMs: () => new Map([[1, 30]]) },
    });
  }

  pass(ms: number): Promise<void> {
    return this.kernel.run(
      new Promise((resolve) => void this.kernel.schedule(ms, resolve, "test")),
    );
  }

  async broker(id: number, bytes: readonly number[], freeBytes?: number): Promise<void> {
    this.bytes.set(id, bytes);
    const life = new Incarnation(this.kernel, `broker ${id}`);
    const unused = (): Promise<never> => Promise.reject(new Error("not used"));
    const service = bindService(LogService, {
      ...{ listOffsets: unused, deleteRecords: unused },
      describeLogs: async ({ topics }: DescribeLogsRequest) => {
        this.asked.push({ broker: id, topics });
        const logs = (this.bytes.get(id) ?? []).map((size, partition) => ({
          ...{ topic: "t", topicId: topicIdBytes(topicId), partition, sizeBytes: BigInt(size) },
        }));
        const free = freeBytes === undefined ? {} : { diskFreeBytes: BigInt(freeBytes) };
        return create(DescribeLogsResponseSchema, { logs, ...free });
      },
    });
    const { listener } = this.network.attach(`b${id}`, life);
    await this.kernel.run(listener.listen(`b${id}:7401`, [service]));
  }

  watch(): void {
    this.gauge.watch({ record: this.cluster.record, moves: this.cluster.moves });
  }
}

/** Broker 3 copies partition 0; partition 1 waits. */
const setUp = async () => {
  const world = new World();
  await world.broker(1, [5000, 100, 100]);
  await world.broker(3, [1200], 7777);
  world.cluster.plan([
    [0, [1, 3]],
    [1, [1, 3]],
  ]);
  world.cluster.step(1);
  return world;
};

test("bytes that copies lack, and free bytes, are asked for every five seconds", async () => {
  const world = await setUp();
  world.watch();
  await world.pass(100);
  const { commitLagMs, freeBytes, lagBytes } = world.gauge.measured;
  assert.deepEqual([...lagBytes], [[keyOf(0), 3800]]);
  assert.deepEqual([[...freeBytes], [...commitLagMs]], [[[3, 7777]], [[1, 30]]]);
  assert.deepEqual(world.asked.map(({ broker }) => broker).sort(), [1, 3]);
  assert.deepEqual(world.asked[0]?.topics, ["t"]);
  world.bytes.set(3, [6000]);
  world.watch();
  await world.pass(rebalanceLimits.lagIntervalMs);
  assert.equal(world.asked.length, 2, "not before it is due");
  world.watch();
  await world.pass(100);
  assert.deepEqual([...world.gauge.measured.lagBytes], [[keyOf(0), 0]], "never less than nothing");
});

test("more moves may go on while records are committed in time, and one for the next plan", async () => {
  const world = await setUp();
  assert.equal(world.gauge.measured.movesPerBroker, 1);
  for (let i = 0; i < 10; i += 1) {
    world.watch();
    await world.pass(rebalanceLimits.paceIntervalMs);
  }
  assert.equal(world.gauge.measured.movesPerBroker, 5);
  world.gauge.stop();
  assert.equal(world.gauge.measured.movesPerBroker, 1);
});

test("a paused plan without moves under way asks nobody", async () => {
  const world = await setUp();
  world.cluster.record = {
    ...world.cluster.record,
    ...{ state: RebalanceState.PAUSED, outcomes: new Uint8Array(2) },
  };
  world.watch();
  await world.pass(100);
  assert.deepEqual(world.asked, []);
});

test("a broker that does not answer leaves its part unknown", async () => {
  const world = await setUp();
  world.cluster.plan([[2, [1, 4]]]);
  world.cluster.step();
  world.watch();
  await world.pass(100);
  assert.deepEqual([...world.gauge.measured.freeBytes], []);
  assert.deepEqual([...world.gauge.measured.lagBytes], [[keyOf(2), 100]], "as if it had nothing");
  const { failures, logs } = await world.kernel.run(askLoads(world.context, [1, 4]));
  assert.deepEqual([[...logs.keys()], [...failures.keys()]], [[1], [4]]);
});

test("a broker is gone after five minutes, and not once it has come back", async () => {
  const world = await setUp();
  world.cluster.record = {
    ...world.cluster.record,
    before: [1, 2, 3, 4].map((brokerId) => ({
      ...{ $typeName: "millrace.common.v1.BrokerLoad" as const, brokerId },
      ...{ replicas: 0, leaders: 0, bytes: 0n },
    })),
  };
  world.cluster.brokers.delete(3);
  world.watch();
  await world.pass(rebalanceLimits.brokerGoneMs - 1000);
  world.watch();
  assert.deepEqual([...world.gauge.measured.gone], []);
  await world.pass(1000);
  assert.deepEqual([...world.gauge.measured.gone], [3]);
  world.cluster.brokers.set(3, 99);
  world.watch();
  assert.deepEqual([...world.gauge.measured.gone], []);
  world.cluster.brokers.delete(3);
  world.watch();
  await world.pass(rebalanceLimits.brokerGoneMs);
  world.gauge.stop();
  assert.deepEqual([...world.gauge.measured.gone], [], "the next plan waits anew");
});
