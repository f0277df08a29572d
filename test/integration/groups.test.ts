/** Consumers of a group over real sockets: they come, go, die, and their server restarts. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  type Client,
  connect,
  type GroupConsumer,
  type GroupConsumerOptions,
} from "@millrace/client";
import { ServerProcess, withDirectory } from "./server.ts";

const limit = { timeout: 60_000 };

/** What one consumer has read, in order. */
interface Reader {
  readonly consumer: GroupConsumer;
  readonly values: string[];
  readonly ended: Promise<void>;
}

const read = (client: Client, more: Pick<GroupConsumerOptions, "onLost"> = {}): Reader => {
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

/** A member in a process of its own, which prints partition, offset and value of each record. */
class MemberProcess {
  readonly #child: ChildProcess;
  #stdout = "";
  readonly exited: Promise<NodeJS.Signals | null>;

  constructor(address: string) {
    const main = fileURLToPath(new URL("member.ts", import.meta.url));
    const stdio = ["ignore", "pipe", "inherit"] as const;
    this.#child = spawn(process.execPath, [main, address], { stdio: [...stdio] });
    this.#child.stdout?.on("data", (chunk: Buffer) => {
      this.#stdout += chunk.toString();
    });
    this.exited = new Promise((resolve) =>
      this.#child.once("exit", (_, signal) => resolve(signal)),
    );
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  kill(signal: NodeJS.Signals): Promise<NodeJS.Signals | null> {
    this.signal(signal);
    return this.exited;
  }

  /** What it has printed, but for a line that is cut off. */
  get records(): { readonly partition: number; readonly offset: bigint; readonly value: string }[] {
    const lines = this.#stdout.split("\n").slice(0, -1);
    return lines.map((line) => {
      const [partition, offset = "", value = ""] = line.split(" ");
      return { partition: Number(partition), offset: BigInt(offset), value };
    });
  }
}

test(
  "a member that dies loses nothing, and repeats only what it had not committed",
  limit,
  async (context) => {
    await withDirectory(async (directory) => {
      const { address } = await serve(directory, context);
      await using client = await connect({ bootstrap: address });
      await client.admin.createTopic({ name: "t", partitions: 4 });
      const stop = produce(client, 4);
      const staying = read(client);
      const dying = new MemberProcess(address);
      context.after(() => dying.kill("SIGKILL"));
      await until("both read", () => dying.records.length > 100 && staying.values.length > 100);
      assert.equal(await dying.kill("SIGKILL"), "SIGKILL");
      const committed = new Map(
        (await client.admin.fetchOffsets({ group: "g" })).map((one) => [one.partition, one.offset]),
      );
      const of = new Set(dying.records.map(({ partition }) => partition));
      assert.equal(of.size, 2);
      for (const partition of of) assert.ok((committed.get(partition) ?? 0n) > 0n);
      await until("the survivor has all", () => staying.consumer.assignment().length === 4);
      const count = await stop();
      const all = (): string[] => [...staying.values, ...dying.records.map(({ value }) => value)];
      await until("none is missing", () => new Set(all()).size === count);
      await staying.consumer.close();
      await staying.ended;
      assert.equal(new Set(staying.values).size, staying.values.length);
      const again = new Set(staying.values);
      for (const { offset, partition, value } of dying.records) {
        const isBelow = offset < (committed.get(partition) ?? 0n);
        assert.equal(again.has(value), !isBelow, `${partition}@${offset}`);
      }
    });
  },
);

test("a server that restarts interrupts a group, and nothing else", limit, async (context) => {
  await withDirectory(async (directory) => {
    const first = await serve(directory, context);
    const { port } = new URL(`http://${first.address}`);
    await using client = await connect({ bootstrap: first.address });
    await client.admin.createTopic({ name: "t", partitions: 4 });
    const lost: number[] = [];
    const readers = [0, 1].map(() => read(client, { onLost: (all) => lost.push(all.length) }));
    const shares = (): boolean =>
      readers.every(({ consumer }) => consumer.assignment().length === 2);
    await until("two share four", shares);
    const stop = produce(client, 4);
    await sleep(500);
    await first.server.kill("SIGTERM");
    await serve(directory, context, ["--listen", `127.0.0.1:${port}`]);
    await sleep(500);
    const count = await stop();
    const all = (): string[] => readers.flatMap(({ values }) => values);
    await until("all are read", () => new Set(all()).size === count);
    assert.ok(shares(), "nothing has moved");
    for (const { consumer, ended } of readers) {
      await consumer.close();
      await ended;
    }
    assert.deepEqual(lost, []);
    assert.deepEqual(all().sort(), numbered(count).sort());
  });
});

test("tools commit, fetch and reset offsets, each partition by itself", limit, async (context) => {
  await withDirectory(async (directory) => {
    const { address } = await serve(directory, context);
    await using client = await connect({ bootstrap: address });
    const { admin } = client;
    await admin.createTopic({ name: "t", partitions: 2 });
    await using producer = client.producer();
    for (let n = 0; n < 6; n += 1) {
      await producer.send({ topic: "t", partition: n % 2, value: `v${n}` });
    }
    const at = (partition: number, offset: bigint) => ({ topic: "t", partition, offset });
    const offsets = [{ ...at(0, 1n), metadata: "note" }, at(1, 99n), { ...at(0, 0n), topic: "no" }];
    const results = await admin.commitOffsets({ group: "tool", offsets });
    assert.deepEqual(
      results.map(({ error }) => error?.codeName),
      [undefined, "OFFSET_OUT_OF_RANGE", "UNKNOWN_TOPIC_OR_PARTITION"],
    );
    const [fetched, ...others] = await admin.fetchOffsets({ group: "tool" });
    assert.deepEqual(others, []);
    assert.equal(fetched?.offset, 1n);
    assert.equal(String(Buffer.from(fetched?.metadata ?? [])), "note");
    assert.ok(Math.abs((fetched?.commitTimeMs ?? 0) - Date.now()) < 60_000);
    const partitions = [{ topic: "t", partition: 1 }];
    assert.deepEqual(await admin.fetchOffsets({ group: "tool", partitions }), []);
    const to = { tail: 1 } as const;
    const dry = await admin.resetOffsets({ group: "tool", topic: "t", to, validateOnly: true });
    assert.deepEqual(
      dry.map(({ offset }) => offset),
      [2n, 2n],
    );
    assert.equal((await admin.fetchOffsets({ group: "tool" })).length, 1, "nothing was set");
    await admin.resetOffsets({ group: "tool", topic: "t", to });
    await admin.resetOffsets({ group: "tool", offsets: [at(1, 0n)] });
    assert.deepEqual(
      (await admin.fetchOffsets({ group: "tool" })).map(({ offset }) => offset),
      [2n, 0n],
    );
    assert.deepEqual(await admin.listGroups(), [{ group: "tool", state: "empty", members: 0 }]);
    await admin.deleteGroup({ group: "tool" });
    assert.deepEqual(await admin.listGroups(), []);
    await assert.rejects(admin.describeGroup({ group: "tool" }), /no group tool/);
    await assert.rejects(
      admin.resetOffsets({ group: "tool", topic: "t", to, validateOnly: true }),
      /no group tool/,
    );
    assert.throws(() => admin.resetOffsets({ group: "g", topic: "t", too: to } as never), /"to"/);
  });
});

test("a group that is reset goes on there, with members", limit, async (context) => {
  await withDirectory(async (directory) => {
    const { address } = await serve(directory, context);
    await using client = await connect({ bootstrap: address });
    await client.admin.createTopic({ name: "t", partitions: 1 });
    await using producer = client.producer();
    for (let n = 0; n < 5; n += 1) await producer.send({ topic: "t", value: `v${n}` });
    const { consumer, ended, values } = read(client);
    await until("all are read", () => values.length === 5);
    await client.admin.resetOffsets({ group: "g", topic: "t", to: { offset: 3 } });
    await until("the end is read again", () => values.length === 7);
    assert.deepEqual(values.slice(5), ["v3", "v4"]);
    await consumer.close();
    await ended;
    const [committed] = await client.admin.fetchOffsets({ group: "g" });
    assert.equal(committed?.offset, 5n);
  });
});

test("a member that is stopped is expelled, and joins anew", limit, async (context) => {
  await withDirectory(async (directory) => {
    const { address } = await serve(directory, context);
    await using client = await connect({ bootstrap: address });
    await client.admin.createTopic({ name: "t", partitions: 4 });
    const stop = produce(client, 4);
    const staying = read(client);
    const stopped = new MemberProcess(address);
    context.after(() => stopped.kill("SIGKILL"));
    await until("both read", () => stopped.records.length > 50 && staying.values.length > 50);
    stopped.signal("SIGSTOP");
    await until("its partitions go to the other", () => staying.consumer.assignment().length === 4);
    stopped.signal("SIGCONT");
    await until("they share again", () => staying.consumer.assignment().length === 2);
    const before = stopped.records.length;
    await until("it reads again", () => stopped.records.length > before + 20);
    const count = await stop();
    const all = (): string[] => [...staying.values, ...stopped.records.map(({ value }) => value)];
    await until("none is missing", () => new Set(all()).size === count);
    await staying.consumer.close();
    await staying.ended;
  });
});
