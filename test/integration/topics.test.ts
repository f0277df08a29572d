/** Topics come and go, and the process with them. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { connect } from "@millrace/client";
import { ProduceOnceRequestSchema, ProduceService } from "@millrace/proto/broker";
import { AdminService, CreateTopicRequestSchema } from "@millrace/proto/controller";
import { methodOf } from "@millrace/rpc";
import { grpcDialer } from "@millrace/rpc/grpc";
import { ServerProcess, withDirectory } from "./server.ts";

test("kill -9 right after DeleteTopic was answered: the next start removes the partitions", async () => {
  await withDirectory(async (directory) => {
    const server = new ServerProcess(directory);
    const client = await connect({ bootstrap: [(await server.ready()).client] });
    const configs = { "file.delete.delay.ms": "0" };
    await client.admin.createTopic({ name: "gone", partitions: 100, configs });
    await client.producer().send({ topic: "gone", value: "v" });
    await client.admin.deleteTopic({ name: "gone" });
    await server.kill("SIGKILL");
    await client.close();

    const again = new ServerProcess(directory);
    const { http } = await again.ready();
    const left = (): string[] => readdirSync(join(directory, "partitions"));
    for (let i = 0; i < 100 && left().length > 0; i += 1) await sleep(50);
    assert.deepEqual(left(), []);
    const metrics = await (await fetch(`http://${http}/metrics`)).text();
    assert.match(metrics, /millrace_log_partitions\{state="online"\} 0\n/);
    assert.equal((await again.kill("SIGTERM")).code, 0);
  });
});

test("a client hears of partitions that others add, without asking", async () => {
  await withDirectory(async (directory) => {
    const server = new ServerProcess(directory);
    const bootstrap = [(await server.ready()).client];
    const [reader, other] = [await connect({ bootstrap }), await connect({ bootstrap })];
    await other.admin.createTopic({ name: "grows", partitions: 1 });
    const consumer = reader.consumer();
    await consumer.assign([{ topic: "grows", from: "earliest" }]);
    const heard = async (count: number): Promise<void> => {
      await other.admin.createPartitions({ name: "grows", partitions: count });
      // Without the watch it would take `metadataMaxAgeMs`, five minutes.
      for (let i = 0; i < 100 && consumer.positions().length < count; i += 1) await sleep(50);
      assert.equal(consumer.positions().length, count);
    };
    await heard(3);
    await other.producer().send({ topic: "grows", partition: 2, value: "v" });
    const first = await consumer.records().next();
    assert.equal(first.value?.partition, 2);
    await heard(4);
    await Promise.all([reader.close(), other.close()]);
    assert.equal((await server.kill("SIGTERM")).code, 0);
  });
});

test("CreateTopic is answered once its partitions are led: one call without a retry succeeds", async () => {
  await withDirectory(async (directory) => {
    const server = new ServerProcess(directory);
    const channel = grpcDialer().dial((await server.ready()).client);
    for (const partitionCount of [1, 50, 300]) {
      const name = `t${partitionCount}`;
      const request = create(CreateTopicRequestSchema, { name, partitionCount });
      await channel.unary(methodOf(AdminService.method.createTopic), request);
      const produce = create(ProduceOnceRequestSchema, {
        topic: name,
        partition: partitionCount - 1,
        records: [{ value: Buffer.from("v") }],
      });
      const answer = await channel.unary(methodOf(ProduceService.method.produceOnce), produce);
      assert.equal(answer.baseOffset, 0n);
    }
    channel.close();
    await server.kill("SIGTERM");
  });
});
