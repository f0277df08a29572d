import assert from "node:assert/strict";
import { test } from "node:test";
import { dialable, formatEndpoint, parseEndpoint } from "./endpoint.ts";

test("host:port becomes an endpoint and comes back, IPv6 in brackets", () => {
  const plain = { listener: "", tls: false, authority: "" };
  const cases = [
    ["a:1", "a", 1],
    ["host.example:65535", "host.example", 65_535],
    ["127.0.0.1:7400", "127.0.0.1", 7400],
    ["[::1]:7400", "::1", 7400],
    ["[2001:db8::2%eth0]:1", "2001:db8::2%eth0", 1],
  ] as const;
  for (const [text, host, port] of cases) {
    const endpoint = parseEndpoint(text);
    assert.deepEqual(endpoint, { host, port, ...plain });
    assert.equal(formatEndpoint(endpoint), text);
  }
});

test("what names no host and port is no endpoint", () => {
  const wrong = ["", "a", ":1", "a:0", "a:65536", "a:-1", "a b:1", "::1:7400", "[::1]", "[a]:1"];
  for (const text of [...wrong, "http://a:1", "a:1:2", "a:1 "]) {
    assert.equal(parseEndpoint(text), undefined, text);
  }
});

test("an endpoint of a message without a host or a port is none", () => {
  const endpoint = { host: "a", port: 1, listener: "public", tls: true, authority: "b" };
  assert.deepEqual(dialable({ ...endpoint, $typeName: "Endpoint" } as typeof endpoint), endpoint);
  for (const part of [{ host: "" }, { port: 0 }, { port: 65_536 }]) {
    assert.equal(dialable({ ...endpoint, ...part }), undefined);
  }
  assert.equal(dialable(undefined), undefined);
});
