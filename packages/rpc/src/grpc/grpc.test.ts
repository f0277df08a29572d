import assert from "node:assert/strict";
import type { ServerHttp2Session } from "node:http2";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, credentials, Server, ServerCredentials } from "@grpc/grpc-js";
import { carrierContract } from "../contract.ts";
import { grpcDialer } from "./client.ts";
import { GrpcDuplex } from "./duplex.ts";
import { grpcListener } from "./server/server.ts";
import {
  firstConnectionWindowBytes,
  hookConnections,
  setSessionOptions,
  streamWindowBytes,
} from "./windows.ts";

carrierContract("grpc-js", () => ({
  listener: grpcListener(),
  dialer: grpcDialer(),
  address: "127.0.0.1:0",
  run: (body) => body(),
  sleep: async (ms) => {
    await sleep(ms);
  },
}));

test("the private hooks of grpc-js are where they were", () => {
  const server = new Server();
  assert.ok(setSessionOptions(server, 100));
  const options: unknown = Reflect.get(server, "commonServerOptions");
  assert.deepEqual(Reflect.get(options as object, "settings").initialWindowSize, streamWindowBytes);
  const hooks = { session: () => {}, stream: () => {} };
  assert.equal(hookConnections(server, hooks), false, "there is no HTTP/2 server yet");
  server.createConnectionInjector(ServerCredentials.createInsecure());
  assert.ok(hookConnections(server, hooks));
  server.forceShutdown();
});

test("the first windows are in force on a connection", async () => {
  const server = new Server();
  setSessionOptions(server, 100);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  const seen = new Promise<ServerHttp2Session>((resolve) => {
    hookConnections(server, { session: resolve, stream: () => {} });
  });
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  await new Promise<void>((resolve) => client.waitForReady(Date.now() + 5000, () => resolve()));
  const session = await seen;
  for (let i = 0; i < 50 && session.pendingSettingsAck; i += 1) await sleep(10);
  assert.equal(session.localSettings.initialWindowSize, streamWindowBytes);
  assert.equal(session.state.effectiveLocalWindowSize, firstConnectionWindowBytes);
  client.close();
  server.forceShutdown();
});

test("the read-ahead of a stream is bounded through its state", () => {
  const stream = new Duplex({ objectMode: true, read() {}, write() {} });
  const raw = { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Uint8Array) => bytes };
  new GrpcDuplex(stream, raw, raw);
  assert.equal(stream.readableHighWaterMark, 4);
  for (let i = 0; i < 3; i += 1) assert.ok(stream.push(Buffer.alloc(1)));
  assert.equal(stream.push(Buffer.alloc(1)), false);
});
