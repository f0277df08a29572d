/** What `connect` says of a port that is not the one for clients. */
import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Server } from "node:net";
import { test } from "node:test";
import { createServer as createTlsServer } from "node:tls";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { grpcListener } from "@millrace/rpc/grpc";
import { connect } from "../index.ts";

// Of nobody: a server with TLS must have some.
const key = [
  "-----BEGIN PRIVATE KEY-----",
  "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgFMfj4vdnKmL+Cu+e",
  "csxiWwFWoEudzaQRmJgwT+SAruehRANCAATEe/VBI6jzpfYxV9smsNax5EdnK/rO",
  "hJm5gtktxGUE6DYxfEv83hL5FN2vjHihKjGgrDf7wjtTgh8NEqYFG61F",
  "-----END PRIVATE KEY-----",
].join("\n");
const cert = [
  "-----BEGIN CERTIFICATE-----",
  "MIIBgDCCASWgAwIBAgIUbR18D2JCOhjB+ov05hlb3DrQ5ZcwCgYIKoZIzj0EAwIw",
  "FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEzMDEzMjc0NloYDzIxMjYxMTA2",
  "MTMyNzQ2WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO",
  "PQMBBwNCAATEe/VBI6jzpfYxV9smsNax5EdnK/rOhJm5gtktxGUE6DYxfEv83hL5",
  "FN2vjHihKjGgrDf7wjtTgh8NEqYFG61Fo1MwUTAdBgNVHQ4EFgQU1LdfBwJfB1p3",
  "trme2zStNwmEhZEwHwYDVR0jBBgwFoAU1LdfBwJfB1p3trme2zStNwmEhZEwDwYD",
  "VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAgc0hh+ftNycro6dgwOHM",
  "XcctrCYq2mSNrenIqUEovOMCIQDAE78RlnWA1d2isOHJd6BetLBRNlTT4P7uu2M2",
  "c3AF+w==",
  "-----END CERTIFICATE-----",
].join("\n");

const ofLibrary = /No connection|Last error|Resolution|ECONN|Error:|LB pick|target dns/;

/** What `connect` throws at the port of a server, and how long that takes. */
const tellOf = async (server: Server): Promise<string> => {
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    return await tellOfEndpoint(`127.0.0.1:${port}`);
  } finally {
    server.close();
  }
};

const tellOfEndpoint = async (bootstrap: string): Promise<string> => {
  const startedMs = performance.now();
  try {
    await (await connect({ bootstrap })).close();
  } catch (thrown) {
    assert.ok(thrown instanceof MillraceError);
    assert.ok(performance.now() - startedMs < 3_000);
    assert.doesNotMatch(thrown.message, ofLibrary);
    assert.match(thrown.message, /bootstrap/);
    assert.ok(
      hasCode(thrown, ErrorCode.UNAVAILABLE) || hasCode(thrown, ErrorCode.UNSUPPORTED_OPERATION),
    );
    return thrown.message;
  }
  throw new Error("it connected");
};

const limit = { timeout: 20_000 };

test(
  "an HTTP port, a port with TLS and a foreign one are told by what they answer",
  limit,
  async () => {
    const web = createHttpServer();
    assert.match(await tellOf(web), /127\.0\.0\.1:\d+ is an HTTP port, .* for clients \(7400/);
    const secure = createTlsServer({ key, cert }).on("tlsClientError", () => {});
    assert.match(
      await tellOf(secure),
      /127\.0\.0\.1:\d+ wants TLS, which this client does not speak/,
    );
    const other = createTcpServer((socket) => {
      socket.on("error", () => {}).write("220 mail.example ESMTP\r\n");
    });
    assert.match(await tellOf(other), /127\.0\.0\.1:\d+ is no Millrace server/);
  },
);

test(
  "a port without clients' services, and one where nobody listens, are told too",
  limit,
  async () => {
    const health = await grpcListener().listen("127.0.0.1:0", []);
    try {
      assert.match(
        await tellOfEndpoint(health.endpoint),
        /has no service for clients: .* health checks \(7402/,
      );
    } finally {
      await health.shutdown(0);
    }
    assert.match(
      await tellOfEndpoint("127.0.0.1:1"),
      /no server answers \(127\.0\.0\.1:1 refuses connections\): check bootstrap/,
    );
    assert.match(await tellOfEndpoint("nowhere.invalid:7400"), /nowhere\.invalid:7400 .* resolved/);
  },
);
