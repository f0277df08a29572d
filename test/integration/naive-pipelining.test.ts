/** A client that writes everything before it reads anything is slow, never wrong. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "@millrace/client";
import { BatchBuilder, blankProduceRequest } from "@millrace/record";
import { type Channel, produceMethod } from "@millrace/rpc";
import { grpcDialer } from "@millrace/rpc/grpc";
import { ServerProcess, withDirectory } from "./server.ts";

const count = 200;

/** A server and a channel to it, which a failure does not leave behind. */
const withServer = (body: (endpoint: string, channel: Channel) => Promise<void>): Promise<void> =>
  withDirectory(async (directory) => {
    const server = new ServerProcess(directory);
    const { client: endpoint } = await server.ready();
    const channel = grpcDialer().dial(endpoint);
    try {
      await body(endpoint, channel);
    } finally {
      channel.close();
      await server.kill("SIGKILL");
    }
  });

test(`${count} requests of 1 MB, written before any result is read, get ${count} results`, async () => {
  await withServer(async (endpoint, channel) => {
    await using client = await connect({ bootstrap: [endpoint] });
    await client.admin.createTopic({ name: "t", partitions: 1 });
    const stream = channel.bidi(produceMethod);
    const open = { clientId: "", acks: 0, windowBytes: 0, clusterId: "", requiredFeatures: [] };
    stream.write({ ...blankProduceRequest, open });
    const builder = new BatchBuilder();
    builder.append({ value: Buffer.alloc(1_000_000, "x"), timestampMs: Date.now() });
    const body = builder.finishPlain();
    for (let requestId = 0; requestId < count; requestId += 1) {
      const more = stream.write({ ...blankProduceRequest, topic: "t", requestId, body });
      // What HTTP/2 asks of every client; nothing else makes it wait.
      if (!more) await stream.drained();
    }
    stream.end();
    const offsets: (number | undefined)[] = [];
    for (let reply = await stream.read(); reply !== undefined; reply = await stream.read()) {
      for (const { requestId, baseOffset, error } of reply.results) {
        assert.equal(error, undefined);
        offsets[requestId] = baseOffset;
      }
    }
    assert.deepEqual(
      offsets,
      Array.from({ length: count }, (_, i) => i),
    );
  });
});
