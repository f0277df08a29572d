/** Topics on a real etcd, while controllers change hands, answers are lost, and etcd restarts. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { keys } from "@millrace/metadata";
import { clock, random, TestControllers, until } from "./controllers.ts";
import { Etcd, skipped } from "./etcd.ts";

if (skipped !== false) test("topics on etcd", { skip: skipped }, () => {});
else {
  let etcd: Etcd;
  before(async () => {
    etcd = await Etcd.start();
  });
  after(() => etcd.remove());

  /** Brokers that do not lose their registrations, so that controllers do nothing but topics. */
  const brokerTtlSeconds = 60;
  const common = { controllers: 3, brokers: 2, ttlSeconds: 3, brokerTtlSeconds };

  /** Every topic was made once, and has its partitions, and nothing else has any. */
  const checkTopics = async (cluster: TestControllers, names: readonly string[]) => {
    const topics = await cluster.topics();
    assert.deepEqual([...topics.keys()].toSorted(), names.toSorted());
    let partitions = 0;
    for (const [name, { record, partitions: own }] of topics) {
      const id = Buffer.from(record.topicId).toString("hex");
      assert.deepEqual(cluster.history.made.get(name), [id], `${name} was made once`);
      assert.deepEqual(
        own.map(({ partition }) => partition),
        Array.from({ length: record.partitionCount }, (_, i) => i),
        `${name} has all partitions`,
      );
      partitions += own.length;
    }
    assert.equal((await cluster.partitions()).length, partitions, "no partition is left over");
  };

  test("topics that are made while controllers change hands are made once, and whole", async (context) => {
    const cluster = await TestControllers.start(context, { etcd, ...common });
    const names = Array.from({ length: 12 }, (_, i) => `t${i}`);
    let left = names.length;
    const waiting = [...names];
    const client = async (): Promise<void> => {
      for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
        await cluster.createTopic(name, 250);
        left -= 1;
      }
    };
    const clients = Promise.all([client(), client(), client()]);
    while (left > 0) {
      await clock.sleep(random.float() * 200);
      await cluster.depose();
    }
    await clients;
    await cluster.depose();
    await cluster.settle();
    await cluster.check(context);
    await checkTopics(cluster, names);
    context.diagnostic(`${cluster.history.elections.length} elections`);
  });
}
