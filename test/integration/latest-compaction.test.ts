/** The latest record of each key, through compaction and a crash, by what a client is answered. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "@millrace/client";
import { ServerProcess, withDirectory } from "./server.ts";

test(
  "before, while and after compaction and a crash, the latest record of each key is the same",
  { timeout: 180_000 },
  () =>
    withDirectory(async (directory) => {
      const flags = ["--log-cleaner-backoff", "200", "--checkpoint-interval", "500"];
      let server = new ServerProcess(directory, flags);
      let { client: endpoint } = await server.ready();
      let client = await connect({ bootstrap: endpoint });
      const topic = "t";
      const configs = {
        ...{ "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0" },
        ...{ "segment.bytes": "524288", "segment.ms": "1000", "delete.retention.ms": "0" },
      };
      await client.admin.createTopic({ name: topic, configs });
      const model = new Map<string, string | null>();
      const check = async (): Promise<void> => {
        for (const [key, value] of model) {
          const found = await client.getLatest({ topic, key });
          assert.equal(found?.text() ?? null, value, key);
        }
        const listed = new Map<string, string | null>();
        for await (const one of client.latest({ topic }))
          listed.set(one.keyText() ?? "", one.text());
        assert.deepEqual(listed, new Map([...model].filter(([, value]) => value !== null)));
      };
      for (let round = 0; round < 4; round += 1) {
        const producer = client.producer();
        for (let i = 0; i < 4000; i += 1) {
          const key = `k${(i * 7 + round) % 50}`;
          const value = i % 13 === 0 ? null : `${round}-${i}-${"x".repeat(200)}`;
          model.set(key, value);
          producer.write({ topic, key, value });
          if (i % 500 === 0) await producer.flush();
        }
        await producer.close();
        await check();
        await sleep(1500);
        await check();
        if (round === 2) {
          await server.kill("SIGKILL");
          await client.close();
          server = new ServerProcess(directory, flags);
          ({ client: endpoint } = await server.ready());
          client = await connect({ bootstrap: endpoint });
          await check();
        }
      }
      await client.close();
      await server.kill("SIGKILL");
    }),
);
