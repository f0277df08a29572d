import assert from "node:assert/strict";
import { test } from "node:test";
import { parseEndpoint } from "@millrace/errors";
import type { Channel, Dialer } from "@millrace/rpc";
import { Connections } from "./connections.ts";

const endpoint = (text: string) => parseEndpoint(text) ?? assert.fail(text);

/** A dialer that makes another channel each time, and remembers what was dialed. */
const dialer = () => {
  const dialed: string[] = [];
  const dial: Dialer["dial"] = (to) => {
    dialed.push(to);
    const fail = () => assert.fail("no call is made");
    const channel: Channel = {
      endpoint: to,
      unary: fail,
      serverStream: fail,
      bidi: fail,
      close: () => {},
    };
    return channel;
  };
  return { dialer: { dial }, dialed };
};

test("endpoints that are equal share a channel until it is closed", () => {
  const { dialer: d, dialed } = dialer();
  const connections = new Connections(d, () => "");
  const first = endpoint("a:1");
  const channel = connections.channel(first);
  for (const same of [first, { ...first }, { ...first, listener: "other" }]) {
    assert.equal(connections.channel(same), channel);
  }
  for (const other of [
    { ...first, port: 2 },
    { ...first, tls: true },
  ]) {
    assert.notEqual(connections.channel(other), channel);
    assert.notEqual(connections.channel(other), channel, "the second time");
  }
  assert.deepEqual(dialed, ["a:1", "a:2", "a:1"]);
  connections.close();
  assert.notEqual(connections.channel(first), channel);
});
