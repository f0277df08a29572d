/** Surroundings that nobody planned: few file descriptors, and a log that nobody reads. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, openSync, readFileSync, writeSync } from "node:fs";
import { type AddressInfo, createServer, connect as dial, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { connect } from "@millrace/client";
import { ServerProcess, withDirectory } from "./server.ts";

const limited = { wrapper: ["bash", "-c", 'ulimit -n 150; exec "$@"', "bash"] };

test("with 150 file descriptors, 300 partitions are written, read and recovered", async () => {
  await withDirectory(async (directory) => {
    const partitions = Array.from({ length: 300 }, (_, partition) => partition);
    const server = new ServerProcess(directory, [], [], limited);
    const client = await connect({ bootstrap: [(await server.ready()).client] });
    await client.admin.createTopic({ name: "t", partitions: partitions.length });
    const producer = client.producer();
    const send = (value: string): Promise<unknown> =>
      Promise.all(partitions.map((partition) => producer.send({ topic: "t", partition, value })));
    await send("first");
    await sleep(1500);
    await send("second");
    await client.close();
    await server.kill("SIGKILL");

    const again = new ServerProcess(directory, [], [], limited);
    const { client: endpoint, http } = await again.ready();
    const reader = await connect({ bootstrap: [endpoint] });
    const consumer = reader.consumer({ untilEnd: true });
    await consumer.assign(
      partitions.map((partition) => ({ topic: "t", partition, from: "earliest" })),
    );
    let records = 0;
    for await (const _ of consumer.records()) records += 1;
    assert.equal(records, 600);
    const metrics = await (await fetch(`http://${http}/metrics`)).text();
    assert.match(metrics, /millrace_log_disk_failures_total 0\n/);
    await reader.close();
    assert.equal((await again.kill("SIGTERM")).code, 0);
  });
});

/** A port that was free just now: one that is told in no file cannot be picked by the server. */
const freePort = async (): Promise<number> => {
  const probe = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => probe.once("listening", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
};

test("a server that recovers is alive and not ready", async () => {
  await withDirectory(async (directory) => {
    // Opening a pipe that nobody writes waits, and the recovery with it.
    const made = spawn("mkfifo", [join(directory, "meta")]);
    await new Promise((resolve) => made.once("exit", resolve));
    const port = await freePort();
    const http = `http://127.0.0.1:${port}`;
    const server = new ServerProcess(directory, ["--http-listen", `127.0.0.1:${port}`]);
    const alive = async (): Promise<boolean> =>
      fetch(`${http}/livez`).then(
        ({ status }) => status === 200,
        () => false,
      );
    try {
      for (let i = 0; i < 200 && !(await alive()); i += 1) await sleep(50);
      assert.equal(await alive(), true);
      await sleep(500);
      assert.equal((await fetch(`${http}/readyz`)).status, 503);
      assert.equal(existsSync(join(directory, "endpoints.json")), false);
      assert.equal((await fetch(`${http}/metrics`)).status, 200);
    } finally {
      await server.kill("SIGKILL");
    }
  });
});

test("more connections than descriptors are refused, and the listeners go on", async () => {
  await withDirectory(async (directory) => {
    const server = new ServerProcess(directory, [], [], limited);
    const { client: endpoint, http, health } = await server.ready();
    const open = (address: string): Socket => {
      const socket = dial(Number(address.split(":")[1]), "127.0.0.1");
      socket.on("error", () => {});
      return socket;
    };
    const sockets = Array.from({ length: 100 }, () => [open(endpoint), open(http), open(health)]);
    await sleep(1000);
    for (const socket of sockets.flat()) socket.destroy();
    await sleep(500);
    assert.equal((await fetch(`http://${http}/livez`)).status, 200);
    const client = await connect({ bootstrap: [endpoint] });
    await client.admin.createTopic({ name: "t", partitions: 1 });
    assert.equal((await client.producer().send({ topic: "t", value: "v" })).offset, 0n);
    await client.close();
    assert.equal((await server.kill("SIGTERM")).code, 0);
  });
});

test("a log whose reader is gone, or does not read, neither ends nor blocks the server", async () => {
  for (const [level, reader] of [
    ["info", "gone"],
    ["debug", "gone"],
    ["debug", "idle"],
  ] as const) {
    await withDirectory(async (directory) => {
      // A pipe of which the test decides who reads: `sleep` never does, `true` is gone at once.
      const path = join(directory, "pipe");
      const made = spawn("mkfifo", [path]);
      await new Promise((resolve) => made.once("exit", resolve));
      const other = spawn("sh", [
        "-c",
        `exec <"$0"; ${reader === "idle" ? "exec sleep 60" : ""}`,
        path,
      ]);
      assert.ok(existsSync(path));
      const fd = openSync(path, "w");
      // A full pipe: every write of the server would wait.
      if (reader === "idle") writeSync(fd, Buffer.alloc(64 * 1024));
      if (reader === "gone") await new Promise((resolve) => other.once("exit", resolve));
      const data = join(directory, "data");
      const stdio = ["ignore", fd, fd] as const;
      const server = new ServerProcess(data, ["--log-level", level], [], { stdio });
      const { client: endpoint, http } = await server.ready();
      const client = await connect({ bootstrap: [endpoint] });
      await client.admin.createTopic({ name: "t", partitions: 50 });
      assert.equal((await fetch(`http://${http}/livez`)).status, 200);
      await client.close();
      const ended = await Promise.race([
        server.kill("SIGTERM"),
        sleep(10_000, undefined, { ref: false }),
      ]);
      other.kill("SIGKILL");
      if (ended === undefined) await server.kill("SIGKILL");
      assert.equal(ended?.code, 0, `${level}, ${reader}`);
    });
  }
});

test("a log in a file is complete after a stop", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "log");
    const fd = openSync(path, "w");
    const stdio = ["ignore", fd, fd] as const;
    const server = new ServerProcess(join(directory, "data"), [], [], { stdio });
    await server.ready();
    assert.equal((await server.kill("SIGTERM")).code, 0);
    const lines = readFileSync(path, "utf8").split("\n");
    const messages = lines.flatMap((line) => (line.startsWith("{") ? [JSON.parse(line).msg] : []));
    assert.equal(messages.at(-1), "stopping");
  });
});

test("libuv has eight threads, also when its variable is set and empty, and as many as it says", () => {
  const script =
    'process.on("exit", () => console.error("threads " + process.env.UV_THREADPOOL_SIZE))';
  const mains = [
    ...["packages/cli/src/main.ts", "services/standalone/src/main.ts"],
    "services/broker/src/process/main.ts",
  ];
  for (const main of mains) {
    for (const [value, expected] of [
      ["", "8"],
      ["3", "3"],
    ] as const) {
      const done = spawnSync(
        process.execPath,
        ["--import", `data:text/javascript,${encodeURIComponent(script)}`, main, "--help"],
        {
          ...{ cwd: fileURLToPath(new URL("../..", import.meta.url)), encoding: "utf8" },
          env: { ...process.env, UV_THREADPOOL_SIZE: value },
        },
      );
      assert.equal(done.stderr, `threads ${expected}\n`, main);
    }
  }
});
