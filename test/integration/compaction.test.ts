/** A compacted topic from end to end: client, server, restart, verification. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, connect } from "@millrace/client";
import { runMillrace } from "./command.ts";
import { ServerProcess, withDirectory } from "./server.ts";

/** Segments of some 70 KiB, a cleaner that is never idle, and reads that come from the files. */
const flags = [
  ...["--journal-file-bytes", "9MiB", "--journal-bytes-max", "36MiB"],
  ...["--checkpoint-interval", "100ms", "--log-cleaner-backoff", "100ms"],
  ...["--tail-cache-bytes-max", "0"],
];

const keys = 20;
const records = 4000;

/** A server that ends with the test, however that ends. */
const ending = (server: ServerProcess) =>
  Object.assign(server, {
    [Symbol.asyncDispose]: async (): Promise<void> => {
      await server.kill("SIGKILL");
    },
  });

/** What a reader that begins at the first offset sees. Offsets must rise. */
const readAll = async (client: Client) => {
  await using consumer = client.consumer({ topic: "prices", from: "earliest", untilEnd: true });
  const latest = new Map<string, string | undefined>();
  let count = 0;
  let before = -1n;
  for await (const record of consumer.records()) {
    assert.ok(record.offset > before, `${record.offset} after ${before}`);
    before = record.offset;
    count += 1;
    latest.set(String(record.key), record.value === null ? undefined : String(record.value));
  }
  return { count, latest, last: before };
};

const cleanedBytes = async (http: string): Promise<number> => {
  const page = await (await fetch(`http://${http}/metrics`)).text();
  return Number(/millrace_log_size_bytes (\d+)/.exec(page)?.[1]);
};

test("a reader of a compacted topic has the latest value of every key", () =>
  withDirectory(async (directory) => {
    await using server = ending(new ServerProcess(directory, flags));
    const { client: endpoint, http } = await server.ready();
    await using client = await connect({ bootstrap: [endpoint] });
    const configs = { "cleanup.policy": "compact", "segment.bytes": "1024", "segment.ms": "1s" };
    await client.admin.createTopic({ name: "prices", partitions: 1, configs });
    const producer = client.producer({ compression: "lz4" });
    const sent = new Map<string, string | undefined>();
    const pending: Promise<unknown>[] = [];
    for (let i = 0; i < records; i += 1) {
      const key = `k${i % keys}`;
      const value =
        i > records - keys && i % 3 === 0 ? null : `${i} ${randomBytes(100).toString("hex")}`;
      sent.set(key, value ?? undefined);
      pending.push(producer.send({ topic: "prices", key, value }));
    }
    await Promise.all(pending);
    const before = await cleanedBytes(http);
    // The last segment is closed by what comes after a second.
    for (let i = 0; i < 200 && (await cleanedBytes(http)) > before / 4; i += 1) {
      await sleep(100);
      if (i % 12 === 0) await producer.send({ topic: "prices", key: "more", value: `${i}` });
      sent.set("more", "");
    }
    const found = await readAll(client);
    for (const [key, value] of sent) {
      if (key !== "more") assert.equal(found.latest.get(key), value, key);
    }
    assert.ok(found.count < records / 4, `${found.count} records`);
    assert.ok(found.last >= BigInt(records - 1));
    await client.close();
    assert.equal((await server.kill("SIGTERM")).code, 0);
    const verified = await runMillrace("", "", "log", "verify", directory);
    assert.equal(verified.code, 0, verified.err);

    await using again = ending(new ServerProcess(directory, flags));
    const reader = await connect({ bootstrap: [(await again.ready()).client] });
    const reread = await readAll(reader);
    for (const [key, value] of sent) {
      if (key !== "more") assert.equal(reread.latest.get(key), value, key);
    }
    const { client: address } = await again.ready();
    const place = ["prices", "--partition", "0", "--before", "10"];
    const refused = await runMillrace(address, "", "topic", "delete-records", ...place);
    assert.match(refused.err, /POLICY_VIOLATION|keeps the latest record of every key/);
    await reader.close();
  }));
