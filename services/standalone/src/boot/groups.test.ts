/** Consumer groups on a server that is alone, by the calls that any client has. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { noMetrics } from "@millrace/broker";
import { type Env, silentLogger } from "@millrace/env";
import { ErrorCode, hasCode } from "@millrace/errors";
import { defaultManagerConfig } from "@millrace/log";
import { EmbeddedStore } from "@millrace/metadata";
import { ProduceOnceRequestSchema, ProduceService } from "@millrace/proto/broker";
import { AdminService, CreateTopicRequestSchema } from "@millrace/proto/controller";
import {
  type Assignment,
  DescribeGroupRequestSchema,
  FetchOffsetsRequestSchema,
  GroupService,
  GroupState,
  JoinRequestSchema,
  type JoinResponse,
} from "@millrace/proto/group";
import { GetMetadataRequestSchema, MetadataService } from "@millrace/proto/metadata";
import { syncCompressor } from "@millrace/record/node";
import { type Channel, type ClientStream, methodOf } from "@millrace/rpc";
import { Incarnation, Kernel, mountStore, SimDisk, SimNetwork } from "@millrace/sim";
import { type Booted, boot } from "./index.ts";

class Site {
  readonly kernel = new Kernel(1);
  readonly disk = new SimDisk(this.kernel.random);
  readonly network = new SimNetwork(this.kernel);
  readonly store = new EmbeddedStore({
    clock: new Incarnation(this.kernel).clock(),
    random: this.kernel.random,
  });
  process = new Incarnation(this.kernel);

  start(): Promise<Booted> {
    const process = new Incarnation(this.kernel, "m");
    this.process = process;
    const env: Env = {
      ...{ clock: process.clock(), random: this.kernel.random, compressor: syncCompressor },
      ...{ disk: this.disk.mount(process), logger: silentLogger, sim: this.kernel.marks },
    };
    const { dialer, listener } = this.network.attach("m", process);
    return boot({
      ...{ env, store: mountStore(this.store, process), dialer, brokerId: 3, alone: true },
      defaultReplicationFactor: 1,
      listeners: {
        client: { listener, endpoint: "m:7400" },
        internal: { listener, endpoint: "m:7401" },
        health: { listener, endpoint: "m:7402" },
        graceMs: 1000,
      },
      logConfig: { ...defaultManagerConfig, diskReserveBytes: 0 },
      metrics: { broker: noMetrics },
      advertise: (listening) => listening,
    });
  }

  channel(): Channel {
    return this.network.attach("c", new Incarnation(this.kernel, "c")).dialer.dial("m:7400");
  }
}

type Stream = ClientStream<unknown, JoinResponse>;

const joinMethod = methodOf(GroupService.method.join);

/** A member by the bare messages. */
class BareMember {
  readonly #stream;
  memberId = "";
  assignment: Assignment | undefined;

  constructor(channel: Channel, open: { group: string; topics?: string[]; topicPattern?: string }) {
    this.#stream = channel.bidi(joinMethod);
    this.#stream.write(create(JoinRequestSchema, { open }));
  }

  get partitions(): number[] {
    return this.assignment?.topics.flatMap((t) => t.partitions.map((p) => p.partition)) ?? [];
  }

  /** Reads on until an assignment, reports it as applied, and returns its partitions. */
  async next(): Promise<number[]> {
    for (;;) {
      const response = await this.#stream.read();
      assert.ok(response !== undefined, "the stream goes on");
      this.memberId = response.joined?.memberId ?? this.memberId;
      if (response.assignment === undefined) continue;
      this.assignment = response.assignment;
      const owned = response.assignment.topics.map(({ partitions, topicId }) => ({
        topicId,
        partitions: partitions.map(({ partition }) => partition),
      }));
      const report = { revision: response.assignment.revision, owned };
      this.#stream.write(create(JoinRequestSchema, { report }));
      return this.partitions;
    }
  }

  async until(count: number): Promise<void> {
    while (this.partitions.length !== count) await this.next();
  }

  async commit(topic: string, partition: number, offset: bigint): Promise<JoinResponse> {
    const commit = {
      commitId: 1n,
      topics: [{ topic, partitions: [{ partition, committed: { offset } }] }],
    };
    this.#stream.write(create(JoinRequestSchema, { commit }));
    for (;;) {
      const response = await this.#stream.read();
      assert.ok(response !== undefined);
      if (response.committed !== undefined) return response;
    }
  }

  async leave(): Promise<void> {
    this.#stream.write(create(JoinRequestSchema, { leave: {} }));
    while ((await this.#stream.read()) !== undefined);
  }

  get stream(): Stream {
    return this.#stream as Stream;
  }
}

const makeTopic = async (channel: Channel, name: string, partitionCount: number): Promise<void> => {
  const request = create(CreateTopicRequestSchema, { name, partitionCount });
  await channel.unary(methodOf(AdminService.method.createTopic), request);
};

const produce = async (channel: Channel, topic: string, partition: number): Promise<void> => {
  const value = new TextEncoder().encode("v");
  const request = create(ProduceOnceRequestSchema, { topic, partition, records: [{ value }] });
  await channel.unary(methodOf(ProduceService.method.produceOnce), request);
};

const describe = (channel: Channel, group: string) =>
  channel.unary(
    methodOf(GroupService.method.describeGroup),
    create(DescribeGroupRequestSchema, { group }),
  );

test("two members share a topic, commit, and a restart remembers it", async () => {
  const site = new Site();
  await site.kernel.run(
    (async () => {
      const first = await site.start();
      const channel = site.channel();
      await makeTopic(channel, "t", 4);
      for (let partition = 0; partition < 4; partition += 1) await produce(channel, "t", partition);
      const { coordinators, groupCoordinators, topics } = await channel.unary(
        methodOf(MetadataService.method.getMetadata),
        create(GetMetadataRequestSchema, { groups: ["g"] }),
      );
      assert.deepEqual(
        coordinators.map(({ coordinatorId, endpoint, group }) => [
          group,
          coordinatorId,
          endpoint?.port,
        ]),
        [["g", 3, 7400]],
      );
      assert.deepEqual(
        groupCoordinators.map(({ coordinatorId, group }) => [coordinatorId, group]),
        [[3, ""]],
      );
      assert.equal(topics.length, 0);
      const a = new BareMember(channel, { group: "g", topics: ["t"] });
      await a.until(4);
      const b = new BareMember(channel, { group: "g", topicPattern: "t.*" });
      await a.until(2);
      await b.until(2);
      assert.deepEqual([...a.partitions, ...b.partitions].sort(), [0, 1, 2, 3]);
      const mine = a.partitions[0] ?? -1;
      const others = b.partitions[0] ?? -1;
      assert.deepEqual((await a.commit("t", mine, 1n)).committed?.refused, []);
      const refused = (await a.commit("t", others, 1n)).committed?.refused[0]?.partitions[0];
      assert.equal(refused?.error?.code, ErrorCode.PARTITION_NOT_ASSIGNED);
      const behind = (await a.commit("t", mine, 2n)).committed?.refused[0]?.partitions[0];
      assert.equal(behind?.error?.code, ErrorCode.OFFSET_OUT_OF_RANGE);
      const described = await describe(channel, "g");
      assert.equal(described.state, GroupState.STABLE);
      assert.deepEqual(
        described.topics[0]?.partitions.map(({ lagRecords, partition }) => [partition, lagRecords]),
        [0, 1, 2, 3].map((partition) => [partition, partition === mine ? 0n : 1n]),
      );
      await a.leave();
      await b.until(4);
      assert.equal(
        b.assignment?.topics[0]?.partitions.find(({ partition }) => partition === mine)?.position
          ?.offset,
        1n,
      );
      await b.leave();
      assert.equal((await describe(channel, "g")).state, GroupState.EMPTY);
      await first.stop();
      await site.start();
      const again = site.channel();
      const request = create(FetchOffsetsRequestSchema, { group: "g" });
      const method = methodOf(GroupService.method.fetchOffsets);
      // The shard may still be on its way.
      let offsets: bigint[] | undefined;
      for (let tries = 0; offsets === undefined && tries < 50; tries += 1) {
        try {
          const { topics } = await again.unary(method, request);
          offsets = topics.flatMap((topic) =>
            topic.partitions.map(({ committed }) => committed?.offset ?? -1n),
          );
        } catch (thrown) {
          if (!hasCode(thrown, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)) throw thrown;
          await new Promise<void>((resolve) => site.kernel.schedule(50, resolve));
        }
      }
      assert.deepEqual(offsets, [1n]);
    })(),
  );
});

test("a member whose stream breaks before it has said anything is not waited for", async () => {
  const site = new Site();
  await site.kernel.run(
    (async () => {
      await site.start();
      const channel = site.channel();
      await makeTopic(channel, "t", 2);
      const open = { group: "g", topics: ["t"] };
      const sleep = (ms: number) =>
        new Promise<void>((resolve) => site.kernel.schedule(ms, resolve));
      // One that never says a word, and one that has said what it owns.
      for (const says of [false, true]) {
        const member = new BareMember(channel, open);
        if (says) await member.until(2);
        else while ((await member.stream.read())?.assignment === undefined);
        await sleep(10);
        member.stream.cancel();
        await sleep(100);
        const { members } = await describe(channel, "g");
        assert.equal(members.length, says ? 1 : 0);
      }
    })(),
  );
});
