/** Maintenance leases on a real etcd: two holders who want two brokers at one moment. */
import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { MaintenanceHandlers } from "@millrace/controller";
import { silentLogger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import { decodeRecord, encodeRecord, keys } from "@millrace/metadata";
import { MaintenanceKind } from "@millrace/proto/common";
import {
  AcquireMaintenanceRequestSchema,
  type AcquireMaintenanceResponse,
  CreateTopicRequestSchema,
  ReleaseMaintenanceRequestSchema,
  RenewMaintenanceRequestSchema,
} from "@millrace/proto/controller";
import { clock, type Member, TestControllers, until } from "./controllers.ts";
import { Etcd, skipped } from "./etcd.ts";

const handlersOf = ({ process, store }: Member): MaintenanceHandlers =>
  new MaintenanceHandlers({
    ...{ clusterId: "c", store, clock, logger: silentLogger, active: process, perRackMax: 1 },
  });

if (skipped !== false) test("maintenance leases on etcd", { skip: skipped }, () => {});
else {
  let etcd: Etcd;
  before(async () => {
    etcd = await Etcd.start();
  });
  after(() => etcd.remove());

  /** Three brokers, and a topic on all of them. */
  const setUp = async (context: TestContext, partitionCount = 1) => {
    const cluster = await TestControllers.start(context, {
      ...{ servers: [etcd], controllers: 2, brokers: 3, ttlSeconds: 3, brokerTtlSeconds: 120 },
    });
    const { admin } = await cluster.oneActive();
    const configs = { "min.insync.replicas": "2" };
    const fields = { name: "t", partitionCount, replicationFactor: 3, configs };
    await admin.createTopic(create(CreateTopicRequestSchema, fields));
    await cluster.settle();
    const epochOf = async (id: number): Promise<bigint> => {
      const { kvs } = await cluster.store.range({ key: keys.broker(id) });
      return BigInt(kvs[0]?.createRevision ?? 0);
    };
    const acquire = async (member: Member, holder: string, brokerId: number) => {
      const request = create(AcquireMaintenanceRequestSchema, {
        ...{ brokerId, holder, kind: MaintenanceKind.RESTART, ttlMs: 60_000 },
        brokerEpoch: await epochOf(brokerId),
      });
      return handlersOf(member).acquire(request);
    };
    const force = async (member: Member, brokerId: number) => {
      const request = create(ReleaseMaintenanceRequestSchema, { brokerId, force: true });
      assert.equal((await handlersOf(member).release(request)).released, true);
    };
    return { cluster, acquire, force };
  };

  test("two holders race for two brokers of one ISR, and one of them wins", async (context) => {
    const { cluster, acquire, force } = await setUp(context);
    const won = new Map<number, number>();
    for (let round = 0; round < 25; round += 1) {
      const member = await cluster.oneActive();
      const brokers = round % 2 === 0 ? [1, 2] : [2, 1];
      const answers = await Promise.all(brokers.map((id, i) => acquire(member, `holder-${i}`, id)));
      const granted = answers.filter(({ mayAct }) => mayAct);
      assert.equal(granted.length, 1, `round ${round}`);
      const lost = answers.find(({ mayAct }) => !mayAct);
      assert.match(
        lost?.blockers[0]?.message ?? "",
        /is in maintenance \(restart, held by holder-/,
      );
      const { kvs } = await cluster.store.range({ prefix: keys.maintenanceLeases });
      assert.equal(kvs.length, 1);
      const id = granted[0]?.lease?.brokerId ?? 0;
      won.set(id, (won.get(id) ?? 0) + 1);
      await force(member, id);
    }
    context.diagnostic(`won by broker: ${JSON.stringify([...won])}`);
  });

  test("holders and a replica that leaves the ISR race, and min.insync.replicas stay", async (context) => {
    const { cluster, acquire, force } = await setUp(context);
    const [kv] = (await cluster.store.range({ prefix: keys.partitions })).kvs;
    assert.ok(kv !== undefined);
    const record = decodeRecord.partition(kv);
    const write = async (isr: readonly number[]) => {
      const value = encodeRecord.partition({
        ...record,
        isr: [...isr],
        isrBrokerEpochs: isr.map((id) => record.isrBrokerEpochs[record.isr.indexOf(id)] ?? 0n),
      });
      return cluster.store.txn([], [{ type: "put", key: kv.key, value }]);
    };
    const outcomes = { granted: 0, refused: 0 };
    for (let round = 0; round < 25; round += 1) {
      const member = await cluster.oneActive();
      const { revision: whole } = await write(record.isr);
      await member.process.waitForRevision(whole, 5_000);
      const asked = acquire(member, "holder", 1);
      await clock.sleep(round % 6);
      const [shrunk, answer] = await Promise.all([write([1, 2]), asked]);
      if (answer.mayAct) {
        outcomes.granted += 1;
        const token = Number(answer.lease?.token);
        assert.ok(token < shrunk.revision, "it was granted before the replica left");
        const renewal = create(RenewMaintenanceRequestSchema, {
          brokerId: 1,
          token: BigInt(token),
        });
        assert.equal((await handlersOf(member).renew(renewal)).mayAct, false, "and is void now");
        await force(member, 1);
      } else outcomes.refused += 1;
    }
    context.diagnostic(JSON.stringify(outcomes));
  });

  test("another controller keeps the lease, and refuses others", async (context) => {
    const { cluster, acquire } = await setUp(context);
    const first = await cluster.oneActive();
    const { lease } = await acquire(first, "holder", 1);
    const epoch = await cluster.epoch();
    await cluster.depose();
    await cluster.untilAfter(epoch);
    let answer: AcquireMaintenanceResponse | undefined;
    await until(async () => {
      answer = await acquire(await cluster.oneActive(), "other", 2).catch((thrown: unknown) => {
        assert.ok(MillraceError.from(thrown).spec.retriable, String(thrown));
        return undefined;
      });
      return answer !== undefined;
    }, "a controller answers");
    assert.equal(answer?.mayAct, false);
    const again = await acquire(await cluster.oneActive(), "holder", 1);
    assert.deepEqual([again.mayAct, again.lease?.token], [true, lease?.token]);
  });

  test("a grant looks at thousands of partitions in one transaction", async (context) => {
    const { cluster, acquire, force } = await setUp(context, 3_000);
    const took: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const member = await cluster.oneActive();
      const startMs = clock.monoMs();
      assert.equal((await acquire(member, "holder", 1)).mayAct, true);
      took.push(Math.round(clock.monoMs() - startMs));
      await force(member, 1);
    }
    context.diagnostic(`with 3,000 partitions of 3 replicas a grant took, ms: ${took.join(", ")}`);
  });
}
