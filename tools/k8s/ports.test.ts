import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { freePorts, listenersOf, listens } from "./ports.ts";

const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0
   1: 0100007F:192B 0100007F:D6E4 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1 0
`;

test("who listens on a port is read from the kernel's table", () => {
  assert.deepEqual(listenersOf(table, 6443), ["111"]);
  assert.deepEqual(listenersOf(table, 80), ["333"]);
  assert.deepEqual(listenersOf(table, 8080), []);
  assert.deepEqual(listenersOf("", 80), []);
});

test("ports are free, and differ", async () => {
  const ports = await freePorts(20);
  assert.equal(new Set(ports).size, 20);
  assert.ok(!ports.includes(0));
});

test("a port is held by the process that listens, and by no other", async () => {
  const [port = 0] = await freePorts(1);
  assert.equal(await listens(process.pid, port), false);
  const server = createServer().listen(port, "127.0.0.1");
  await once(server, "listening");
  try {
    assert.equal(await listens(process.pid, port), true);
    if (process.platform === "linux") assert.equal(await listens(process.ppid, port), false);
  } finally {
    server.close();
  }
});
