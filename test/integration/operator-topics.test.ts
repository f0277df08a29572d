/** What the operator asks of a cluster about topics, of a real server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "@millrace/client";
import { ErrorCode, hasCode } from "@millrace/errors";
import { clientTopics } from "../../operator/src/reconcile/topic/client-topics.ts";
import { planTopic } from "../../operator/src/reconcile/topic/plan.ts";
import { ServerProcess, withDirectory } from "./server.ts";

const topic = { name: "Orders_1", partitions: 2, configs: { "retention.ms": "1000" } };

test("topics are made, found, changed and deleted as the operator asks", async () => {
  await withDirectory(async (directory) => {
    const server = new ServerProcess(directory);
    await using client = await connect({ bootstrap: [(await server.ready()).client] });
    const topics = clientTopics(client);
    assert.equal(await topics.find(topic.name), undefined);
    await topics.create(topic, { validateOnly: true });
    assert.equal(await topics.find(topic.name), undefined);
    await topics.create(topic, { validateOnly: false });
    const made = (await topics.find(topic.name)) ?? assert.fail("it is not there");
    assert.match(made.topicId, /^[0-9a-f]{32}$/);
    assert.deepEqual(made.configs, topic.configs);
    assert.deepEqual(
      made.partitions.map(({ partition, replicas }) => [partition, replicas.length]),
      [
        [0, 1],
        [1, 1],
      ],
    );
    assert.ok(Math.abs(made.createdAtMs - Date.now()) < 60_000);

    await topics.alterConfigs(topic.name, { set: { "flush.ms": "7" }, remove: ["retention.ms"] });
    await topics.addPartitions(topic.name, 3);
    const changed = (await topics.find(topic.name)) ?? assert.fail("it is not there");
    assert.deepEqual([changed.configs, changed.partitions.length], [{ "flush.ms": "7" }, 3]);
    const policies = { deletionPolicy: "Retain", adopt: "Never" } as const;
    const spec = {
      clusterRef: { name: "c" },
      partitions: 3,
      config: { "flush.ms": 7 },
      ...policies,
    };
    assert.deepEqual(planTopic(spec, changed), { drift: [], moving: 0 });
    assert.equal((await topics.brokers()).length, 1);

    assert.equal(await topics.isEmpty(topic.name), true);
    await client.producer().send({ topic: topic.name, value: "v" });
    assert.equal(await topics.isEmpty(topic.name), false);

    const isGone = (error: unknown) => hasCode(error, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
    await assert.rejects(topics.delete(topic.name, "0".repeat(32)), isGone);
    assert.ok((await topics.find(topic.name)) !== undefined);
    await topics.delete(topic.name, made.topicId);
    assert.equal(await topics.find(topic.name), undefined);
    await server.kill("SIGTERM");
  });
});
