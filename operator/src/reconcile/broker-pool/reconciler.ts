/** Makes Brokers of BrokerPools: how many, what for, and made from what. */
import type { Clock, Logger, Random } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import { type Broker, type BrokerPool, type Cluster, resourceTypes } from "../../api/index.ts";
import { Applier } from "../../runtime/apply.ts";
import { keyOf } from "../../runtime/cache.ts";
import { Controller, type ReconcileContext, type ReconcileDone } from "../../runtime/controller.ts";
import type { EventRecorder } from "../../runtime/events.ts";
import { isBeingDeleted } from "../../runtime/finalizers.ts";
import { Informer } from "../../runtime/informer.ts";
import type {
  KubernetesApi,
  KubernetesObject,
  ObjectKey,
  ResourceType,
} from "../../runtime/kubernetes.ts";
import type { RuntimeMetrics } from "../../runtime/metrics.ts";
import { controllerReference } from "../../runtime/owners.ts";
import type { ClusterBrokers } from "../broker/cluster-brokers.ts";
import { type Claim, claimType } from "../broker/kinds.ts";
import { brokerName, hashesOf, labelsOf, managed } from "../broker/objects.ts";
import { freeNumbers, overlapping } from "./numbers.ts";
import { brokersOf, type PoolPlan, type PoolView, planPool } from "./plan.ts";
import { type Judged, type Problem, poolStatus } from "./status.ts";

export const poolDefaults = {
  /** How often a pool is looked at when nothing tells of a change. */
  resyncMs: 60_000,
  /** How often while the cluster cannot be asked. */
  waitingMs: 3000,
  /** After something was done. */
  againMs: 100,
  /** Calls in a row that fail before the status says so. */
  failuresUntold: 3,
} as const;

export interface PoolOptions {
  readonly api: KubernetesApi;
  /** All namespaces where it is left out. */
  readonly namespace?: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics?: RuntimeMetrics;
  readonly events: EventRecorder;
  readonly clusters: Informer<Cluster>;
  /** Image of a Cluster that names none. */
  readonly defaultImage: string;
  /** A connection to a Cluster; undefined while it has no address. Kept and closed by its maker. */
  readonly connect: (cluster: Cluster) => ClusterBrokers | undefined;
  readonly relistMs?: number;
}

const clusterText = (namespace: string | undefined, name: string): string =>
  `${namespace ?? ""}/${name}`;

const clusterOf = ({ metadata, spec }: Broker | BrokerPool): string =>
  clusterText(metadata.namespace, spec.clusterRef.name);

const byCluster = { cluster: (object: Broker | BrokerPool) => [clusterOf(object)] };

const waiting = (ready: "ClusterNotFound" | "ClusterNotReady", message: string): Problem => ({
  type: "waiting",
  ...{ ready, message },
});

export class PoolReconciler {
  readonly pools: Informer<BrokerPool>;
  readonly brokers: Informer<Broker>;
  readonly claims: Informer<Claim>;
  readonly controller: Controller<BrokerPool>;
  readonly #options: PoolOptions;
  readonly #applier = new Applier({ fieldManager: "millrace-operator" });

  constructor(options: PoolOptions) {
    this.#options = options;
    const { api, clock, clusters, logger, metrics, namespace, random, relistMs } = options;
    const shared = { api, clock, random, logger, ...(metrics && { metrics }) };
    const kept = {
      ...{ ...shared, ...(relistMs === undefined ? {} : { relistMs }) },
      ...(namespace === undefined ? {} : { namespace }),
    };
    this.pools = new Informer({ ...kept, type: resourceTypes.BrokerPool, indexes: byCluster });
    this.brokers = new Informer({ ...kept, type: resourceTypes.Broker, indexes: byCluster });
    const labelSelector = managed;
    this.claims = new Informer({ ...kept, type: claimType, labelSelector });
    const poolsOf = (text: string): readonly ObjectKey[] =>
      this.pools.find("cluster", text).map(keyOf);
    this.controller = new Controller({
      ...{ ...shared, name: "broker-pool", primary: this.pools },
      // Pools of a cluster take turns: one broker at a time gets a new pod across all of them.
      queue: { concurrency: 1 },
      reconcile: (key, context) => this.#reconcile(key, context),
    })
      .maps(this.brokers, (broker) => poolsOf(clusterOf(broker)))
      .maps(this.pools, (pool) => poolsOf(clusterOf(pool)))
      .maps(clusters, ({ metadata: { name, namespace } }) => poolsOf(clusterText(namespace, name)));
  }

  async #reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileDone> {
    const { api } = context;
    const pool = this.pools.get(key);
    // Its Brokers, and their pods, go with a pool that is deleted; their volumes stay.
    if (pool === undefined || isBeingDeleted(pool)) return {};
    const { namespace = "" } = pool.metadata;
    const { name } = pool.spec.clusterRef;
    const cluster = this.#options.clusters.get({ namespace, name });
    if (cluster === undefined || isBeingDeleted(cluster)) {
      const why = cluster === undefined ? "is not there" : "is being deleted";
      const message = `Cluster ${name} ${why}: make it, or delete this BrokerPool`;
      return this.#sayAlone(pool, api, waiting("ClusterNotFound", message));
    }
    const view = this.#view(pool, cluster, this.brokers.find("cluster", clusterOf(pool)));
    if (cluster.spec.paused === true) {
      const message = `Cluster ${name} has spec.paused: nothing is changed until it is taken back`;
      return this.#say(api, view, planPool(view), { type: "paused", message });
    }
    const plan = planPool(view);
    if (!hasWork(plan)) return this.#say(api, view, plan);
    return this.#act(pool, cluster, context);
  }

  #view(pool: BrokerPool, cluster: Cluster, brokers: readonly Broker[]): PoolView {
    const { clock, defaultImage } = this.#options;
    const pools = this.pools
      .find("cluster", clusterOf(pool))
      .filter((one) => !isBeingDeleted(one) && one.metadata.uid !== pool.metadata.uid);
    return {
      ...{ pool, cluster, pools: [...pools, pool], defaultImage },
      brokers: brokers.filter((one) => !isBeingDeleted(one)),
      nowMs: clock.wallMs(),
    };
  }

  /** Decides anew by what the server has, and does it. */
  async #act(
    cached: BrokerPool,
    cluster: Cluster,
    { api, failures }: ReconcileContext,
  ): Promise<ReconcileDone> {
    const pool = await api.get(resourceTypes.BrokerPool, keyOf(cached));
    const isSame = pool?.metadata.uid === cached.metadata.uid;
    if (pool === undefined || !isSame || isBeingDeleted(pool)) return {};
    const labelSelector = `millrace.dev/cluster=${cluster.metadata.name}`;
    const namespace = pool.metadata.namespace ?? "";
    const brokers = await listAll(api, resourceTypes.Broker, namespace, labelSelector);
    const view = this.#view(pool, cluster, brokers);
    const plan = planPool(view);
    for (const { broker, spec } of plan.changes) {
      // Refused where the broker has changed since it was read.
      await api.replace(resourceTypes.Broker, { ...broker, spec });
    }
    const problem = plan.add > 0 ? await this.#add(view, plan.add, api, failures) : undefined;
    if (problem !== undefined) return this.#say(api, view, plan, problem);
    return hasWork(plan) ? { requeueAfterMs: poolDefaults.againMs } : this.#say(api, view, plan);
  }

  /**
   * Makes brokers that are missing; returns why it cannot. The cluster is asked after the Brokers
   * were read: a broker that has gone between is one that it knows as decommissioned.
   */
  async #add(
    view: PoolView,
    count: number,
    api: KubernetesApi,
    failures: number,
  ): Promise<Problem | undefined> {
    const { cluster, pool } = view;
    const { metadata, spec } = pool;
    const others = view.pools.filter((one) => one.metadata.uid !== metadata.uid);
    const other = overlapping(pool, others);
    if (other !== undefined) {
      const message = `nodeIds has numbers of BrokerPool ${other.metadata.name}: choose another range`;
      return { type: "stalled", reason: "Conflict", message };
    }
    const known = await this.#known(cluster, failures);
    if ("type" in known) return known;
    const labelSelector = `millrace.dev/cluster=${cluster.metadata.name}`;
    const claims = await listAll(api, claimType, metadata.namespace ?? "", labelSelector);
    const made = new Set(view.brokers.map((one) => one.spec.nodeId));
    const numberOf = (claim: Claim): number =>
      Number(claim.metadata.labels?.["millrace.dev/broker-id"] ?? Number.NaN);
    const own = claims.filter(
      (one) => one.metadata.labels?.["millrace.dev/pool"] === metadata.name,
    );
    // Brokers of before, with the volumes that they left: the cluster still counts on them.
    const returning = own
      .map(numberOf)
      .filter((id) => known.staying.has(id) && !made.has(id))
      .sort((a, b) => a - b)
      .slice(0, count);
    const used = new Set([...made, ...known.all, ...claims.map(numberOf)]);
    const ranges = others.flatMap((one) => one.spec.nodeIds ?? []);
    const numbers = { range: spec.nodeIds, others: ranges, used };
    const fresh = freeNumbers(numbers, count - returning.length);
    for (const nodeId of [...returning, ...fresh]) {
      await api.create(resourceTypes.Broker, this.#brokerOf(view, nodeId));
    }
    if (returning.length + fresh.length === count) return undefined;
    const message = "nodeIds has no number left that no broker has had: widen the range";
    return { type: "stalled", reason: "InvalidSpec", message };
  }

  /** Numbers that the cluster knows, and those of brokers that are not decommissioned. */
  async #known(
    cluster: Cluster,
    failures: number,
  ): Promise<Problem | { readonly all: readonly number[]; readonly staying: Set<number> }> {
    const { name } = cluster.metadata;
    const connection = this.#options.connect(cluster);
    if (connection === undefined) {
      return waiting("ClusterNotReady", `Cluster ${name} has no address yet: see its conditions`);
    }
    try {
      const found = await connection.describe();
      const staying = found.filter(({ intent }) => intent !== "Decommissioned");
      return {
        all: found.map(({ brokerId }) => brokerId),
        staying: new Set(staying.map(({ brokerId }) => brokerId)),
      };
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      if (failures < poolDefaults.failuresUntold) throw error;
      const message = `Cluster ${name} cannot be asked: ${error.codeName}: ${error.message}`;
      return waiting("ClusterNotReady", message);
    }
  }

  #brokerOf({ cluster, defaultImage, pool }: PoolView, nodeId: number): Broker {
    const { name, namespace = "" } = pool.metadata;
    const broker = brokerName(cluster.metadata.name, nodeId);
    return {
      ...{ apiVersion: "millrace.dev/v1alpha1", kind: "Broker" },
      metadata: {
        ...{ name: broker, namespace },
        labels: labelsOf(cluster.metadata.name, name, nodeId),
        ownerReferences: [controllerReference(resourceTypes.BrokerPool, pool)],
      },
      spec: {
        ...{ clusterRef: pool.spec.clusterRef, poolRef: { name }, nodeId },
        intent: pool.spec.cordoned === true ? "Cordoned" : "Active",
        ...hashesOf({ cluster, pool }, nodeId, defaultImage),
        claimName: `data-${broker}`,
      },
    };
  }

  /** Of a pool whose Cluster is not there. */
  async #sayAlone(pool: BrokerPool, api: KubernetesApi, problem: Problem): Promise<ReconcileDone> {
    const cluster = { metadata: { name: pool.spec.clusterRef.name }, spec: {} } as Cluster;
    const brokers = this.brokers.find("cluster", clusterOf(pool));
    const view = { ...this.#view(pool, cluster, brokers), pools: [] };
    return this.#say(api, view, { add: 0, changes: [], rollout: { next: [], left: 0 } }, problem);
  }

  async #say(
    api: KubernetesApi,
    view: PoolView,
    plan: PoolPlan,
    problem?: Problem,
  ): Promise<ReconcileDone> {
    const names = new Set(brokersOf(view).map(({ spec }) => spec.claimName));
    const { namespace } = view.pool.metadata;
    const claims = this.claims
      .list()
      .filter(({ metadata }) => metadata.namespace === namespace && names.has(metadata.name));
    const judged: Judged = { view, plan, claims, problem };
    const { clock, events } = this.#options;
    if (problem?.type === "stalled") {
      const known = view.pool.status?.conditions?.find(({ type }) => type === "Stalled");
      if (known?.message !== problem.message) {
        const { message: note, reason = "InvalidSpec" } = problem;
        void events.emit(view.pool, { type: "Warning", reason, action: "Reconcile", note });
      }
    }
    await this.#applier.applyStatus(api, resourceTypes.BrokerPool, view.pool, (current) =>
      poolStatus(current, judged, clock),
    );
    const { pauseMs } = plan.rollout;
    if (pauseMs !== undefined) return { requeueAfterMs: Math.max(100, pauseMs - view.nowMs) };
    const isWaiting = problem?.type === "waiting";
    return { requeueAfterMs: isWaiting ? poolDefaults.waitingMs : poolDefaults.resyncMs };
  }
}

const hasWork = ({ add, changes }: PoolPlan): boolean => add > 0 || changes.length > 0;

/** All objects of a kind that have a label, as the server has them. */
const listAll = async <T extends KubernetesObject>(
  api: KubernetesApi,
  type: ResourceType<T>,
  namespace: string,
  labelSelector: string,
): Promise<readonly T[]> => {
  const items: T[] = [];
  let continueToken = "";
  do {
    const more = continueToken === "" ? {} : { continueToken };
    const page = await api.list(type, { namespace, labelSelector, limit: 500, ...more });
    items.push(...page.items);
    continueToken = page.continueToken;
  } while (continueToken !== "");
  return items;
};
