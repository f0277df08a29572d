/** Composes a broker: partitions as the metadata assigns them, served over any carrier. */
import { create } from "@bufbuild/protobuf";
import type { Cancel, Clock, Env } from "@millrace/env";
import type { LogManager } from "@millrace/log";
import {
  FetchService,
  type InitProducerIdRequest,
  type InitProducerIdResponse,
  InitProducerIdResponseSchema,
  LogService,
  ProduceService,
  ReplicationService,
} from "@millrace/proto/broker";
import {
  ConfirmDeletionsRequestSchema,
  ConfirmRemovalsRequestSchema,
  ReplicaService,
} from "@millrace/proto/controller";
import { MetadataService } from "@millrace/proto/metadata";
import {
  type TopicId,
  topicIdBytes,
  type WireFetchRequest,
  type WireFetchResponse,
  type WireProduceRequest,
  type WireProduceResponse,
  type WireReplicateRequest,
  type WireReplicateResponse,
} from "@millrace/record";
import {
  type BidiHandler,
  bindService,
  type Dialer,
  fetchMethod,
  methodOf,
  ofCluster,
  onlyMethods,
  produceMethod,
  replicateMethod,
  type ServiceBinding,
} from "@millrace/rpc";
import { ControllerClient } from "./controller-client.ts";
import { addedPerTurn, type FetchContext, FetchSession } from "./fetch/session.ts";
import { TurnLimiter } from "./fetch/turn-limiter.ts";
import { fetchOnce } from "./fetch-once.ts";
import { type GetLatestContext, getLatest } from "./get-latest.ts";
import { type HandOverOptions, handOver } from "./hand-over.ts";
import { Heartbeats } from "./heartbeats.ts";
import { KeyIndex } from "./latest/key-index.ts";
import { KeyIndexes, keyIndexBytesDefault } from "./latest/key-indexes.ts";
import { limits } from "./limits.ts";
import { LogServiceHandlers } from "./log-service.ts";
import { type Coordinators, MetadataHandlers, registeredCoordinators } from "./metadata/service.ts";
import type { ClusterView } from "./metadata/view.ts";
import type { BrokerMetrics } from "./metrics.ts";
import { InSyncChanges } from "./partitions/in-sync-changes.ts";
import type { Removal } from "./partitions/removals.ts";
import { ReplicaManager } from "./partitions/replica-manager.ts";
import { Appender } from "./produce/appender.ts";
import { ProduceSession } from "./produce/session.ts";
import { produceOnce } from "./produce-once.ts";
import { ProducerIds } from "./producer-ids.ts";
import { CatchUpRate } from "./replication/catch-up-rate.ts";
import { CommitLag } from "./replication/commit-lag.ts";
import { Followers } from "./replication/followers.ts";
import { type LeaderContext, LeaderSession } from "./replication/leader-session.ts";

export interface BrokerOptions {
  readonly env: Env;
  readonly logs: LogManager;
  readonly view: ClusterView;
  readonly identity: { readonly clusterId: string; readonly brokerId: number };
  readonly metrics: BrokerMetrics;
  /** Reaches the other brokers, and the controller. */
  readonly dialer: Dialer;
  /** Epoch of this broker's registration; 0 while it has none. */
  readonly brokerEpoch: () => number;
  /**
   * A follower that has not caught up for this long leaves the in-sync replicas, ms. Default
   * `limits.replicaLagMaxMs`.
   */
  readonly replicaLagMaxMs?: number;
  /** Bytes per second read from files for replicas that are not in sync. Default 0: no limit. */
  readonly reassignmentThrottle?: number;
  /** Memory for indexes of keys, bytes. Default `keyIndexBytesDefault`. */
  readonly keyIndexBytesMax?: number;
  /** Where groups are served. Default: where the registered coordinators serve them. */
  readonly coordinators?: Coordinators;
}

const inputBytesMax = limits.requestBytesMax;
const produceMethods = {
  produce: { ...produceMethod, inputBytesMax },
  produceOnce: { ...methodOf(ProduceService.method.produceOnce), inputBytesMax },
};

/** Group coordinators and controllers may not reach the addresses that clients are told. */
const clusterMethods = [
  methodOf(ProduceService.method.produceOnce),
  methodOf(FetchService.method.fetchOnce),
  methodOf(LogService.method.listOffsets),
  methodOf(LogService.method.describeLogs),
];

type Produce = { produce: BidiHandler<WireProduceRequest, WireProduceResponse> };
type Fetch = { fetch: BidiHandler<WireFetchRequest, WireFetchResponse> };
type Replicate = { replicate: BidiHandler<WireReplicateRequest, WireReplicateResponse> };

const confirmDeletions = methodOf(ReplicaService.method.confirmDeletions);
const confirmRemovals = methodOf(ReplicaService.method.confirmRemovals);

export class Broker {
  readonly replicas: ReplicaManager;
  readonly #view: ClusterView;
  readonly #clock: Clock;
  readonly #appender: Appender;
  readonly #fetch: FetchContext;
  readonly #latest: GetLatestContext;
  readonly #log: LogServiceHandlers;
  readonly #metadata: MetadataHandlers;
  readonly #controller: ControllerClient;
  readonly #heartbeats: Heartbeats;
  readonly #changes: InSyncChanges;
  readonly #producerIds: ProducerIds;
  readonly #followers: Followers;
  readonly #leading: LeaderContext;
  readonly #commitLag = new CommitLag();
  #longestLagMs = 0;
  #cancelLook: Cancel = () => {};
  readonly #leaving: Omit<HandOverOptions, "announce" | "timeoutMs">;

  constructor(options: BrokerOptions) {
    const { env, logs, view, identity, metrics, dialer, brokerEpoch } = options;
    const { replicaLagMaxMs: lagMaxMs = limits.replicaLagMaxMs } = options;
    this.#view = view;
    const { clock, compressor, logger, random } = env;
    this.#clock = clock;
    const { brokerId, clusterId } = identity;
    const controller = new ControllerClient({ dialer, view, clusterId });
    this.#controller = controller;
    this.#producerIds = new ProducerIds({ brokerId, brokerEpoch, controller });
    const shared = { clock, random, logger, brokerEpoch };
    this.#leaving = { clock, logger, view, brokerId };
    const logCount = (): number => [...logs.partitions()].length;
    const told = { logCount, commitLagMs: () => this.#commitLagMsMax() };
    this.#heartbeats = new Heartbeats({ ...shared, dialer, view, identity, ...told });
    this.#changes = new InSyncChanges({ ...shared, brokerId, controller, lagMaxMs });
    this.#followers = new Followers({ ...shared, logs, identity, dialer, view });
    const indexes = new KeyIndexes(options.keyIndexBytesMax ?? keyIndexBytesDefault, metrics);
    metrics.watchKeyIndexes(() => indexes.gauges());
    const indexing = { clock, compressor, logger, sim: env.sim, indexes };
    const replicas = new ReplicaManager({
      ...{ env, logs, view, brokerId },
      deletionDone: (topicId) => this.#deletionDone(topicId, brokerId),
      removalsDone: (removals) => this.#removalsDone(removals, brokerId),
      replication: {
        ...{ brokerEpoch, lagMaxMs, meterOf: metrics.meterOf },
        ...{ changes: this.#changes, followers: this.#followers },
        keyIndexOf: (log, moved) => new KeyIndex(indexing, log, moved),
      },
    });
    this.replicas = replicas;
    this.#leading = {
      ...{ clock, random, identity, brokerEpoch },
      catchUpRate: new CatchUpRate(options.reassignmentThrottle ?? 0),
      registered: (id) => view.current.brokers.get(id)?.epoch,
      find: (topicId, partition) =>
        replicas.find({ topicId: topicIdBytes(topicId), topic: "", partition }),
    };
    this.#appender = new Appender({ clock, compressor, logs, replicas, metrics, identity });
    const appender = this.#appender;
    const turnLimiter = new TurnLimiter(addedPerTurn, (run) => clock.defer(run));
    this.#fetch = { replicas, appender, random, compressor, metrics, turnLimiter };
    this.#latest = { replicas, clock, compressor, metrics };
    this.#log = new LogServiceHandlers(replicas, () => logs.gauges().diskFreeBytes);
    const { coordinators = registeredCoordinators(view) } = options;
    this.#metadata = new MetadataHandlers(view, clock, random, coordinators);
  }

  get view(): ClusterView {
    return this.#view;
  }

  /**
   * Tells the controller from now on that this broker is alive. Resolves once it serves every
   * partition that the metadata assigns to it.
   */
  start(): Promise<void> {
    this.#heartbeats.start();
    this.#lookAtCommits();
    return this.replicas.settle();
  }

  /**
   * Resolves once the broker serves what the metadata says as of a revision, or after `timeoutMs`.
   */
  async untilServed(revision: number, timeoutMs: number): Promise<void> {
    const timeout = Promise.withResolvers<void>();
    const cancel = this.#clock.timer(timeoutMs, timeout.resolve);
    const served = this.#view.waitForRevision(revision, timeoutMs).then(() => this.replicas.idle());
    await Promise.race([served, timeout.promise]);
    cancel();
  }

  /** The services for clients. */
  bindings(): ServiceBinding[] {
    const log = this.#log;
    const metadata = this.#metadata;
    const services = [
      bindService<typeof ProduceService, Produce>(
        ProduceService,
        {
          produce: (stream) => new ProduceSession(stream, this.#appender).run(),
          produceOnce: (request) => produceOnce(this.#appender, request),
          initProducerId: (request) => this.#initProducerId(request),
        },
        produceMethods,
      ),
      bindService<typeof FetchService, Fetch>(
        FetchService,
        {
          fetch: (stream) => new FetchSession(stream, this.#fetch).run(),
          fetchOnce: (request, context) => fetchOnce(this.#fetch, request, context),
          getLatest: (request, context) => getLatest(this.#latest, request, context),
        },
        { fetch: fetchMethod },
      ),
      bindService(LogService, {
        listOffsets: (request) => log.listOffsets(request),
        deleteRecords: (request) => log.deleteRecords(request),
        describeLogs: (request) => log.describeLogs(request),
      }),
      bindService(MetadataService, {
        getMetadata: (request) => metadata.getMetadata(request),
        watchMetadata: (request, stream) => metadata.watchMetadata(request, stream),
      }),
    ];
    const { clusterId } = this.#appender.identity;
    return services.map((service) => ofCluster(service, () => clusterId));
  }

  /** The services for other brokers, and the calls that coordinators and controllers make. */
  internalBindings(): ServiceBinding[] {
    const service = bindService<typeof ReplicationService, Replicate>(
      ReplicationService,
      { replicate: (stream) => new LeaderSession(stream, this.#leading).run() },
      { replicate: replicateMethod },
    );
    return [service, ...onlyMethods(this.bindings(), clusterMethods)];
  }

  /**
   * Has other replicas lead, before a stop; see `handOver`. `announce` says in the registration
   * that this broker is about to stop.
   */
  handOver(announce: () => Promise<void>): Promise<void> {
    return handOver({ ...this.#leaving, announce, timeoutMs: limits.handOverMsMax });
  }

  /** Stops serving. The logs stay open: they belong to the caller. */
  async close(): Promise<void> {
    this.#cancelLook();
    const goodbye = this.#heartbeats.close();
    this.#changes.close();
    // Before what waits for its answers.
    this.#controller.close();
    await this.replicas.close();
    await this.#followers.close();
    await goodbye;
  }

  /** The longest since it was asked last. */
  #commitLagMsMax(): number {
    const longestMs = this.#longestLagMs;
    this.#longestLagMs = 0;
    return longestMs;
  }

  #lookAtCommits(): void {
    const led = this.replicas
      .replicas()
      .flatMap(({ state }) => (state.kind === "leader" ? [state.log] : []));
    const lagMs = this.#commitLag.look(led, this.#clock.monoMs());
    this.#longestLagMs = Math.max(this.#longestLagMs, lagMs);
    this.#cancelLook = this.#clock.timer(limits.commitLookMs, () => this.#lookAtCommits());
  }

  async #initProducerId({ clientId }: InitProducerIdRequest): Promise<InitProducerIdResponse> {
    this.#appender.checkClient(clientId, "");
    const producerId = BigInt(await this.#producerIds.next());
    return create(InitProducerIdResponseSchema, { producerId, producerEpoch: 0 });
  }

  async #deletionDone(topicId: TopicId, brokerId: number): Promise<void> {
    const topicIds = [topicIdBytes(topicId)];
    const request = create(ConfirmDeletionsRequestSchema, { brokerId, topicIds });
    await this.#controller.call(confirmDeletions, request);
  }

  async #removalsDone(removals: readonly Removal[], brokerId: number): Promise<void> {
    const partitions = removals.map(({ topicId, partition, leaderEpoch }) => ({
      ...{ topicId: topicIdBytes(topicId), partition, leaderEpoch },
    }));
    const request = create(ConfirmRemovalsRequestSchema, { brokerId, partitions });
    await this.#controller.call(confirmRemovals, request);
  }
}
