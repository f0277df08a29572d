/** Machines with a log each, of which one leads and others follow, over a simulated network. */
import assert from "node:assert/strict";
import { type Clock, type Env, silentLogger } from "@millrace/env";
import {
  type AppendBatch,
  defaultLogConfig,
  defaultManagerConfig,
  type LogManager,
  openLogManager,
  type PartitionLog,
} from "@millrace/log";
import { ReplicationService } from "@millrace/proto/broker";
import {
  BatchBuilder,
  type ProducerStamp,
  type TopicId,
  validateBatch,
  type WireReplicateRequest,
  type WireReplicateResponse,
} from "@millrace/record";
import { syncCompressor } from "@millrace/record/node";
import { type BidiHandler, bindService, type Dialer, replicateMethod } from "@millrace/rpc";
import { Incarnation, Kernel, SimDisk, SimNetwork } from "@millrace/sim";
import { type InSyncReplica, InSyncReplicas, type InSyncView } from "../partitions/in-sync.ts";
import { refusals } from "../partitions/refusals.ts";
import { CatchUpRate } from "../replication/catch-up-rate.ts";
import { FollowerStream } from "../replication/follower-stream.ts";
import {
  type LeaderContext,
  LeaderSession,
  type LeaderTerm,
  type LedPartition,
} from "../replication/leader-session.ts";

export const topicId = "000102030405060708090a0b0c0d0e0f" as TopicId;
const config = { ...defaultLogConfig, retentionMs: -1, segmentBytes: 4000 };

export const batchOf = async (
  values: string | readonly string[],
  nowMs: number,
  producer?: ProducerStamp,
): Promise<AppendBatch> => {
  const builder = new BatchBuilder();
  for (const value of typeof values === "string" ? [values] : values) {
    builder.append({ value: Buffer.from(value), timestampMs: nowMs });
  }
  const limits = {
    ...{ bodyBytesMax: 1e7, recordCountMax: 1000, inflatedBytesMax: 1e7, nowMs },
    ...{ timestampAfterMaxMs: 1e12, timestampBeforeMaxMs: 1e15 },
  };
  return await validateBatch(builder.finishPlain(producer), undefined, limits, syncCompressor);
};

/** A broker's machine: its disk outlives its processes. */
export class Machine {
  readonly world: World;
  readonly brokerId: number;
  readonly disk: SimDisk;
  process: Incarnation;
  brokerEpoch = 0;
  tailCacheBytesMax = 100_000;

  constructor(world: World, brokerId: number) {
    this.world = world;
    this.brokerId = brokerId;
    this.disk = new SimDisk(world.kernel.random);
    this.process = new Incarnation(world.kernel, this.host);
  }

  get host(): string {
    return `b${this.brokerId}`;
  }

  async start(): Promise<{ logs: LogManager; log: PartitionLog; clock: Clock; dialer: Dialer }> {
    const { kernel, network } = this.world;
    this.brokerEpoch += 10;
    this.process = new Incarnation(kernel, this.host);
    network.powerOn(this.host);
    const clock = this.process.clock();
    const env: Env = {
      ...{ clock, random: kernel.random, disk: this.disk.mount(this.process) },
      ...{ compressor: syncCompressor, logger: silentLogger },
    };
    const logs = await openLogManager({
      env,
      identity: { clusterId: "c", brokerId: this.brokerId },
      config: {
        ...defaultManagerConfig,
        ...{ journalFileBytes: 256 * 1024, journalBytesMax: 1024 * 1024, diskReserveBytes: 0 },
        tailCacheBytesMax: this.tailCacheBytesMax,
      },
      configFor: () => config,
    });
    const log = await logs.create(topicId, "t", 0, config);
    return { logs, log, clock, dialer: network.attach(this.host, this.process).dialer };
  }

  kill(): void {
    this.process.kill();
    this.disk.crash("process");
  }
}

export class World {
  readonly kernel: Kernel;
  readonly network: SimNetwork;

  constructor(seed = 1) {
    this.kernel = new Kernel(seed);
    this.network = new SimNetwork(this.kernel, () => 0.2 + this.kernel.random.float());
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.kernel.schedule(ms, resolve, "test");
    });
  }

  async until(holds: () => boolean, what: string): Promise<void> {
    for (let i = 0; !holds(); i += 1) {
      assert.ok(i < 2000, what);
      await this.sleep(10);
    }
  }
}

/** A partition that a test leads. */
export class TestLeader implements LedPartition {
  readonly log: PartitionLog;
  readonly epoch: number;
  readonly inSync: InSyncReplicas;
  readonly #clock: Clock;
  readonly #waiters = new Set<() => void>();
  #term: LeaderTerm;
  leads = true;

  /** The leader is the first in `isr`. */
  constructor(log: PartitionLog, epoch: number, clock: Clock, isr: readonly InSyncReplica[]) {
    this.log = log;
    this.#term = { log };
    this.epoch = epoch;
    this.#clock = clock;
    const view: InSyncView = {
      ...{ modRevision: 1, replicas: [0, 1, 2], isr },
      registered: () => undefined,
    };
    const brokerId = isr[0]?.brokerId ?? 0;
    this.inSync = new InSyncReplicas(brokerId, log.logEndOffset, view, clock.monoMs());
    log.onProgress(() => this.moved());
  }

  /** In the same epoch, without what followers have said. */
  beginAnew(): void {
    this.#term = { log: this.log };
    this.moved();
  }

  requireLeader(leaderEpoch: number): LeaderTerm {
    if (!this.leads) throw refusals.noLeader("t-0");
    if (leaderEpoch !== this.epoch) {
      throw refusals.oldEpoch("t-0", leaderEpoch, this.epoch, undefined);
    }
    return this.#term;
  }

  onceMoved(wake: () => void): () => void {
    this.#waiters.add(wake);
    return () => this.#waiters.delete(wake);
  }

  durable(follower: InSyncReplica, endOffset: number): boolean {
    const { log } = this;
    const counts = this.inSync.report(follower, endOffset, log.logEndOffset, this.#clock.monoMs());
    this.moved();
    return counts;
  }

  isInSync(follower: InSyncReplica): boolean {
    return this.inSync.isMember(follower);
  }

  async append(values: string | readonly string[]): Promise<void> {
    this.log.append(await batchOf(values, this.#clock.wallMs()), this.epoch, () => {});
    this.moved();
  }

  moved(): void {
    const { inSync, log } = this;
    log.updateHighWatermark(inSync.committedEnd(log.ackedEndOffset));
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const wake of waiters) wake();
  }
}

/** Leads the partition on a machine, and serves it to followers. */
export const lead = async (
  machine: Machine,
  epoch: number,
  followers: readonly InSyncReplica[],
  registered: (brokerId: number) => number | undefined = () => undefined,
  catchUpRate: LeaderContext["catchUpRate"] = new CatchUpRate(0),
) => {
  const { log, clock, logs } = await machine.start();
  await log.becomeLeader(epoch);
  const { brokerEpoch, brokerId, world } = machine;
  const leader = new TestLeader(log, epoch, clock, [{ brokerId, brokerEpoch }, ...followers]);
  const context = {
    ...{ clock, random: world.kernel.random, identity: { clusterId: "c", brokerId } },
    ...{ brokerEpoch: () => brokerEpoch, registered, find: () => leader },
    catchUpRate,
  };
  type Replicate = { replicate: BidiHandler<WireReplicateRequest, WireReplicateResponse> };
  const service = bindService<typeof ReplicationService, Replicate>(
    ReplicationService,
    { replicate: (stream) => new LeaderSession(stream, context).run() },
    { replicate: replicateMethod },
  );
  const { listener } = world.network.attach(machine.host, machine.process);
  await listener.listen(`${machine.host}:7401`, [service]);
  return { leader, log, logs };
};

export const follow = async (
  machine: Machine,
  leaderEpoch: number,
  leaderId = 0,
  uncleanLeaderEpoch = 0,
) => {
  const { log, clock, dialer, logs } = await machine.start();
  const { brokerEpoch, brokerId, world } = machine;
  const context = {
    ...{ clock, random: world.kernel.random, logger: silentLogger, logs },
    ...{ identity: { clusterId: "c", brokerId }, brokerEpoch: () => brokerEpoch },
  };
  const stream = new FollowerStream(context, leaderId, () => dialer.dial(`b${leaderId}:7401`));
  const rebuilt: number[] = [];
  const followed = {
    ...{ topicId, partition: 0, leaderEpoch, uncleanLeaderEpoch, log },
    rebuild: (offset: number) => {
      rebuilt.push(offset);
      return log.resetTo(offset);
    },
  };
  stream.follow(followed);
  return { log, logs, stream, rebuilt, followed };
};

export const bytesOf = async (log: PartitionLog): Promise<string> => {
  const chunks: Uint8Array[] = [];
  for (let offset = log.logStartOffset; offset < log.logEndOffset; ) {
    const found = await log.read(offset, 1e6, "log_end");
    chunks.push(...found.chunks);
    offset = found.nextOffset;
  }
  return Buffer.concat(chunks).toString("base64");
};

export const inWorld = (seed: number, body: (world: World) => Promise<void>): Promise<void> => {
  const world = new World(seed);
  return world.kernel.run(body(world));
};
