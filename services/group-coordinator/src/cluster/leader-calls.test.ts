import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import type { ClusterView } from "@millrace/broker";
import { parseEndpoint } from "@millrace/errors";
import { ListOffsetsRequestSchema, LogService } from "@millrace/proto/broker";
import { topicIdOf } from "@millrace/record";
import { type Dialer, methodOf } from "@millrace/rpc";
import { Incarnation, Kernel } from "@millrace/sim";
import { Channels } from "./channels.ts";
import { LeaderCalls } from "./leader-calls.ts";

test("a leader is called at its internal address", async () => {
  const dialed: string[] = [];
  const dialer = {
    dial: (address: string) => {
      dialed.push(address);
      return { unary: async () => "answer", close: () => {} };
    },
  } as unknown as Dialer;
  const topicId = topicIdOf(new Uint8Array(16).fill(1));
  const endpoint = parseEndpoint("outside:7400");
  const broker = { endpoint, internalEndpoint: parseEndpoint("b7:7401") };
  const current = {
    brokers: new Map([[7, broker]]),
    topicsById: new Map([[topicId, { partitions: [{ leader: 7 }] }]]),
  };
  const calls = new LeaderCalls({
    clock: new Incarnation(new Kernel(1)).clock(),
    view: { current } as unknown as ClusterView,
    channels: new Channels({ dialer, clusterId: "c" }),
  });
  const method = methodOf(LogService.method.listOffsets);
  await calls.call({ topicId, partition: 0 }, method, create(ListOffsetsRequestSchema));
  assert.deepEqual(dialed, ["b7:7401"]);
});
