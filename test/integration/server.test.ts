import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "@millrace/client";
import { nodeDisk } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import { verifyDirectory } from "@millrace/log";
import { nodeCompressor } from "@millrace/record/node";
import { ServerProcess, withDirectory } from "./server.ts";

const rounds = Number(process.env["MILLRACE_KILL_ROUNDS"] ?? 5);

test(`kill -9 under load, ${rounds} times: every acknowledged record is in its place`, async (context) => {
  await withDirectory(async (directory) => {
    const acked = new Map<string, string>();
    let n = 0;
    for (let round = 0; round < rounds; round += 1) {
      const small = ["--journal-file-bytes", "16MiB", "--journal-bytes-max", "64MiB"];
      const server = new ServerProcess(directory, ["--checkpoint-interval", "300ms", ...small]);
      const { client: endpoint } = await server.ready();
      const client = await connect({ bootstrap: [endpoint] });
      if (round === 0) {
        const configs = { "segment.bytes": "200000" };
        await client.admin.createTopic({ name: "t", partitions: 4, configs });
      }
      const producer = client.producer({ deliveryTimeoutMs: 1500, requestTimeoutMs: 1000 });
      const open = new Set<Promise<void>>();
      const killAt = Date.now() + 400 + round * 70;
      let killed: Promise<unknown> | undefined;
      while (killed === undefined || Date.now() < killAt + 50) {
        if (killed === undefined && Date.now() >= killAt) killed = server.kill("SIGKILL");
        const value = `${n++} ${"x".repeat(n % 300)}`;
        const sent = producer.send({ topic: "t", value }).then(
          ({ partition, offset }) => {
            const place = `${partition}@${offset}`;
            assert.equal(acked.get(place), undefined, `${place} was acknowledged twice`);
            acked.set(place, value);
          },
          () => {},
        );
        open.add(sent);
        void sent.finally(() => open.delete(sent));
        if (open.size > 500) await Promise.race(open);
      }
      await killed;
      await Promise.allSettled(open);
      await client.close().catch(() => {});
    }
    const server = new ServerProcess(directory);
    const { client: endpoint } = await server.ready();
    const client = await connect({ bootstrap: [endpoint] });
    const consumer = client.consumer({ untilEnd: true });
    const partitions = [0, 1, 2, 3];
    await consumer.assign(
      partitions.map((partition) => ({ topic: "t", partition, from: "earliest" })),
    );
    const found = new Map<string, string>();
    const next = new Map(partitions.map((partition) => [partition, 0n]));
    for await (const { partition, offset, value } of consumer.records()) {
      assert.equal(offset, next.get(partition), `a gap in partition ${partition}`);
      next.set(partition, offset + 1n);
      found.set(`${partition}@${offset}`, Buffer.from(value ?? []).toString());
    }
    for (const [place, value] of acked)
      assert.equal(found.get(place), value, `${place} is not there`);
    context.diagnostic(`${acked.size} acknowledged of ${n} sent, ${found.size} found`);
    assert.ok(acked.size > 500);
    await client.close();
    const { code } = await server.kill("SIGTERM");
    assert.equal(code, 0);
    const report = await verifyDirectory(nodeDisk(directory), nodeCompressor);
    assert.deepEqual(report.damages, []);
    assert.ok(report.clean);
    assert.equal(report.records, found.size);
  });
});

test("a directory in use, of another cluster, or newer is refused with one line", async () => {
  await withDirectory(async (directory) => {
    const server = new ServerProcess(directory);
    await server.ready();
    const second = await new ServerProcess(directory).exited;
    assert.equal(second.code, 1);
    assert.match(second.stderr, /^error: DATA_DIRECTORY_LOCKED: .*\n$/);
    await server.kill("SIGKILL");
    const meta = join(directory, "meta");
    const bytes = readFileSync(meta);
    rmSync(join(directory, "metadata.sqlite"));
    rmSync(join(directory, "metadata.sqlite-wal"), { force: true });
    rmSync(join(directory, "metadata.sqlite-shm"), { force: true });
    const other = await new ServerProcess(directory).exited;
    assert.equal(other.code, 1);
    assert.match(
      other.stderr,
      /error: DATA_DIRECTORY_UNUSABLE: the data directory belongs to cluster/,
    );
    bytes[10] = 99;
    writeFileSync(meta, bytes);
    const damaged = await new ServerProcess(directory).exited;
    assert.match(damaged.stderr, /error: DATA_DIRECTORY_UNUSABLE: .*damaged/);
  });
});

test("wrong settings stop the start with exit 2", async () => {
  await withDirectory(async (directory) => {
    const file = join(directory, "config.yaml");
    writeFileSync(file, "journal-bytes-maxx: 1GiB\n");
    for (const [flags, expected] of [
      [["--config", file], /INVALID_CONFIG: .*journal-bytes-maxx.*did you mean journal-bytes-max/],
      [["--log-level", "loud"], /INVALID_CONFIG: .*log-level.*debug, info, warn, error/],
      [["--nonsense"], /INVALID_CONFIG: command line: .*nonsense/],
      [["--journal-file-bytes", "1GiB"], /: --journal-bytes-max is 512 MiB, .*-file-bytes, 1 GiB/],
      [["--journal-file-bytes", "1MiB"], /INVALID_CONFIG: .*"1MiB".*use 9 MiB to 1 GiB/],
    ] as const) {
      const { code, stderr } = await new ServerProcess(directory, flags).exited;
      assert.equal(code, 2);
      assert.match(stderr, expected);
    }
  });
});

test("the smallest journal takes the largest messages", { timeout: 60_000 }, async () => {
  await withDirectory(async (directory) => {
    const flags = ["--journal-file-bytes", "9MiB", "--journal-bytes-max", "9MiB"];
    const server = new ServerProcess(directory, flags);
    try {
      const client = await connect({ bootstrap: [(await server.ready()).client] });
      const configs = { "max.message.bytes": "8MiB" };
      await client.admin.createTopic({ name: "t", partitions: 1, configs });
      const producer = client.producer();
      // The batch and its request have some bytes besides.
      const value = Buffer.alloc(8 * 1024 * 1024 - 4096, "x");
      for (let i = 0; i < 4; i += 1) {
        const { offset } = await producer.send({ topic: "t", value });
        assert.equal(offset, BigInt(i));
      }
      await client.close();
    } finally {
      assert.equal((await server.kill("SIGTERM")).code, 0);
    }
  });
});

test("a clean restart scans nothing; readiness, metrics and configuration answer", async () => {
  await withDirectory(async (directory) => {
    for (let round = 0; round < 2; round += 1) {
      const server = new ServerProcess(directory);
      const { client: endpoint, http } = await server.ready();
      const client = await connect({ bootstrap: [endpoint] });
      if (round === 0) await client.admin.createTopic({ name: "t", partitions: 1 });
      const { offset } = await client.producer().send({ topic: "t", value: "v" });
      assert.equal(offset, BigInt(round));
      await assert.rejects(client.producer().send({ topic: "no", value: "v" }), (thrown) =>
        hasCode(thrown, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
      );
      for (let i = 0; i < 20 && (await fetch(`http://${http}/readyz`)).status !== 200; i += 1) {
        await sleep(50);
      }
      assert.equal((await fetch(`http://${http}/readyz`)).status, 200);
      const metrics = await (await fetch(`http://${http}/metrics`)).text();
      assert.match(metrics, /millrace_broker_produce_records_total 1\n/);
      assert.match(metrics, /millrace_log_fsyncs_total [1-9]/);
      const configz = (await (await fetch(`http://${http}/configz`)).json()) as Record<
        string,
        { value: unknown }
      >;
      assert.equal(configz["data_dir"]?.value, directory);
      await client.close();
      assert.equal((await server.kill("SIGTERM")).code, 0);
      assert.ok((await verifyDirectory(nodeDisk(directory), nodeCompressor)).clean);
    }
  });
});
