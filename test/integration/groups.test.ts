/** Consumers of a group over real sockets: they come, go, die, and their server restarts. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, connect, type GroupConsumer } from "@millrace/client";
import { ServerProcess, withDirectory } from "./server.ts";

const limit = { timeout: 60_000 };

/** What one consumer has read, in order. */
interface Reader {
  readonly consumer: GroupConsumer;
  readonly values: string[];
  readonly ended: Promise<void>;
}

const read = (client: Client, more: { readonly onAssigned?: () => void } = {}): Reader => {
  const consumer = client.consumer({
    ...{ group: "g", topics: ["t"], from: "earliest", sessionTimeoutMs: 2_000, ...more },
  });
  const values: string[] = [];
  const ended = (async () => {
    for await (const record of consumer.records()) {
      await sleep(1);
      values.push(record.text() ?? "");
    }
  })();
  return { consumer, values, ended };
};

const until = async (what: string, holds: () => boolean): Promise<void> => {
  const endMs = performance.now() + 20_000;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`it does not come about: ${what}`);
    await sleep(10);
  }
};

/** Sends numbered records until it is stopped; resolves with how many. */
const produce = (client: Client, partitions: number): (() => Promise<number>) => {
  let isOver = false;
  const sent = (async () => {
    await using producer = client.producer();
    let count = 0;
    for (; !isOver; count += 1) {
      await producer.send({ topic: "t", partition: count % partitions, value: `v${count}` });
      await sleep(2);
    }
    return count;
  })();
  return () => {
    isOver = true;
    return sent;
  };
};

const numbered = (count: number): string[] => Array.from({ length: count }, (_, n) => `v${n}`);

const serve = async (
  directory: string,
  context: TestContext,
  flags: readonly string[] = [],
): Promise<{ server: ServerProcess; address: string }> => {
  const server = new ServerProcess(directory, flags);
  context.after(() => server.kill("SIGKILL"));
  return { server, address: (await server.ready()).client };
};

test("after clean leaves every record was processed once", limit, async (context) => {
  await withDirectory(async (directory) => {
    const { server, address } = await serve(directory, context);
    await using client = await connect({ bootstrap: address });
    await client.admin.createTopic({ name: "t", partitions: 6 });
    const stop = produce(client, 6);
    const [a, b, c] = [read(client), read(client), read(client)] as const;
    const sizes = (): number[] => [a, b, c].map(({ consumer }) => consumer.assignment().length);
    await until("three share six", () => sizes().every((size) => size === 2));
    await sleep(300);
    await a.consumer.close();
    await a.ended;
    await until("two share six", () =>
      sizes()
        .slice(1)
        .every((size) => size === 3),
    );
    const d = read(client);
    await until("three share again", () => d.consumer.assignment().length === 2);
    await sleep(300);
    const count = await stop();
    const all = (): string[] => [a, b, c, d].flatMap(({ values }) => values);
    await until("all are read", () => new Set(all()).size === count);
    for (const { consumer, ended } of [b, c, d]) {
      await consumer.close();
      await ended;
    }
    assert.ok(a.values.length > 0 && d.values.length > 0, "everyone has worked");
    assert.deepEqual(all().sort(), numbered(count).sort());
    await server.kill("SIGTERM");
  });
});
