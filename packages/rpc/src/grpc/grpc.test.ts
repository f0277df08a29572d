import assert from "node:assert/strict";
import { connect as connectHttp2, constants, type ServerHttp2Session } from "node:http2";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, credentials, Server, ServerCredentials } from "@grpc/grpc-js";
import { ErrorCode, hasCode } from "@millrace/errors";
import { ProduceService } from "@millrace/proto/broker";
import type { BidiHandler } from "../api.ts";
import { carrierContract } from "../contract.ts";
import { bindService } from "../method.ts";
import { produceMethod } from "../stream-methods.ts";
import { grpcDialer } from "./client/dialer.ts";
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

test("the server ends a stream at its deadline, whatever its client does", async () => {
  const aborted = Promise.withResolvers<unknown>();
  const services = [
    bindService<typeof ProduceService, { produce: BidiHandler<unknown, unknown> }>(
      ProduceService,
      {
        produce: ({ context: { signal } }) =>
          new Promise((resolve) => {
            signal.addEventListener("abort", () => {
              aborted.resolve(signal.reason);
              resolve();
            });
          }),
        produceOnce: () => Promise.reject(new Error("not called")),
        initProducerId: () => Promise.reject(new Error("not called")),
      },
      { produce: produceMethod },
    ),
  ];
  const server = await grpcListener().listen("127.0.0.1:0", services);
  const session = connectHttp2(`http://${server.endpoint}`);
  try {
    const call = session.request({
      [constants.HTTP2_HEADER_METHOD]: "POST",
      [constants.HTTP2_HEADER_PATH]: produceMethod.path,
      [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
      te: "trailers",
      "grpc-timeout": "100m",
    });
    // An empty message: the call begins. Its client never ends it.
    call.write(Buffer.alloc(5));
    const status = new Promise((resolve) => {
      call.on("response", (headers) => resolve(headers["grpc-status"]));
      call.on("trailers", (headers) => resolve(headers["grpc-status"]));
    });
    const startedMs = performance.now();
    const within = { ref: false };
    assert.equal(await Promise.race([status, sleep(3000, "no status", within)]), "4");
    assert.ok(performance.now() - startedMs > 90);
    assert.ok(hasCode(await aborted.promise, ErrorCode.DEADLINE_EXCEEDED));
  } finally {
    session.destroy();
    await server.shutdown(0);
  }
});

test("the read-ahead of a stream is bounded through its state", () => {
  const stream = new Duplex({ objectMode: true, read() {}, write() {} });
  const raw = { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Uint8Array) => bytes };
  new GrpcDuplex(stream, raw, raw);
  assert.equal(stream.readableHighWaterMark, 4);
  for (let i = 0; i < 3; i += 1) assert.ok(stream.push(Buffer.alloc(1)));
  assert.equal(stream.push(Buffer.alloc(1)), false);
});
