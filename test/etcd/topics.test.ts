/** Topics on a real etcd, while controllers change hands, answers are lost, and etcd restarts. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/errors";
import { keys } from "@millrace/metadata";
import { CreateTopicRequestSchema } from "@millrace/proto/controller";
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
    const cluster = await TestControllers.start(context, { servers: [etcd], ...common });
    const { history, members } = cluster;
    for (const { link } of members) link.delayMs = () => random.float() * 4;
    const names: string[] = [];
    let clients = 3;
    const client = async (): Promise<void> => {
      try {
        while (names.length < 12 || (history.elections.length < 10 && names.length < 60)) {
          const name = `t${names.length}`;
          names.push(name);
          await cluster.createTopic(name, 250);
        }
      } finally {
        clients -= 1;
      }
    };
    const created = Promise.all(Array.from({ length: clients }, client));
    while (clients > 0) {
      await clock.sleep(random.float() * 300);
      if (random.float() < 0.5) cluster.active[0]?.link.cut();
      if (random.float() < 0.8) await cluster.depose();
    }
    await created;
    for (const { link } of members) link.delayMs = () => 0;
    // What attempts have left is removed by the next reign.
    await cluster.depose();
    await cluster.settle();
    await cluster.check(context);
    await checkTopics(cluster, names);
    context.diagnostic(`${names.length} topics, ${history.elections.length} elections`);
  });

  test("a topic is made once when the answers are lost after the commit", async (context) => {
    const cluster = await TestControllers.start(context, { servers: [etcd], ...common });
    const { link, admin } = await cluster.oneActive();
    const lost: string[] = [];
    cluster.history.onWrite = (events) => {
      for (const prefix of [keys.partitions, keys.topics]) {
        if (lost.includes(prefix) || !events.some(({ kv }) => kv.key.startsWith(prefix))) continue;
        lost.push(prefix);
        link.cut();
      }
    };
    // The answer is still on its way when the commit is seen elsewhere.
    link.delayMs = (direction) => (direction === "down" && lost.length < 2 ? 200 : 0);
    const request = create(CreateTopicRequestSchema, { name: "once", partitionCount: 3 });
    const made = await admin.createTopic(request).catch((thrown: unknown) => {
      assert.ok(MillraceError.from(thrown).spec.retriable, String(thrown));
    });
    const again = await cluster.createTopic("once", 3);
    if (made !== undefined) assert.equal(again, undefined, "it is there");
    await cluster.depose();
    await cluster.settle();
    await cluster.check(context);
    assert.deepEqual(lost, [keys.partitions, keys.topics]);
    await checkTopics(cluster, ["once"]);
    if (made !== undefined) {
      const id = Buffer.from(made.topicId).toString("hex");
      assert.deepEqual(cluster.history.made.get("once"), [id], "under the id of the answer");
    }
  });

  const outages: Readonly<Record<string, () => Promise<void>>> = {
    "was killed": async () => {
      await etcd.kill();
      await etcd.run();
    },
    "was down for longer than a lease": async () => {
      await etcd.kill();
      await clock.sleep(4000);
      await etcd.run();
    },
    "was stopped for longer than a lease": async () => {
      etcd.signal("SIGSTOP");
      await clock.sleep(4000);
      etcd.signal("SIGCONT");
    },
  };
  for (const [name, outage] of Object.entries(outages)) {
    test(`the cluster is the same after etcd ${name}`, async (context) => {
      const options = { servers: [etcd], controllers: 3, brokers: 3, ttlSeconds: 2 };
      const cluster = await TestControllers.start(context, options);
      const names = ["a", "b", "c"];
      for (const name of names) await cluster.createTopic(name, 10, 2);
      await cluster.settle();
      const records = async () => (await cluster.store.range({ prefix: keys.topics })).kvs;
      const partitions = async () =>
        new Map(
          (await cluster.partitions()).map((one) => [
            `${Buffer.from(one.topicId).toString("hex")}#${one.partition}`,
            one,
          ]),
        );
      const [topics, before] = [await records(), await partitions()];
      const { history } = cluster;
      const { writes, registrations } = history;
      const elections = history.elections.length;
      await outage();
      await cluster.oneActive();
      await cluster.settle();
      await cluster.check(context);
      assert.deepEqual(await records(), topics);
      const now = await partitions();
      assert.deepEqual([...now.keys()], [...before.keys()]);
      for (const [key, { replicas, leaderEpoch }] of now) {
        assert.deepEqual(replicas, before.get(key)?.replicas);
        assert.ok(leaderEpoch >= (before.get(key)?.leaderEpoch ?? 0), `the epoch of ${key} falls`);
      }
      await until(
        async () => (await cluster.partitions()).every(({ leader }) => leader !== undefined),
        "every partition is led",
      );
      // Every election and every registration may change all partitions a few times, no more.
      const elected = history.elections.length - elections;
      const events = elected + history.registrations - registrations;
      const written = history.writes - writes;
      context.diagnostic(`${written} writes for ${events} elections and registrations`);
      assert.ok(written <= 20 + 15 * events, `${written} writes are a storm`);
    });
  }

  test("the leaders of 2,000 partitions follow a broker's registration", async (context) => {
    const cluster = await TestControllers.start(context, {
      servers: [etcd],
      ...common,
      brokers: 1,
    });
    await cluster.createTopic("many", 2000);
    await cluster.settle();
    const timed = async (what: string, change: () => Promise<unknown>): Promise<void> => {
      const beginMs = clock.monoMs();
      await change();
      await cluster.settle();
      const ms = Math.round(clock.monoMs() - beginMs);
      context.diagnostic(`2,000 partitions, ${what}: ${ms} ms`);
    };
    await timed("their broker stops", async () => cluster.registrations[0]?.close());
    assert.ok((await cluster.partitions()).every(({ leader }) => leader === undefined));
    await timed("their broker registers", () => cluster.startBroker(1));
    assert.ok((await cluster.partitions()).every(({ leader }) => leader === 1));
    await cluster.check(context);
  });
}
