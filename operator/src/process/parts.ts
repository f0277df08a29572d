/** What the operator looks after, put together: informers and reconcilers of all kinds. */
import type { Clock, Logger, Random } from "@millrace/env";
import { type Cluster, resourceTypes } from "../api/index.ts";
import type { ClusterBrokers } from "../reconcile/broker/cluster-brokers.ts";
import { BrokerReconciler } from "../reconcile/broker/reconciler.ts";
import { PoolReconciler } from "../reconcile/broker-pool/reconciler.ts";
import type { ClusterTopics } from "../reconcile/topic/cluster-topics.ts";
import { TopicReconciler } from "../reconcile/topic/reconciler.ts";
import { keyOf } from "../runtime/cache.ts";
import { EventRecorder } from "../runtime/events.ts";
import { Informer } from "../runtime/informer.ts";
import type { KubernetesApi, ObjectKey } from "../runtime/kubernetes.ts";
import { Manager } from "../runtime/manager.ts";
import type { RuntimeMetrics } from "../runtime/metrics.ts";

export interface PartsOptions {
  readonly api: KubernetesApi;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics?: RuntimeMetrics;
  /** Of this life of the process. */
  readonly identity: string;
  /** All namespaces where it is left out. */
  readonly namespace?: string;
  /** Image of a Cluster that names none. */
  readonly defaultImage: string;
  readonly brokersOf: (cluster: Cluster) => ClusterBrokers | undefined;
  readonly topicsOf: (cluster: Cluster) => ClusterTopics | undefined;
  readonly onClusterGone: (cluster: ObjectKey) => void;
}

export interface Parts {
  readonly manager: Manager;
  /** Every cache has been complete once. */
  readonly synced: Promise<unknown>;
}

export const makeParts = (options: PartsOptions): Parts => {
  const { api, clock, random, logger, metrics, namespace, identity } = options;
  const counted = metrics === undefined ? {} : { metrics };
  const within = namespace === undefined ? {} : { namespace };
  const shared = { api, clock, random, logger, ...counted, ...within };
  const controller = "millrace.dev/operator";
  const events = new EventRecorder({ ...shared, controller, instance: identity });
  const clusters = new Informer<Cluster>({ ...shared, type: resourceTypes.Cluster });
  clusters.onChange(({ type, object }) => {
    if (type === "deleted") options.onClusterGone(keyOf(object));
  });
  const topics = new TopicReconciler({ ...shared, events, clusters, connect: options.topicsOf });
  const about = { ...shared, events, clusters, defaultImage: options.defaultImage };
  const pool = new PoolReconciler({ ...about, connect: options.brokersOf });
  const { brokers, claims, pools } = pool;
  const broker = new BrokerReconciler({
    ...{ ...about, pools, brokers, claims, connect: options.brokersOf },
  });
  const informers = [clusters, topics.topics, pools, brokers, claims, broker.pods, broker.services];
  const controllers = [topics.controller, pool.controller, broker.controller];
  return {
    manager: new Manager(informers, controllers),
    synced: Promise.all(informers.map(({ synced }) => synced)),
  };
};
