import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { noMetrics } from "@millrace/broker";
import { type Env, silentLogger } from "@millrace/env";
import { ErrorCode, hasCode } from "@millrace/errors";
import { defaultManagerConfig, type LogManager } from "@millrace/log";
import { decodeRecord, EmbeddedStore, keys, type MetadataStore } from "@millrace/metadata";
import { InitProducerIdRequestSchema, ProduceService } from "@millrace/proto/broker";
import {
  AdminService,
  AlterPartitionsRequestSchema,
  CreateTopicRequestSchema,
  ReplicaService,
} from "@millrace/proto/controller";
import { GetMetadataRequestSchema, MetadataService } from "@millrace/proto/metadata";
import { syncCompressor } from "@millrace/record/node";
import { type Dialer, methodOf } from "@millrace/rpc";
import { Incarnation, Kernel, mountStore, SimDisk, SimNetwork } from "@millrace/sim";
import { type Booted, boot } from "./index.ts";

/** A machine with a disk and a store, on which processes start. */
class Machine {
  readonly kernel = new Kernel(1);
  readonly disk = new SimDisk(this.kernel.random);
  readonly network = new SimNetwork(this.kernel);
  readonly store = new EmbeddedStore({
    clock: new Incarnation(this.kernel).clock(),
    random: this.kernel.random,
  });
  readonly serving: boolean[] = [];
  process = new Incarnation(this.kernel);
  /** Of the process that was started last. */
  logs: LogManager | undefined;
  /** How long a transaction takes. */
  transactionMs = 0;

  start(clientPort = "7400"): Promise<Booted> {
    const process = new Incarnation(this.kernel, "m");
    this.process = process;
    const env: Env = {
      ...{ clock: process.clock(), random: this.kernel.random, compressor: syncCompressor },
      ...{ disk: this.disk.mount(process), logger: silentLogger, sim: this.kernel.marks },
    };
    const { dialer, listener } = this.network.attach("m", process);
    const mounted = mountStore(this.store, process);
    const txn: MetadataStore["txn"] = async (...args) => {
      await env.clock.sleep(this.transactionMs);
      return mounted.txn(...args);
    };
    return boot({
      ...{ env, store: { ...mounted, txn }, dialer, brokerId: 3, alone: true },
      defaultReplicationFactor: 1,
      listeners: {
        client: { listener, endpoint: `m:${clientPort}` },
        internal: { listener, endpoint: "m:7401" },
        health: { listener, endpoint: "m:7402" },
        graceMs: 1000,
      },
      logConfig: { ...defaultManagerConfig, diskReserveBytes: 0 },
      metrics: {
        broker: noMetrics,
        watchLogs: (logs) => {
          this.logs = logs;
        },
      },
      advertise: (listening) => listening.replace("m:", "advertised:"),
      onServing: (serving) => this.serving.push(serving),
    });
  }

  dialer(host: string): Dialer {
    return this.network.attach(host, new Incarnation(this.kernel, host)).dialer;
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.kernel.run(work);
  }
}

const makeTopic = async (dialer: Dialer): Promise<void> => {
  const request = create(CreateTopicRequestSchema, { name: "t", partitionCount: 2 });
  await dialer.dial("m:7400").unary(methodOf(AdminService.method.createTopic), request);
};

test("a process serves what it is told, registers itself, and stops cleanly", async () => {
  const machine = new Machine();
  const first = await machine.run(machine.start());
  assert.deepEqual(first.endpoints, { client: "m:7400", internal: "m:7401", health: "m:7402" });
  assert.deepEqual(machine.serving, [true]);
  const dialer = machine.dialer("c");
  await machine.run(makeTopic(dialer));
  const metadata = await machine.run(
    dialer
      .dial("m:7400")
      .unary(
        methodOf(MetadataService.method.getMetadata),
        create(GetMetadataRequestSchema, { topics: ["t"] }),
      ),
  );
  assert.equal(metadata.clusterId, first.clusterId);
  assert.equal(metadata.topics[0]?.partitions.length, 2);
  assert.equal(metadata.controller?.host, "advertised");
  const [broker] = (await machine.run(machine.store.range({ key: keys.broker(3) }))).kvs;
  assert.ok(broker !== undefined);
  assert.equal(decodeRecord.broker(broker).clientEndpoint, "advertised:7400");
  await machine.run(first.stop());
  assert.deepEqual(machine.serving, [true, false]);
  for (const key of [keys.broker(3), keys.controller]) {
    assert.equal((await machine.run(machine.store.range({ key }))).kvs.length, 0, key);
  }
  const second = await machine.run(machine.start());
  assert.equal(second.recovery.clean, true);
  assert.equal(second.clusterId, first.clusterId);
});

test("brokers change in-sync replicas at the internal listener, where the controller is active", async () => {
  const machine = new Machine();
  await machine.run(machine.start());
  const dialer = machine.dialer("c");
  await machine.run(makeTopic(dialer));
  const [kv] = (await machine.run(machine.store.range({ prefix: keys.partitions }))).kvs;
  const [broker] = (await machine.run(machine.store.range({ key: keys.broker(3) }))).kvs;
  assert.ok(kv !== undefined && broker !== undefined);
  const { topicId, partition, leaderEpoch } = decodeRecord.partition(kv);
  const brokerEpoch = BigInt(broker.createRevision);
  const modRevision = BigInt(kv.modRevision);
  const isr = [{ brokerId: 3, brokerEpoch }];
  const request = create(AlterPartitionsRequestSchema, {
    ...{ brokerId: 3, brokerEpoch },
    partitions: [{ topicId, partition, leaderEpoch, modRevision, isr }],
  });
  const ask = (address: string, fields: object = {}) =>
    machine.run(
      dialer
        .dial(address)
        .unary(methodOf(ReplicaService.method.alterPartitions), { ...request, ...fields }),
    );
  const { results } = await ask("m:7401");
  assert.deepEqual(
    results.map((result) => [result.modRevision, result.error]),
    [[modRevision, undefined]],
  );
  await assert.rejects(ask("m:7401", { brokerEpoch: brokerEpoch + 1n }), (thrown) =>
    hasCode(thrown, ErrorCode.STALE_BROKER_EPOCH),
  );
  await assert.rejects(ask("m:7400"), (thrown) => hasCode(thrown, ErrorCode.UNSUPPORTED_OPERATION));
});

test("no producer id is given twice, by any process on the same store", async () => {
  const machine = new Machine();
  const dialer = machine.dialer("c");
  const ask = async (): Promise<bigint> => {
    const request = create(InitProducerIdRequestSchema, {});
    const channel = dialer.dial("m:7400");
    const method = methodOf(ProduceService.method.initProducerId);
    const { producerId, producerEpoch } = await machine.run(channel.unary(method, request));
    assert.equal(producerEpoch, 0);
    channel.close();
    return producerId;
  };
  const first = await machine.run(machine.start());
  const id = await ask();
  assert.equal(await ask(), id + 1n);
  await machine.run(first.stop());
  await machine.run(machine.start());
  assert.deepEqual([await ask(), await ask()], [id + 1000n, id + 1001n]);
  machine.process.kill();
  machine.disk.crash("power");
  await machine.run(machine.start());
  assert.equal(await ask(), id + 2000n);
});

const epochs = async ({ store }: Machine): Promise<number[]> =>
  (await store.range({ prefix: keys.partitions })).kvs.map(
    (kv) => decodeRecord.partition(kv).leaderEpoch,
  );

test("leader epochs rise with every start, clean or not, and leaders are there before it serves", async () => {
  const machine = new Machine();
  const first = await machine.run(machine.start());
  await machine.run(makeTopic(machine.dialer("c")));
  const before = await machine.run(epochs(machine));
  assert.deepEqual(before, [1, 1]);
  await machine.run(first.stop());
  machine.process.kill();
  await machine.run(machine.start());
  assert.deepEqual(await machine.run(epochs(machine)), [2, 2]);
  // The next process waits until the leases of the one that was killed have ended.
  machine.process.kill();
  machine.disk.crash("process");
  machine.transactionMs = 500;
  await machine.run(machine.start());
  assert.deepEqual(await machine.run(epochs(machine)), [3, 3]);
});

test("a start that fails undoes what it did: ports are free, and the log is clean", async () => {
  const machine = new Machine();
  const first = await machine.run(machine.start());
  await machine.run(makeTopic(machine.dialer("c")));
  await machine.run(first.stop());
  const other = machine.network.attach("m", new Incarnation(machine.kernel, "other"));
  await machine.run(other.listener.listen("m:7400", []));
  machine.serving.length = 0;
  await assert.rejects(machine.run(machine.start()), (thrown) =>
    hasCode(thrown, ErrorCode.UNAVAILABLE),
  );
  assert.deepEqual(machine.serving, []);
  const second = await machine.run(machine.start("7500"));
  assert.equal(second.recovery.clean, true);
});

test("a log whose topic is not in the metadata is kept whole", async () => {
  const machine = new Machine();
  const first = await machine.run(machine.start());
  await machine.run(makeTopic(machine.dialer("c")));
  await machine.run(first.stop());
  // As after a restore of a backup that is older than the topic.
  for (const prefix of [keys.topics, keys.partitions]) {
    await machine.run(machine.store.txn([], [{ type: "delete", range: { prefix } }], []));
  }
  await machine.run(machine.start());
  const logs = [...(machine.logs?.partitions() ?? [])];
  assert.deepEqual(
    logs.map(({ config }) => config.retentionEnabled),
    [false, false],
  );
});
