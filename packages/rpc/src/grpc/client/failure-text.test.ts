import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { MillraceError } from "@millrace/errors";
import { isConnectionRefused } from "../../connection-error.ts";
import { produceMethod } from "../../stream-methods.ts";
import { grpcDialer } from "./dialer.ts";
import { failureText } from "./failure-text.ts";

const ofLibrary =
  /No connection established|Last error|Resolution note|ECONN|Error:|LB pick|target dns/;

test("what grpc-js says is told in words of ours, with the server", () => {
  for (const [text, meaning] of [
    ["No connection established. Last error: Error: connect ECONNREFUSED 1.2.3.4:1.", /refuses/],
    ["Name resolution failed for target dns:nowhere:1", /cannot be resolved/],
    ["Deadline exceeded after 1.001s,LB pick: 0.002s,remote_addr=1.2.3.4:1", /did not answer in/],
    [
      "No connection established. Last error: Protocol error (2026-01-01). Resolution note: ",
      /gRPC/,
    ],
    [
      "No connection established. Last error: Failed to connect (2026-01-01)",
      /cannot be connected/,
    ],
    ["read ECONNRESET", /broke the connection/],
    ["Connection dropped", /broke the connection/],
    ["The server does not implement the method /x/Y", /does not serve this call/],
  ] as const) {
    const told = failureText("h:1", text);
    assert.match(told, meaning);
    assert.match(told, /^h:1 /);
    assert.doesNotMatch(told, ofLibrary);
  }
  assert.equal(failureText("h:1", "upstream connect error"), "upstream connect error");
});

test("calls of both kinds say it so", { timeout: 20_000 }, async () => {
  const web = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => web.once("listening", resolve));
  const { port } = web.address() as AddressInfo;
  const tellOf = async (endpoint: string): Promise<MillraceError> => {
    const channel = grpcDialer().dial(endpoint);
    try {
      await channel.bidi(produceMethod).read();
    } catch (thrown) {
      return MillraceError.from(thrown);
    } finally {
      channel.close();
    }
    throw new Error("no failure");
  };
  try {
    const other = await tellOf(`127.0.0.1:${port}`);
    assert.match(other.message, /^127\.0\.0\.1:\d+ does not speak gRPC: /);
    const none = await tellOf("127.0.0.1:1");
    assert.match(none.message, /^127\.0\.0\.1:1 refuses connections: /);
    assert.ok(isConnectionRefused(none));
  } finally {
    web.close();
  }
});
