/** What servers and clients of different versions rely on, over real sockets. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { networkInterfaces } from "node:os";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { create } from "@bufbuild/protobuf";
import { connect } from "@millrace/client";
import { ErrorCode, formatEndpoint, hasCode, parseEndpoint } from "@millrace/errors";
import { AdminService, ListTopicsRequestSchema } from "@millrace/proto/controller";
import {
  GetMetadataRequestSchema,
  MetadataService,
  WatchMetadataRequestSchema,
} from "@millrace/proto/metadata";
import { type Channel, methodOf } from "@millrace/rpc";
import { grpcDialer } from "@millrace/rpc/grpc";
import { ServerProcess, withDirectory } from "./server.ts";

const getMetadata = methodOf(MetadataService.method.getMetadata);
const watchMetadata = methodOf(MetadataService.method.watchMetadata);
const listTopics = methodOf(AdminService.method.listTopics);
const cli = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
const limit = { timeout: 60_000 };

const metadataOf = (channel: Channel) =>
  channel.unary(getMetadata, create(GetMetadataRequestSchema));

interface Served {
  readonly address: string;
  readonly channel: Channel;
  readonly server: ServerProcess;
}

/** Runs with a server and a channel to it, which a failure does not leave behind. */
const withServer = async (
  directory: string,
  flags: readonly string[],
  body: (served: Served) => Promise<void>,
): Promise<void> => {
  const server = new ServerProcess(directory, flags);
  try {
    const { client: address } = await server.ready();
    const channel = grpcDialer().dial(address);
    try {
      await body({ address, channel, server });
    } finally {
      channel.close();
    }
  } finally {
    await server.kill("SIGKILL");
  }
};

const hasIpv6 = Object.values(networkInterfaces()).some((list) =>
  list?.some(({ address }) => address === "::1"),
);
const noIpv6 = !hasIpv6 && "this machine has no ::1";

test("an IPv6 address is a structure to programs and host:port to people", {
  ...limit,
  skip: noIpv6,
}, async () => {
  await withDirectory((directory) =>
    withServer(directory, ["--listen", "[::1]:0"], async ({ address, channel }) => {
      const { brokers, controller } = await metadataOf(channel);
      const { port } = parseEndpoint(address) ?? {};
      for (const told of [brokers[0]?.endpoint, controller]) {
        assert.deepEqual([told?.host, told?.port, told?.tls], ["::1", port, false]);
      }
      await using client = await connect({ bootstrap: [address] });
      await client.admin.createTopic({ name: "t", partitions: 1 });
      await client.producer().send({ topic: "t", value: "v" });
      const cluster = await client.admin.cluster();
      assert.equal(formatEndpoint(cluster.controller), address);
      for (const [args, expected] of [
        [["broker", "list", "--output", "json"], `"endpoint": "${address}"`],
        [["cluster", "status", "--output", "json"], `"controller": "${address}"`],
        [["cluster", "status"], `0 (${address})`],
        [["broker", "describe", "0"], ` ${address} `],
      ] as const) {
        const env = { ...process.env, MILLRACE_BOOTSTRAP: address };
        const { stdout, stderr } = spawnSync(process.execPath, [cli, ...args], {
          encoding: "utf8",
          env,
        });
        assert.ok(stdout.includes(expected), `${args.join(" ")}: ${stdout}${stderr}`);
      }
    }),
  );
});

test("a watch follows, comes back where it was, and ends with the server", limit, async () => {
  await withDirectory(async (directory) => {
    let generation: Uint8Array = new Uint8Array(0);
    await withServer(directory, [], async ({ address, channel, server }) => {
      await using client = await connect({ bootstrap: [address] });
      await client.admin.createTopic({ name: "a", partitions: 2 });
      const watch = (afterRevision = 0n) =>
        channel.serverStream(
          watchMetadata,
          create(WatchMetadataRequestSchema, { generation, afterRevision }),
        );
      const stream = watch();
      const snapshot = await stream.read();
      assert.ok(snapshot?.snapshot);
      assert.deepEqual(
        snapshot.topics.map(({ name, partitions }) => [
          name,
          partitions.map(({ leader }) => leader),
        ]),
        [["a", [0, 0]]],
      );
      const { clusterId } = snapshot;
      generation = snapshot.generation;
      assert.equal(generation.length, 16);
      await client.admin.createTopic({ name: "b", partitions: 1 });
      const change = await stream.read();
      assert.deepEqual([change?.snapshot, change?.topics.map(({ name }) => name)], [false, ["b"]]);
      stream.cancel();
      await client.admin.deleteTopic({ name: "a" });
      const resumed = watch(change?.revision);
      const missed = await resumed.read();
      assert.deepEqual([missed?.snapshot, missed?.deletedTopics], [false, ["a"]]);
      assert.ok((missed?.revision ?? 0n) > (change?.revision ?? 0n));

      // Own cluster and none are served, by the broker's services and by the controller's.
      const own = { metadata: new Map([["millrace-cluster-id", clusterId]]) };
      await channel.unary(getMetadata, create(GetMetadataRequestSchema), own);
      await channel.unary(listTopics, create(ListTopicsRequestSchema), own);

      const startedMs = performance.now();
      const ended = server.kill("SIGTERM");
      while ((await resumed.read()) !== undefined);
      assert.equal((await ended).code, 0);
      assert.ok(performance.now() - startedMs < 4_000, "the watch did not hold up the stop");
    });
    await withServer(directory, [], async ({ channel }) => {
      const again = await metadataOf(channel);
      assert.deepEqual(again.generation, generation, "a restart is no restore");
    });
  });
});

test(
  "a client that was given the address of another cluster is told so by every call",
  limit,
  async () => {
    await withDirectory((directory) =>
      withServer(directory, [], async ({ channel }) => {
        const other = { metadata: new Map([["millrace-cluster-id", "another"]]) };
        const refused = (thrown: unknown) => hasCode(thrown, ErrorCode.CLUSTER_ID_MISMATCH);
        const ask = create(ListTopicsRequestSchema);
        await assert.rejects(channel.unary(listTopics, ask, other), refused);
        const watch = channel.serverStream(
          watchMetadata,
          create(WatchMetadataRequestSchema),
          other,
        );
        await assert.rejects(watch.read(), refused);
      }),
    );
  },
);
