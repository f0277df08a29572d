/** Controllers and brokers on one etcd, each behind a link of its own, and what they have done. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { create } from "@bufbuild/protobuf";
import { Controller as Admin, ControllerProcess } from "@millrace/controller";
import { type Logger, silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import {
  brokerRegistration,
  decodeRecord,
  keys,
  type MetadataStore,
  Mirror,
  type Operation,
  Registration,
} from "@millrace/metadata";
import { openEtcdStore } from "@millrace/metadata/etcd";
import { CreateTopicRequestSchema } from "@millrace/proto/controller";
import {
  BrokerRecordSchema,
  type PartitionRecord,
  type TopicRecord,
} from "@millrace/proto/storage";
import { grpcDialer } from "@millrace/rpc/grpc";
import { Beliefs } from "./beliefs.ts";
import type { Etcd } from "./etcd.ts";
import { FaultyLink } from "./faulty-link.ts";
import { History } from "./history.ts";

export const clock = nodeClock();
export const random = nodeRandom();
let clusters = 0;

/** Waits for something that the machine may take its time for. */
export const until = async (
  done: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 60_000,
): Promise<void> => {
  const endMs = clock.monoMs() + timeoutMs;
  while (!(await done())) {
    assert.ok(clock.monoMs() < endMs, `${what}: not within ${timeoutMs} ms`);
    await clock.sleep(10);
  }
};

export const put = (key: string, value = "x"): Operation => ({
  ...{ type: "put", key, value: Buffer.from(value) },
});

export const openStore = (root: string, ...endpoints: readonly string[]): MetadataStore =>
  openEtcdStore({ clock, random, logger: silentLogger, endpoints, root });

interface Line {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

export interface Member {
  readonly id: number;
  readonly server: Etcd;
  readonly link: FaultyLink;
  readonly store: MetadataStore;
  readonly mirror: Mirror;
  readonly process: ControllerProcess;
  readonly admin: Admin;
  /** What it has logged. */
  readonly lines: Line[];
}

export interface ClusterOptions {
  /** Members of one etcd. Each controller asks one of them, in turn; all else asks all. */
  readonly servers: readonly Etcd[];
  readonly controllers: number;
  readonly brokers?: number;
  /** Of the lease of the active controller. */
  readonly ttlSeconds: number;
  /** Of the registrations of brokers. Default: that of controllers. */
  readonly brokerTtlSeconds?: number;
}

export class TestControllers {
  readonly root: string;
  readonly members: Member[] = [];
  readonly registrations: Registration[] = [];
  /** Straight to etcd. */
  readonly store: MetadataStore;
  readonly history: History;
  readonly #beliefs = new Beliefs(clock);
  #isDeposed = false;
  readonly #options: ClusterOptions;

  private constructor(options: ClusterOptions, store: MetadataStore, root: string, from: number) {
    this.#options = options;
    this.store = store;
    this.root = root;
    this.history = new History(store, from);
  }

  /** The controllers campaign, and the brokers are registered. */
  static async start(context: TestContext, options: ClusterOptions): Promise<TestControllers> {
    clusters += 1;
    const root = `/millrace/controllers-${clusters}/`;
    const store = openStore(root, ...options.servers.map(({ endpoint }) => endpoint));
    const { revision } = await store.range({ key: "" });
    const cluster = new TestControllers(options, store, root, revision);
    context.after(() => cluster.#close());
    for (let id = 1; id <= (options.brokers ?? 0); id += 1) await cluster.startBroker(id);
    for (let id = 1; id <= options.controllers; id += 1) await cluster.#startController(id);
    return cluster;
  }

  async startBroker(brokerId: number): Promise<Registration> {
    const record = create(BrokerRecordSchema, { brokerId, incarnationId: random.bytes(16) });
    const { store } = this;
    const { ttlSeconds: common, brokerTtlSeconds: ttlSeconds = common } = this.#options;
    const registration = new Registration({
      ...{ store, clock, logger: silentLogger, record, ttlSeconds, waitMs: 60_000 },
      kind: brokerRegistration,
    });
    this.registrations.push(registration);
    await registration.register();
    return registration;
  }

  async #startController(id: number): Promise<void> {
    const { servers, ttlSeconds } = this.#options;
    const server = servers[id % servers.length];
    assert.ok(server !== undefined);
    const link = await FaultyLink.start(server.clientPort);
    const store = openStore(this.root, link.endpoint);
    const lines: Line[] = [];
    const add = (fields: Line["fields"], message: string): void => {
      lines.push({ fields, message });
    };
    const logger: Logger = { ...silentLogger, info: add, warn: add, error: add };
    const shared = { store, clock, random, logger };
    const mirror = new Mirror(shared);
    await mirror.start();
    const metrics = this.#beliefs.metricsOf(id);
    const options = {
      ...shared,
      mirror,
      dialer: grpcDialer(),
      controllerId: id,
      ttlSeconds,
      metrics,
    };
    const process = new ControllerProcess(options);
    const admin = new Admin({ ...shared, active: process, defaultReplicationFactor: 1 });
    this.members.push({ id, server, link, store, mirror, process, admin, lines });
  }

  get active(): Member[] {
    return this.members.filter(({ process }) => {
      try {
        process.requireActive();
        return true;
      } catch {
        return false;
      }
    });
  }

  /** Create revision of the election's key, or 0. */
  async epoch(): Promise<number> {
    return (await this.store.range({ key: keys.controller })).kvs[0]?.createRevision ?? 0;
  }

  /** Waits for a reign with a higher epoch. */
  untilAfter(epoch: number): Promise<void> {
    const isAfter = async (): Promise<boolean> => (await this.epoch().catch(() => 0)) > epoch;
    return until(isAfter, `an epoch above ${epoch}`);
  }

  /** The one active controller, which has written. A slow machine may have lost it again. */
  async oneActive(but?: Member): Promise<Member> {
    for (;;) {
      await until(() => this.active.some((one) => one !== but), "a controller is active");
      const member = this.active.find((one) => one !== but);
      const written = member?.process.write([], [put("written")]);
      const result = await written?.catch(() => undefined);
      if (member !== undefined && result?.succeeded) return member;
    }
  }

  /** Every partition is led by a registered broker, and no partition is left over. */
  async settle(timeoutMs = 60_000): Promise<void> {
    const endMs = clock.monoMs() + timeoutMs;
    for (;;) {
      const { revision } = await this.store.range({ key: "" });
      const [member] = this.active;
      if (await member?.process.settled(revision, 500)) break;
      assert.ok(clock.monoMs() < endMs, `the controllers have not settled within ${timeoutMs} ms`);
      await clock.sleep(20);
    }
  }

  /**
   * Creates a topic as a client does: at the active controller, and again after what may pass.
   * Returns its id, or undefined if it exists: an earlier attempt has made it.
   */
  async createTopic(
    name: string,
    partitionCount: number,
    replicationFactor = 1,
  ): Promise<string | undefined> {
    const fields = { name, partitionCount, replicationFactor };
    const request = create(CreateTopicRequestSchema, fields);
    for (;;) {
      const [member] = this.active;
      const made = await member?.admin.createTopic(request).catch((thrown: unknown) => {
        if (hasCode(thrown, ErrorCode.TOPIC_ALREADY_EXISTS)) return "exists";
        if (MillraceError.from(thrown).spec.retriable) return undefined;
        throw thrown;
      });
      if (made === "exists") return undefined;
      if (made !== undefined) return Buffer.from(made.topicId).toString("hex");
      await clock.sleep(20);
    }
  }

  /**
   * Deletes the key of the election, so that another controller may follow at once. Whoever is
   * active learns of it from its watch, perhaps later than the others: only the guard keeps them
   * apart.
   */
  async depose(): Promise<void> {
    this.#isDeposed = true;
    await this.store.txn([], [{ type: "delete", range: { key: keys.controller } }]);
  }

  /** Topics by name, with the partitions that are stored. */
  async topics(): Promise<Map<string, { record: TopicRecord; partitions: PartitionRecord[] }>> {
    const partitions = await this.partitions();
    const { kvs } = await this.store.range({ prefix: keys.topics });
    return new Map(
      kvs.map((kv) => {
        const record = decodeRecord.topic(kv);
        const own = partitions.filter(
          ({ topicId }) => Buffer.compare(topicId, record.topicId) === 0,
        );
        return [record.name, { record, partitions: own }];
      }),
    );
  }

  async partitions(): Promise<PartitionRecord[]> {
    const { kvs } = await this.store.range({ prefix: keys.partitions });
    return kvs.map(decodeRecord.partition);
  }

  /** Checks all that has happened so far, once everybody has heard of it. */
  async check(context: TestContext): Promise<void> {
    const { revision } = await this.store.range({ key: "" });
    const { history, members } = this;
    await until(() => {
      history.ask();
      return history.revision >= revision;
    }, "the history is read");
    for (const { id, mirror } of members) {
      const isRead = await mirror.waitForRevision(revision, 60_000);
      assert.ok(isRead, `the mirror of controller ${id} does not come back`);
      assert.equal(mirror.missed, 0);
    }
    await until(() => this.active.length === 1, "one controller is active");
    assert.deepEqual(history.failures, []);
    if (!this.#isDeposed) this.#beliefs.checkDisjoint();
    const gaps = this.#beliefs.gapsMs().map(Math.round);
    context.diagnostic(`${gaps.length + 1} reigns, and between them, ms: ${gaps.join(", ")}`);
  }

  async #close(): Promise<void> {
    this.history.close();
    for (const { link } of this.members) link.heal();
    await Promise.all(this.members.map(({ process }) => process.close()));
    await Promise.all(this.registrations.map((one) => one.close()));
    for (const { mirror, store, link } of this.members) {
      mirror.close();
      await store.close();
      await link.close();
    }
    await this.store.close();
  }
}
