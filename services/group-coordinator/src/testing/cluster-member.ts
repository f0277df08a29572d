/** A member of a group by the bare messages, which goes wherever its coordinator is. */
import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { formatEndpoint, MillraceError } from "@millrace/errors";
import {
  type ProduceOnceRequest,
  ProduceOnceRequestSchema,
  ProduceService,
} from "@millrace/proto/broker";
import {
  type Assignment,
  FetchOffsetsRequestSchema,
  GroupService,
  type JoinRequest,
  JoinRequestSchema,
  type JoinResponse,
} from "@millrace/proto/group";
import { GetMetadataRequestSchema, MetadataService } from "@millrace/proto/metadata";
import { type Channel, type ClientStream, type Dialer, methodOf } from "@millrace/rpc";

const getMetadata = methodOf(MetadataService.method.getMetadata);
const fetchOffsets = methodOf(GroupService.method.fetchOffsets);
const produceOnce = methodOf(ProduceService.method.produceOnce);
const join = methodOf(GroupService.method.join);

/** Pause before something is tried again, ms. */
const pauseMs = 20;
const triesMax = 3000;

export interface Coordinator {
  readonly id: number;
  readonly address: string;
}

/** Connections to a cluster. */
export class GroupCluster {
  readonly #dialer: Dialer;
  readonly #broker: string;
  readonly #channels = new Map<string, Channel>();
  readonly sleep: (ms: number) => Promise<unknown>;

  /** With the address of a broker. */
  constructor(dialer: Dialer, broker: string, sleep: (ms: number) => Promise<unknown>) {
    this.#dialer = dialer;
    this.#broker = broker;
    this.sleep = sleep;
  }

  channel(address: string): Channel {
    const channel = this.#channels.get(address) ?? this.#dialer.dial(address);
    this.#channels.set(address, channel);
    return channel;
  }

  /** Writes records at the broker, so that there is something to commit. */
  async fill(topic: string, partitions: number, count: number): Promise<void> {
    const value = Buffer.from("v");
    const records = Array.from({ length: count }, () => ({ value }));
    for (let partition = 0; partition < partitions; partition += 1) {
      const request = create(ProduceOnceRequestSchema, { topic, partition, records });
      for (let isWritten = false; !isWritten; ) isWritten = await this.#write(request);
    }
  }

  /** False while the partition is being set up. */
  async #write(request: ProduceOnceRequest): Promise<boolean> {
    try {
      await this.channel(this.#broker).unary(produceOnce, request);
      return true;
    } catch (thrown) {
      if (!MillraceError.from(thrown).spec.retriable) throw thrown;
      await this.sleep(pauseMs);
      return false;
    }
  }

  /** What the broker says; undefined while it knows of none. */
  async find(group: string): Promise<Coordinator | undefined> {
    const request = create(GetMetadataRequestSchema, { groups: [group] });
    const channel = this.channel(this.#broker);
    const [found] = (await channel.unary(getMetadata, request)).coordinators;
    if (found?.endpoint === undefined) return undefined;
    return { id: found.coordinatorId, address: formatEndpoint(found.endpoint) };
  }

  /** All that the broker knows of. */
  async all(): Promise<Coordinator[]> {
    const channel = this.channel(this.#broker);
    const { groupCoordinators } = await channel.unary(
      getMetadata,
      create(GetMetadataRequestSchema),
    );
    return groupCoordinators.map(({ coordinatorId: id, endpoint }) => ({
      ...{ id, address: endpoint === undefined ? "" : formatEndpoint(endpoint) },
    }));
  }

  /** Offsets that are committed, by partition, as one coordinator says. */
  async offsets(address: string, group: string, timeoutMs: number): Promise<Map<number, bigint>> {
    const request = create(FetchOffsetsRequestSchema, { group });
    const { topics } = await this.channel(address).unary(fetchOffsets, request, { timeoutMs });
    const all = topics.flatMap(({ partitions }) => partitions);
    return new Map(all.map(({ committed, partition }) => [partition, committed?.offset ?? -1n]));
  }

  /** The same, wherever the group is served by now. */
  async committed(group: string): Promise<Map<number, bigint>> {
    for (;;) {
      try {
        const found = await this.find(group);
        if (found !== undefined) return await this.offsets(found.address, group, 10_000);
      } catch (thrown) {
        const error = MillraceError.from(thrown);
        if (!error.spec.retriable) throw error;
      }
      await this.sleep(pauseMs);
    }
  }

  close(): void {
    for (const channel of this.#channels.values()) channel.close();
  }
}

type Stream = ClientStream<JoinRequest, JoinResponse>;

export class GroupMember {
  readonly #cluster: GroupCluster;
  readonly #group: string;
  readonly #topic: string;
  #stream: Stream | undefined;
  #commitId = 0n;
  memberId = "";
  assignment: Assignment | undefined;
  coordinator: Coordinator | undefined;

  constructor(cluster: GroupCluster, group: string, topic: string) {
    this.#cluster = cluster;
    this.#group = group;
    this.#topic = topic;
  }

  get partitions(): number[] {
    return this.assignment?.topics.flatMap((t) => t.partitions.map((p) => p.partition)) ?? [];
  }

  /** Joins, or comes back, wherever the coordinator is by now; until it has an assignment. */
  async join(): Promise<void> {
    for (let tries = 0; tries < triesMax; tries += 1) {
      try {
        this.coordinator = await this.#cluster.find(this.#group);
        if (this.coordinator !== undefined) return await this.#joinAt(this.coordinator.address);
      } catch (thrown) {
        const error = MillraceError.from(thrown);
        if (!error.spec.retriable) throw error;
      }
      await this.#cluster.sleep(pauseMs);
    }
    assert.fail(`group ${this.#group} has had no coordinator for a minute`);
  }

  /** Sends a commit, and does not wait. */
  send(partition: number, offset: bigint): void {
    this.#commitId += 1n;
    const partitions = [{ partition, committed: { offset } }];
    const topics = [{ topic: this.#topic, partitions }];
    const commit = { commitId: this.#commitId, topics };
    this.#stream?.write(create(JoinRequestSchema, { commit }));
  }

  /** Resolves with the answer to the last commit; rejects when the stream ends first. */
  async answer(): Promise<NonNullable<JoinResponse["committed"]>> {
    for (;;) {
      const { committed } = await this.#read();
      if (committed?.commitId === this.#commitId) return committed;
    }
  }

  /** Commits, and comes back where that fails, until it is acknowledged. */
  async commit(partition: number, offset: bigint): Promise<void> {
    for (;;) {
      try {
        this.send(partition, offset);
        const { error, refused } = await this.answer();
        assert.deepEqual(refused, []);
        if (error === undefined) return;
      } catch (thrown) {
        const error = MillraceError.from(thrown);
        if (!error.spec.retriable) throw error;
      }
      await this.join();
    }
  }

  async #joinAt(address: string): Promise<void> {
    const stream = this.#cluster.channel(address).bidi(join) as Stream;
    this.#stream = stream;
    const { memberId } = this;
    const owned = this.#owned();
    const open = { group: this.#group, topics: [this.#topic], memberId, owned };
    const memberEpoch = this.assignment?.memberEpoch ?? 0;
    stream.write(create(JoinRequestSchema, { open: { ...open, memberEpoch } }));
    for (;;) {
      const { assignment, joined } = await this.#read();
      this.memberId = joined?.memberId ?? this.memberId;
      if (assignment === undefined || assignment.topics.length === 0) continue;
      this.assignment = assignment;
      const report = { revision: assignment.revision, owned: this.#owned() };
      stream.write(create(JoinRequestSchema, { report }));
      return;
    }
  }

  #owned() {
    const topics = this.assignment?.topics ?? [];
    return topics.map(({ partitions, topicId }) => ({
      topicId,
      partitions: partitions.map(({ partition }) => partition),
    }));
  }

  async #read(): Promise<JoinResponse> {
    const response = await this.#stream?.read();
    if (response !== undefined) return response;
    throw MillraceError.from(new Error("the coordinator has ended the stream"));
  }
}
