/** Blocks of producer ids from controllers on one store. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/errors";
import {
  decodeRecord,
  encodeRecord,
  keys,
  type MetadataStore,
  renewGeneration,
  type TxnResult,
} from "@millrace/metadata";
import { clusterRecord } from "@millrace/metadata/testing";
import { AllocateProducerIdsRequestSchema } from "@millrace/proto/controller";
import { BrokerRecordSchema, ProducerIdsRecordSchema } from "@millrace/proto/storage";
import { ProducerIdBlocks } from "./producer-ids.ts";
import { notController } from "./reign.ts";
import { ReplicaHandlers } from "./replicas.ts";
import { isActive, TestCluster } from "./testing/cluster.ts";

type Txn = Parameters<MetadataStore["txn"]>;

const movesIds = ([, then]: Txn): boolean =>
  then.some((one) => one.type === "put" && one.key === keys.producerIds);

const code = (thrown: unknown): string => MillraceError.from(thrown).codeName;

const unknownOutcome = (): MillraceError => MillraceError.from(new Error("the connection broke"));

/** A controller's blocks on the store of a cluster. `txn` takes the place of its transactions. */
const blocksOf = async (
  cluster: TestCluster,
  controllerId: number,
  txn?: (send: () => Promise<TxnResult>) => Promise<TxnResult>,
) => {
  const { life, process, mirror } = await cluster.controller(controllerId, (store) => ({
    txn: (...args) => {
      const send = () => store.txn(...args);
      return txn !== undefined && movesIds(args) ? txn(send) : send();
    },
  }));
  await cluster.pass(100);
  const { life: _, store } = cluster.process(`ids ${controllerId}`);
  const blocks = new ProducerIdBlocks({ store, active: process });
  const first = (brokerId = 0): Promise<number> =>
    cluster.run(blocks.allocate(brokerId)).then((block) => block.first);
  return { life, process, mirror, blocks, first };
};

test("every block begins where the one before it ended, whoever asks", async () => {
  const cluster = new TestCluster();
  const { blocks, first } = await blocksOf(cluster, 1);
  assert.deepEqual(await cluster.run(blocks.allocate(0)), { first: 0, count: 1000 });
  const asked = [0, 1, 2, 1].map((brokerId) => blocks.allocate(brokerId));
  const together = await cluster.run(Promise.all(asked));
  assert.deepEqual(
    together.map((block) => block.first),
    [1000, 2000, 3000, 4000],
  );
  assert.equal(await first(), 5000);
  const kv = (await cluster.get(keys.producerIds)) ?? assert.fail();
  assert.equal(decodeRecord.producerIds(kv).nextProducerId, 6000n);
});

test("the next controller goes on behind everything that was given", async () => {
  const cluster = new TestCluster();
  const before = await blocksOf(cluster, 1);
  assert.equal(await before.first(), 0);
  const after = await blocksOf(cluster, 2);
  await assert.rejects(after.first(), (thrown) => code(thrown) === "NOT_CONTROLLER");
  before.life.kill();
  await cluster.pass(10_000);
  assert.equal(isActive(after.process), true);
  assert.equal(await after.first(), 1000);
});

test("a transaction whose outcome is unknown wastes a block, and gives none twice", async () => {
  const cluster = new TestCluster();
  let trouble: "none" | "answer lost" | "late" = "none";
  const late: (() => Promise<TxnResult>)[] = [];
  const { first } = await blocksOf(cluster, 1, async (send) => {
    if (trouble === "none") return send();
    if (trouble === "answer lost") await send();
    else late.push(send);
    throw unknownOutcome();
  });
  const given = [await first()];
  trouble = "answer lost";
  // The writer finds out that its transaction was made.
  given.push(await first());
  trouble = "late";
  await assert.rejects(first());
  trouble = "none";
  given.push(await first());
  for (const send of late) await cluster.run(send());
  given.push(await first(), await first());
  assert.equal(new Set(given).size, given.length, `${given}`);
  assert.deepEqual(
    given,
    given.toSorted((a, b) => a - b),
  );
});

test("a transaction that comes through between read and write makes it read again", async () => {
  const cluster = new TestCluster();
  let rivals = 1;
  const { first } = await blocksOf(cluster, 1, async (send) => {
    if (rivals > 0) {
      rivals -= 1;
      const record = create(ProducerIdsRecordSchema, { nextProducerId: 7000n });
      const value = encodeRecord.producerIds(record);
      await cluster.store.txn([], [{ type: "put", key: keys.producerIds, value }]);
    }
    return send();
  });
  assert.equal(await first(), 7000);
  rivals = 100;
  await assert.rejects(first(), (thrown) => code(thrown) === "METADATA_STALE");
});

test("every life of a store has ids of its own, also when one backup is restored twice", async () => {
  const cluster = new TestCluster();
  const { store, kernel } = cluster;
  const { first } = await blocksOf(cluster, 1);
  await cluster.run(store.txn([], [clusterRecord("ours")]));
  const given = [await first()];
  const backup = (await cluster.get(keys.producerIds)) ?? assert.fail();
  for (let restores = 0; restores < 20; restores += 1) {
    given.push(await first(), await first());
    const { value } = backup;
    const range = { key: keys.producerIds };
    // The first backup may be from before the first id.
    const restored =
      restores === 0
        ? ({ type: "delete", range } as const)
        : ({ type: "put", ...range, value } as const);
    await cluster.run(store.txn([], [restored]));
    await cluster.run(renewGeneration(store, kernel.random));
  }
  const blocks = given.toSorted((a, b) => a - b);
  assert.ok(
    blocks.every((id, i) => i === 0 || id - (blocks[i - 1] ?? 0) >= 1000),
    `${blocks}`,
  );
  assert.ok((blocks.at(-1) ?? 0) < 2 ** 52);
});

test("ids end at what every client can count to", async () => {
  const cluster = new TestCluster();
  const { first } = await blocksOf(cluster, 1);
  const put = async (nextProducerId: bigint): Promise<void> => {
    const value = encodeRecord.producerIds(create(ProducerIdsRecordSchema, { nextProducerId }));
    await cluster.store.txn([], [{ type: "put", key: keys.producerIds, value }]);
  };
  const last = Number.MAX_SAFE_INTEGER - 1000;
  await put(BigInt(last));
  assert.equal(await first(), last);
  await assert.rejects(first(), (thrown) => code(thrown) === "POLICY_VIOLATION");
});

test("a broker has a bounded number of calls, and only a registered one has any", async () => {
  const cluster = new TestCluster();
  const { process, blocks } = await blocksOf(cluster, 1);
  const answers = Array.from({ length: 6 }, () => blocks.allocate(3).then(() => "given", code));
  assert.deepEqual(await cluster.run(Promise.all(answers)), [
    ...["given", "given", "given", "given"],
    ...["ADMISSION_REJECTED", "ADMISSION_REJECTED"],
  ]);
  const value = encodeRecord.broker(create(BrokerRecordSchema, { brokerId: 3 }));
  await cluster.run(cluster.store.txn([], [{ type: "put", key: keys.broker(3), value }]));
  await cluster.pass(100);
  const epoch = BigInt((await cluster.get(keys.broker(3)))?.createRevision ?? 0);
  const { clock } = cluster.process("handlers");
  const handlers = new ReplicaHandlers({
    ...{ clusterId: "c", clock, active: process, producerIds: blocks },
    deletionDone: () => Promise.reject(notController("not used")),
    removalsDone: () => Promise.reject(notController("not used")),
  });
  const ask = (brokerEpoch: bigint) => {
    const request = create(AllocateProducerIdsRequestSchema, { brokerId: 3, brokerEpoch });
    return cluster.run(handlers.allocateProducerIds(request));
  };
  const { firstProducerId, producerIdCount } = await ask(epoch);
  assert.deepEqual([firstProducerId, producerIdCount], [4000n, 1000]);
  await assert.rejects(ask(epoch + 1n), (thrown) => code(thrown) === "STALE_BROKER_EPOCH");
});
