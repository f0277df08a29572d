/** Composes a broker: partitions as the metadata assigns them, served over any carrier. */
import type { Clock, Env } from "@millrace/env";
import type { LogManager } from "@millrace/log";
import { FetchService, LogService, ProduceService } from "@millrace/proto/broker";
import { MetadataService } from "@millrace/proto/metadata";
import type {
  WireFetchRequest,
  WireFetchResponse,
  WireProduceRequest,
  WireProduceResponse,
} from "@millrace/record";
import {
  type BidiHandler,
  bindService,
  fetchMethod,
  methodOf,
  ofCluster,
  produceMethod,
  type ServiceBinding,
} from "@millrace/rpc";
import { addedPerTurn, type FetchContext, FetchSession } from "./fetch/session.ts";
import { TurnLimiter } from "./fetch/turn-limiter.ts";
import { fetchOnce } from "./fetch-once.ts";
import { limits } from "./limits.ts";
import { LogServiceHandlers } from "./log-service.ts";
import { MetadataHandlers } from "./metadata/service.ts";
import type { ClusterView } from "./metadata/view.ts";
import type { BrokerMetrics } from "./metrics.ts";
import type { DeletionDone } from "./partitions/deletions.ts";
import { ReplicaManager } from "./partitions/replica-manager.ts";
import { Appender } from "./produce/appender.ts";
import { ProduceSession } from "./produce/session.ts";
import { produceOnce } from "./produce-once.ts";

export interface BrokerOptions {
  readonly env: Env;
  readonly logs: LogManager;
  readonly view: ClusterView;
  readonly identity: { readonly clusterId: string; readonly brokerId: number };
  readonly metrics: BrokerMetrics;
  /**
   * Reports that this broker has no partition of a deleted topic any more. Without it, the record
   * of the deletion stays.
   */
  readonly deletionDone?: DeletionDone;
}

const inputBytesMax = limits.requestBytesMax;
const produceMethods = {
  produce: { ...produceMethod, inputBytesMax },
  produceOnce: { ...methodOf(ProduceService.method.produceOnce), inputBytesMax },
};

type Produce = { produce: BidiHandler<WireProduceRequest, WireProduceResponse> };
type Fetch = { fetch: BidiHandler<WireFetchRequest, WireFetchResponse> };

export class Broker {
  readonly replicas: ReplicaManager;
  readonly #view: ClusterView;
  readonly #clock: Clock;
  readonly #appender: Appender;
  readonly #fetch: FetchContext;
  readonly #log: LogServiceHandlers;
  readonly #metadata: MetadataHandlers;

  constructor(options: BrokerOptions) {
    const { env, logs, view, identity, metrics, deletionDone = async () => {} } = options;
    this.#view = view;
    const { clock, compressor, random } = env;
    this.#clock = clock;
    const { brokerId } = identity;
    const replicas = new ReplicaManager({ env, logs, view, brokerId, deletionDone });
    this.replicas = replicas;
    this.#appender = new Appender({ clock, compressor, logs, replicas, metrics, identity });
    const appender = this.#appender;
    const turnLimiter = new TurnLimiter(addedPerTurn, (run) => clock.defer(run));
    this.#fetch = { replicas, appender, random, compressor, metrics, turnLimiter };
    this.#log = new LogServiceHandlers(replicas);
    this.#metadata = new MetadataHandlers(view, clock, random);
  }

  /** Resolves once the broker serves every partition that the metadata assigns to it. */
  start(): Promise<void> {
    return this.replicas.settle();
  }

  /**
   * Resolves once the broker serves what the metadata says as of a revision, or after `timeoutMs`.
   */
  async untilServed(revision: number, timeoutMs: number): Promise<void> {
    const timeout = Promise.withResolvers<void>();
    const cancel = this.#clock.timer(timeoutMs, timeout.resolve);
    const served = this.#view
      .waitForRevision(revision, timeoutMs)
      .then(() => this.replicas.settle());
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
        },
        produceMethods,
      ),
      bindService<typeof FetchService, Fetch>(
        FetchService,
        {
          fetch: (stream) => new FetchSession(stream, this.#fetch).run(),
          fetchOnce: (request, context) => fetchOnce(this.#fetch, request, context),
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

  /** Stops serving. The logs stay open: they belong to the caller. */
  close(): Promise<void> {
    return this.replicas.close();
  }
}
