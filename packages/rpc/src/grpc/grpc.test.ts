import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Server } from "@grpc/grpc-js";
import { carrierContract } from "../contract.ts";
import { grpcDialer } from "./client.ts";
import { grpcListener } from "./server.ts";
import { onSession, raiseStreamWindow, streamWindowBytes } from "./windows.ts";

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
  assert.ok(raiseStreamWindow(server));
  const options: unknown = Reflect.get(server, "commonServerOptions");
  assert.deepEqual(Reflect.get(options as object, "settings").initialWindowSize, streamWindowBytes);
  assert.equal(
    onSession(server, () => {}),
    false,
    "no server is bound yet",
  );
  server.forceShutdown();
});
