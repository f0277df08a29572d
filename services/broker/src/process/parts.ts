/**
 * Starts what makes a process a broker: its logs, its registration, its view of the metadata, its
 * services.
 */
import { create } from "@bufbuild/protobuf";
import { topicConfigOf } from "@millrace/config";
import type { Env, Logger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import {
  type BeginPass,
  type LogManager,
  type LogManagerConfig,
  type LogObserver,
  openLogManager,
} from "@millrace/log";
import {
  brokerRegistration,
  decodeRecord,
  type KeyValue,
  keys,
  type MetadataStore,
  type Mirror,
  Registration,
} from "@millrace/metadata";
import { BrokerRecordSchema, type TopicRecord } from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import type { Dialer } from "@millrace/rpc";
import type { Undo } from "@millrace/server";
import { Broker } from "../broker.ts";
import { ClusterMirror } from "../metadata/mirror.ts";
import type { Coordinators } from "../metadata/service.ts";
import type { BrokerMetrics } from "../metrics.ts";
import { logConfigOf } from "../partitions/log-config.ts";

/** Identity of the broker. */
export interface Identity {
  readonly clusterId: string;
  readonly brokerId: number;
}

/** What is counted. */
export interface LogMetrics {
  readonly log?: LogObserver;
  /** Called once the logs are open. */
  readonly watchLogs?: (logs: LogManager) => void;
}

/** Configs of all topics by id, as the metadata has them before there is a mirror. */
const topicConfigs = async (
  store: MetadataStore,
  logger: Logger,
): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>> => {
  const configs = new Map<string, Readonly<Record<string, string>>>();
  const take = (kv: KeyValue, topicIn: (kv: KeyValue) => TopicRecord | undefined): void => {
    try {
      const topic = topicIn(kv);
      if (topic !== undefined) configs.set(topicIdOf(topic.topicId), topic.configs);
    } catch (thrown) {
      // One bad value does not keep the others from being served: its log is kept whole.
      const err = MillraceError.from(thrown);
      logger.error({ key: kv.key, err }, "a metadata value is refused");
    }
  };
  for (const kv of (await store.range({ prefix: keys.topics })).kvs) take(kv, decodeRecord.topic);
  // The configs of a deleted topic still apply to its remaining files.
  for (const kv of (await store.range({ prefix: keys.deletions })).kvs) {
    take(kv, (deletion) => decodeRecord.deletion(deletion).topic);
  }
  return configs;
};

/** Opens the logs of the disk, recovered. */
export const openLogs = async (
  options: {
    readonly env: Env;
    readonly store: MetadataStore;
    readonly identity: Identity;
    readonly config: LogManagerConfig;
    readonly beginCleaning?: BeginPass | undefined;
    readonly metrics: LogMetrics;
  },
  undo: Undo,
): Promise<LogManager> => {
  const { env, store, identity, config, beginCleaning, metrics } = options;
  const configs = await topicConfigs(store, env.logger);
  const logs = await openLogManager({
    ...{ env, identity, config, beginCleaning },
    configFor: (topicId) => {
      const known = configs.get(topicId);
      const config = logConfigOf(topicConfigOf(known ?? {}));
      // Absent from the metadata, which may be older than the disk: nothing says that it may go.
      return known === undefined ? { ...config, retentionEnabled: false } : config;
    },
    ...(metrics.log === undefined ? {} : { observer: metrics.log }),
  });
  undo.add(() => logs.close(true));
  metrics.watchLogs?.(logs);
  return logs;
};

/**
 * Registers the broker until the stop. The addresses are not known yet. Throws INVALID_CONFIG when
 * another process with this id is alive.
 */
export const register = async (
  options: {
    readonly env: Env;
    readonly store: MetadataStore;
    readonly brokerId: number;
    /** Of the logs that it serves. */
    readonly directoryId: Uint8Array;
    readonly rack?: string;
    /** Ends the wait for an earlier process with this id. */
    readonly signal?: AbortSignal | undefined;
  },
  undo: Undo,
): Promise<Registration> => {
  const { env, store, brokerId, directoryId, rack = "", signal } = options;
  signal?.throwIfAborted();
  const { clock, random, logger } = env;
  const record = create(BrokerRecordSchema, {
    ...{ brokerId, directoryId, incarnationId: random.bytes(16), rack },
  });
  const registration = new Registration({ kind: brokerRegistration, store, clock, logger, record });
  undo.add(() => registration.close());
  const end = (): void => void registration.close();
  signal?.addEventListener("abort", end, { once: true });
  await registration.register().finally(() => signal?.removeEventListener("abort", end));
  return registration;
};

/** A broker that serves nothing yet. */
export const startBroker = (
  options: {
    readonly env: Env;
    readonly mirror: Mirror;
    readonly identity: Identity;
    readonly logs: LogManager;
    readonly metrics: BrokerMetrics;
    readonly dialer: Dialer;
    /** Epoch of the broker's registration. */
    readonly brokerEpoch: () => number;
    readonly replicaLagMaxMs?: number;
    readonly reassignmentThrottle?: number;
    readonly keyIndexBytesMax?: number;
    readonly coordinators?: Coordinators;
  },
  undo: Undo,
): Broker => {
  const { env, mirror, logs, ...shared } = options;
  const view = new ClusterMirror(mirror, env.logger);
  undo.add(() => view.close());
  const broker = new Broker({ ...shared, env, logs, view });
  undo.add(() => broker.close());
  return broker;
};

/** Has other brokers lead, and then undoes the start. Never rejects. */
export const stopBroker = async (
  started: {
    readonly broker: Pick<Broker, "handOver">;
    readonly registration: Pick<Registration, "update" | "makeLast">;
    readonly logger: Logger;
  },
  undo: Pick<Undo, "run">,
): Promise<void> => {
  const { broker, registration, logger } = started;
  await broker.handOver(() => registration.update({ shuttingDown: true }));
  registration.makeLast();
  await undo.run(logger);
};
