/** Requests of the Admin service that one reign begins, and another could end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorCode, hasCode } from "@millrace/errors";
import { keys, type MetadataStore } from "@millrace/metadata";
import {
  CreatePartitionsRequestSchema,
  CreateTopicRequestSchema,
} from "@millrace/proto/controller";
import { Controller } from "./controller.ts";
import { TestCluster, ttlSeconds } from "./testing/cluster.ts";

/** A cluster of one controller and one broker, which answers the next write of partitions late. */
const setUp = async () => {
  const cluster = new TestCluster();
  const { registration } = cluster.registration(0);
  await cluster.run(registration.register());
  let isLate = false;
  const answerLate = ({ txn }: MetadataStore): Partial<MetadataStore> => ({
    txn: async (...args) => {
      const done = await txn(...args);
      const [, then] = args;
      const writesPartitions = then.some(
        (one) => one.type === "put" && one.key.startsWith(keys.partitions),
      );
      if (!isLate || !writesPartitions) return done;
      isLate = false;
      await cluster.store.txn([], [{ type: "delete", range: { key: keys.controller } }]);
      const waitMs = 1000 * ttlSeconds;
      await new Promise<void>((resolve) => void cluster.kernel.schedule(waitMs, resolve));
      return done;
    },
  });
  const { process } = await cluster.controller(1, answerLate);
  await cluster.pass(100);
  const { life: _, ...shared } = cluster.process("admin");
  const admin = new Controller({ ...shared, active: process, defaultReplicationFactor: 1 });
  /** Makes the process begin another reign in the middle of a request, which must fail. */
  const refused = async (request: () => Promise<unknown>): Promise<void> => {
    const epoch = (await cluster.get(keys.controller))?.createRevision ?? 0;
    isLate = true;
    await assert.rejects(cluster.run(request()), (thrown) =>
      hasCode(thrown, ErrorCode.NOT_CONTROLLER),
    );
    assert.equal(isLate, false);
    process.requireActive();
    assert.ok(((await cluster.get(keys.controller))?.createRevision ?? 0) > epoch);
  };
  return { cluster, admin, refused };
};

test("a topic is not made in another reign than its partitions, which that one has removed", async () => {
  const { cluster, admin, refused } = await setUp();
  const request = create(CreateTopicRequestSchema, { name: "t", partitionCount: 3 });
  await refused(() => admin.createTopic(request));
  assert.equal(await cluster.get(keys.topic("t")), undefined);
  assert.deepEqual(await cluster.partitions(), []);
  await cluster.run(admin.createTopic(request));
  assert.equal((await cluster.partitions()).length, 3);
});

test("a topic does not grow in another reign than its partitions", async () => {
  const { cluster, admin, refused } = await setUp();
  const request = create(CreateTopicRequestSchema, { name: "t", partitionCount: 3 });
  await cluster.run(admin.createTopic(request));
  const growth = create(CreatePartitionsRequestSchema, { name: "t", partitionCount: 5 });
  await refused(() => admin.createPartitions(growth));
  assert.equal((await cluster.partitions()).length, 3);
  await cluster.run(admin.createPartitions(growth));
  assert.equal((await cluster.partitions()).length, 5);
});
