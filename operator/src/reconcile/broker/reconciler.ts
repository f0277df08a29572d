/** Makes pods and volumes of brokers what Broker objects say. */
import type { Clock, Logger, Random } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import { type Broker, type BrokerPool, type Cluster, resourceTypes } from "../../api/index.ts";
import { Applier } from "../../runtime/apply.ts";
import { keyOf } from "../../runtime/cache.ts";
import { Controller, type ReconcileContext, type ReconcileDone } from "../../runtime/controller.ts";
import type { EventRecorder } from "../../runtime/events.ts";
import { isBeingDeleted } from "../../runtime/finalizers.ts";
import { Informer } from "../../runtime/informer.ts";
import { ApiError, type KubernetesApi, type ObjectKey } from "../../runtime/kubernetes.ts";
import type { RuntimeMetrics } from "../../runtime/metrics.ts";
import { isControlledBy } from "../../runtime/owners.ts";
import { carryOut } from "./actions.ts";
import type { ClusterBrokers } from "./cluster-brokers.ts";
import { type Claim, claimType, type Pod, podType, type Service, serviceType } from "./kinds.ts";
import { brokerAddress, brokerService, claimOf, hashesOf, managed, podKeyOf } from "./objects.ts";
import { isAction, stepsOf, type Wait } from "./plan.ts";
import { brokerStatus, type Judged } from "./status.ts";
import type { Asked, View } from "./view.ts";

export const brokerDefaults = {
  /** How often a broker is looked at when nothing tells of a change. */
  resyncMs: 30_000,
  /** How often while something is waited for. */
  waitingMs: 3000,
  /** After something was done. */
  againMs: 100,
  /** How often a lease is kept that runs out after a minute. */
  keepMs: 20_000,
  /** Calls in a row that fail before the status says so. */
  failuresUntold: 3,
} as const;

export interface BrokerOptions {
  readonly api: KubernetesApi;
  /** All namespaces where it is left out. */
  readonly namespace?: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics?: RuntimeMetrics;
  readonly events: EventRecorder;
  readonly clusters: Informer<Cluster>;
  readonly pools: Informer<BrokerPool>;
  readonly brokers: Informer<Broker>;
  readonly claims: Informer<Claim>;
  /** Image of a Cluster that names none. */
  readonly defaultImage: string;
  /** A connection to a Cluster; undefined while it has no address. Kept and closed by its maker. */
  readonly connect: (cluster: Cluster) => ClusterBrokers | undefined;
  readonly relistMs?: number;
}

/** What a Broker belongs to. */
interface Parents {
  readonly cluster: Cluster;
  readonly pool: BrokerPool;
}

const keyIn = ({ metadata }: Broker, name: string): ObjectKey => ({
  namespace: metadata.namespace ?? "",
  name,
});

export class BrokerReconciler {
  readonly pods: Informer<Pod>;
  readonly services: Informer<Service>;
  readonly controller: Controller<Broker>;
  readonly #options: BrokerOptions;
  readonly #applier = new Applier({ fieldManager: "millrace-operator" });
  /** When the lease of a Broker was kept last, by uid; forgotten without harm. */
  readonly #keptMs = new Map<string, number>();

  constructor(options: BrokerOptions) {
    this.#options = options;
    const { api, brokers, claims, clock, clusters, logger, metrics, pools, random } = options;
    const shared = { api, clock, random, logger, ...(metrics && { metrics }) };
    const { namespace, relistMs } = options;
    const kept = {
      ...{ ...shared, labelSelector: managed },
      ...(relistMs === undefined ? {} : { relistMs }),
      ...(namespace === undefined ? {} : { namespace }),
    };
    this.pods = new Informer({ ...kept, type: podType });
    this.services = new Informer({ ...kept, type: serviceType });
    const keysWhere = (isAbout: (broker: Broker) => boolean): readonly ObjectKey[] =>
      brokers.list().filter(isAbout).map(keyOf);
    this.controller = new Controller({
      ...{ ...shared, name: "broker", primary: brokers },
      reconcile: (key, context) => this.#reconcile(key, context),
    })
      .owns(this.pods)
      .owns(this.services)
      .maps(claims, ({ metadata }) =>
        keysWhere(
          ({ metadata: own, spec }) =>
            own.namespace === metadata.namespace && spec.claimName === metadata.name,
        ),
      )
      .maps(pools, ({ metadata }) =>
        keysWhere(
          ({ metadata: own, spec }) =>
            own.namespace === metadata.namespace && spec.poolRef.name === metadata.name,
        ),
      )
      .maps(clusters, ({ metadata }) =>
        keysWhere(
          ({ metadata: own, spec }) =>
            own.namespace === metadata.namespace && spec.clusterRef.name === metadata.name,
        ),
      );
  }

  async #reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileDone> {
    const broker = this.#options.brokers.get(key);
    // What belongs to a Broker that is deleted goes with it; its volume stays.
    if (broker === undefined || isBeingDeleted(broker)) return {};
    const parents = this.#parentsOf(broker);
    if (parents === undefined) return this.#stop(broker, context);
    if (parents.cluster.spec.paused === true) {
      const connection = this.#options.connect(parents.cluster);
      return this.#say(context, await this.#look(broker, parents, connection));
    }
    const service = brokerService(parents.cluster, broker);
    if (service !== undefined) {
      const observed = this.services.get(podKeyOf(broker));
      await this.#applier.apply(context.api, serviceType, service, observed);
    }
    const cluster = this.#options.connect(parents.cluster);
    const view = await this.#look(broker, parents, cluster);
    const steps = stepsOf(view);
    // Where another lease is wanted, one of an earlier process has to run out.
    if (!steps.some(({ type }) => type === "acquire")) await this.#keepLease(view, cluster);
    if (!steps.some(isAction)) return this.#say(context, view);
    return this.#act(view, context, cluster);
  }

  /** Keeps a lease under which something is waited for. A lost one is seen when it is used. */
  async #keepLease(
    { broker: { metadata, spec, status } }: View,
    brokers: ClusterBrokers | undefined,
  ): Promise<void> {
    const { uid = "" } = metadata;
    const lease = status?.maintenanceLease;
    if (lease === undefined) this.#keptMs.delete(uid);
    if (lease === undefined || brokers === undefined) return;
    const nowMs = this.#options.clock.monoMs();
    if (nowMs < (this.#keptMs.get(uid) ?? 0) + brokerDefaults.keepMs) return;
    this.#keptMs.set(uid, nowMs);
    try {
      await brokers.renew({ brokerId: spec.nodeId, token: lease.token });
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
    }
  }

  /** Undefined where one of them is not there, or goes: then everything of the broker goes, too. */
  #parentsOf({ metadata, spec }: Broker): Parents | undefined {
    const { namespace = "" } = metadata;
    const cluster = this.#options.clusters.get({ namespace, name: spec.clusterRef.name });
    const pool = this.#options.pools.get({ namespace, name: spec.poolRef.name });
    if (cluster === undefined || pool === undefined) return undefined;
    return isBeingDeleted(cluster) || isBeingDeleted(pool) ? undefined : { cluster, pool };
  }

  /**
   * Stops the pod of a broker whose Cluster is gone: there is nobody to ask for a lease, and nobody
   * to serve. The volume stays. Without its pool the Broker goes by itself.
   */
  async #stop(broker: Broker, { api }: ReconcileContext): Promise<ReconcileDone> {
    const key = keyIn(broker, broker.spec.clusterRef.name);
    const cluster = await api.get(resourceTypes.Cluster, key);
    if (cluster !== undefined && !isBeingDeleted(cluster)) return {};
    const pod = await api.get(podType, podKeyOf(broker));
    const { resourceVersion, uid } = pod?.metadata ?? {};
    if (pod === undefined || uid === undefined || isBeingDeleted(pod)) return {};
    if (!isControlledBy(pod, broker)) return {};
    const only = resourceVersion === undefined ? { uid } : { uid, resourceVersion };
    await api.delete(podType, keyOf(pod), only);
    return {};
  }

  /** What the caches and the cluster know of a broker. */
  async #look(broker: Broker, parents: Parents, cluster?: ClusterBrokers): Promise<View> {
    return {
      ...{ ...parents, broker, asked: await ask(parents.cluster, broker, cluster) },
      renders: hashesOf(parents, broker.spec.nodeId, this.#options.defaultImage),
      pod: this.pods.get(podKeyOf(broker)),
      claim: this.#options.claims.get(keyIn(broker, broker.spec.claimName)),
      address: brokerAddress(parents.cluster, broker, this.services.get(podKeyOf(broker))),
    };
  }

  /** The same with what the server has now; undefined where the Broker is gone. */
  async #lookAnew(before: View, api: KubernetesApi): Promise<View | undefined> {
    const { metadata } = before.broker;
    const broker = await api.get(resourceTypes.Broker, keyOf(before.broker));
    if (broker === undefined || broker.metadata.uid !== metadata.uid) return undefined;
    if (isBeingDeleted(broker)) return undefined;
    return {
      ...{ ...before, broker },
      pod: await api.get(podType, podKeyOf(broker)),
      claim: await api.get(claimType, keyIn(broker, broker.spec.claimName)),
    };
  }

  /** Decides anew by what the server has, and does the first thing that can be done. */
  async #act(
    before: View,
    context: ReconcileContext,
    brokers: ClusterBrokers | undefined,
  ): Promise<ReconcileDone> {
    const { api } = context;
    const view = await this.#lookAnew(before, api);
    if (view === undefined) return {};
    const waits: Wait[] = [];
    const { clock, defaultImage, events } = this.#options;
    const isPatient = context.failures < brokerDefaults.failuresUntold;
    const about = { api, applier: this.#applier, brokers, clock, defaultImage, events };
    for (const step of stepsOf(view)) {
      const wait = isAction(step) ? await carryOut(step, view, { ...about, isPatient }) : step;
      if (wait === undefined) return { requeueAfterMs: brokerDefaults.againMs };
      waits.push(wait);
    }
    return this.#say(context, view, waits);
  }

  /** Writes what was seen, and keeps the volume's size as it is wanted. */
  async #say(
    { api, failures }: ReconcileContext,
    view: View,
    waits: readonly Wait[] = stepsOf(view).filter((step) => !isAction(step)),
  ): Promise<ReconcileDone> {
    const { asked } = view;
    // A call that fails now and then says nothing about the broker.
    if (asked.type === "unasked" && asked.error && failures < brokerDefaults.failuresUntold) {
      throw asked.error;
    }
    const isPaused = view.cluster.spec.paused === true;
    const resizeProblem = isPaused ? undefined : await this.#grow(api, view);
    const judged: Judged = { view, waits, isPaused, resizeProblem };
    await this.#applier.applyStatus(api, resourceTypes.Broker, view.broker, (current) =>
      brokerStatus(current, judged, this.#options.clock),
    );
    const isWaiting = waits.length > 0 && !isPaused;
    return { requeueAfterMs: isWaiting ? brokerDefaults.waitingMs : brokerDefaults.resyncMs };
  }

  /** Makes the claim as it is wanted; returns why its volume does not grow, for people. */
  async #grow(api: KubernetesApi, view: View): Promise<string | undefined> {
    const { claim } = view;
    if (claim === undefined || isBeingDeleted(claim)) return undefined;
    try {
      await this.#applier.apply(api, claimType, claimOf(view, claim), claim);
      return undefined;
    } catch (error) {
      if (!(error instanceof ApiError) || (error.status !== 403 && error.status !== 422))
        throw error;
      return `claim ${claim.metadata.name} stays as it is: ${error.message}`;
    }
  }
}

/** What the cluster says of a broker, or why it cannot be asked. */
const ask = async (
  { metadata }: Cluster,
  { spec }: Broker,
  brokers: ClusterBrokers | undefined,
): Promise<Asked> => {
  if (brokers === undefined) {
    const message = `Cluster ${metadata.name} has no address yet: see its conditions`;
    return { type: "unasked", message };
  }
  try {
    const all = await brokers.describe();
    return { type: "asked", found: all.find(({ brokerId }) => brokerId === spec.nodeId) };
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    const { codeName, message } = error;
    const text = `Cluster ${metadata.name} cannot be asked: ${codeName}: ${message}`;
    return { type: "unasked", message: text, error };
  }
};
