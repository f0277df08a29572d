/** Pools and brokers, and what befalls them, for the harness. */

import { brokerKind } from "../../../api/broker.ts";
import { brokerPoolKind } from "../../../api/broker-pool.ts";
import {
  type Broker,
  type BrokerPool,
  type Cluster,
  resourceTypes,
  schemaOf,
} from "../../../api/index.ts";
import { problemsOf } from "../../../api/testing/admission.ts";
import { EventRecorder } from "../../../runtime/events.ts";
import { Informer } from "../../../runtime/informer.ts";
import { Manager } from "../../../runtime/manager.ts";
import type { Process, Scenario } from "../../../runtime/testing/crash-points.ts";
import type { FakeServer, Write } from "../../../runtime/testing/fake-api/server.ts";
import { PoolReconciler } from "../../broker-pool/reconciler.ts";
import { conditionOf } from "../../outcome.ts";
import { type Claim, claimType, type Pod, podType } from "../kinds.ts";
import { BrokerReconciler } from "../reconciler.ts";
import { hasEnded } from "../view.ts";
import { storedBrokers } from "./stored-brokers.ts";
import {
  brokerOf,
  type ClusterState,
  isLeaseOver,
  type StoredCluster,
  storedClusterType,
} from "./stored-cluster.ts";
import { directoryOn, World } from "./world.ts";

export const image = "millrace:1";
export const clusterKey = { namespace: "n", name: "events" };
const keyIn = (name: string) => ({ namespace: "n", name });

const start = ({ api, clock, identity, logger, random }: Process): void => {
  const shared = { api, clock, random, logger, relistMs: 120_000 };
  const clusters = new Informer<Cluster>({ ...shared, type: resourceTypes.Cluster });
  const controller = "millrace.dev/operator";
  const options = {
    ...{ ...shared, clusters, defaultImage: image },
    events: new EventRecorder({ api, clock, logger, controller, instance: identity }),
    connect: ({ metadata }: Cluster) =>
      storedBrokers(api, { namespace: "n", name: metadata.name }, identity, clock),
  };
  const pools = new PoolReconciler(options);
  const brokers = new BrokerReconciler({ ...options, ...pools, pools: pools.pools });
  const informers = [
    clusters,
    pools.pools,
    pools.brokers,
    pools.claims,
    brokers.pods,
    brokers.services,
  ];
  const manager = new Manager(informers, [pools.controller, brokers.controller]);
  manager.watch();
  void manager.reconcile();
};

/** What people do, in a world that goes on by itself. */
export class Stage {
  readonly server: FakeServer;
  readonly sleep: (ms: number) => Promise<void>;
  readonly world: World;

  constructor(server: FakeServer, sleep: (ms: number) => Promise<void>) {
    this.server = server;
    this.sleep = sleep;
    this.world = new World(server, clusterKey);
    worlds.set(server, this.world);
    server.create(storedClusterType, {
      ...{ apiVersion: "cluster.test/v1", kind: "StoredCluster", metadata: clusterKey },
      spec: { revision: 1, brokers: {}, partitions: [] },
    });
    this.makeCluster();
  }

  makeCluster(): void {
    const { server } = this;
    const cluster = {
      ...{ apiVersion: "millrace.dev/v1alpha1", kind: "Cluster", metadata: clusterKey },
      spec: { brokers: {}, rollout: { unsafePartitions: "Block" }, etcd: { managed: {} } },
    } as unknown as Cluster;
    server.create(resourceTypes.Cluster, cluster);
    const by = { fieldManager: "clusters", force: true };
    server.applyStatus(resourceTypes.Cluster, { ...cluster, status: { image } }, by);
  }

  editCluster(spec: Partial<Cluster["spec"]>): void {
    const known = this.server.get(resourceTypes.Cluster, clusterKey);
    if (known === undefined) throw new Error("there is no Cluster");
    this.server.replace(resourceTypes.Cluster, { ...known, spec: { ...known.spec, ...spec } });
  }

  /** Controllers and group coordinators run an image. */
  runImage(running: string): void {
    const known = this.server.get(resourceTypes.Cluster, clusterKey);
    if (known === undefined) throw new Error("there is no Cluster");
    const by = { fieldManager: "clusters", force: true };
    this.server.applyStatus(resourceTypes.Cluster, { ...known, status: { image: running } }, by);
  }

  imageOf(id: number): string | undefined {
    const [container] = this.pod(id)?.spec.containers ?? [];
    return (container as { readonly image?: string } | undefined)?.image;
  }

  /** No broker has the new image, nor is about to. */
  assertNothingMoved(): void {
    for (const { metadata, spec, status } of all<Broker>(this.server, "Broker")) {
      if (status?.podTemplateHash === spec.podTemplateHash) continue;
      throw new Error(`${metadata.name} gets an image that the controllers do not run`);
    }
  }

  makePool(name: string, spec: Partial<BrokerPool["spec"]>): void {
    const pool = {
      ...{ apiVersion: "millrace.dev/v1alpha1", kind: "BrokerPool", metadata: keyIn(name) },
      spec: {
        ...{ clusterRef: { name: "events" }, replicas: 3, cordoned: false },
        storage: { size: "1Gi", whenScaledDown: "Delete" },
        template: { terminationGracePeriodSeconds: 120 },
        ...spec,
      },
    } as BrokerPool;
    this.server.create(resourceTypes.BrokerPool, pool);
  }

  edit(name: string, spec: Partial<BrokerPool["spec"]>): void {
    const pool = this.pool(name);
    const next = { ...pool, spec: { ...pool.spec, ...spec } };
    this.server.replace(resourceTypes.BrokerPool, next);
  }

  pool(name: string): BrokerPool {
    const found = this.server.get(resourceTypes.BrokerPool, keyIn(name));
    if (found === undefined) throw new Error(`there is no pool ${name}`);
    return found;
  }

  /** Topics of three replicas on these brokers. */
  makeTopics(count: number, replicas: readonly number[]): void {
    this.world.change((state) => ({
      ...state,
      partitions: Array.from({ length: count }, (_, i) => ({
        ...{ topic: `t${i}`, minIsr: replicas.length - 1, replicas },
        isr: Object.fromEntries(replicas.map((id) => [id, brokerOf(state, id)?.epoch ?? 0])),
      })),
    }));
  }

  pod(id: number): Pod | undefined {
    return this.server.get(podType, keyIn(`events-broker-${id}`));
  }

  killPod(id: number): void {
    this.server.delete(podType, keyIn(`events-broker-${id}`), {});
  }

  /** As an eviction leaves it. */
  endPod(id: number): void {
    const pod = this.pod(id);
    if (pod === undefined) throw new Error(`there is no pod ${id}`);
    const by = { fieldManager: "kubelet", force: true };
    const status = { phase: "Failed", reason: "Evicted" };
    this.server.applyStatus(podType, { ...pod, status }, by);
  }

  loseVolume(id: number): void {
    const key = keyIn(`data-events-broker-${id}`);
    const claim = this.server.get(claimType, key);
    if (claim === undefined) throw new Error(`there is no claim ${id}`);
    const by = { fieldManager: "kubelet", force: true };
    this.server.applyStatus(claimType, { ...claim, status: { phase: "Lost" } }, by);
  }

  broker(id: number): Broker {
    const found = this.server.get(resourceTypes.Broker, keyIn(`events-broker-${id}`));
    if (found === undefined) throw new Error(`there is no Broker ${id}`);
    return found;
  }

  /** Somebody labels a Broker, so that the operator looks at it. */
  touchBroker(id: number): void {
    const known = this.broker(id);
    const metadata = { ...known.metadata, labels: { ...known.metadata.labels, seen: "yes" } };
    this.server.replace(resourceTypes.Broker, { ...known, metadata });
  }

  /** The cluster does not answer for a while. */
  async unanswered(ms: number, meanwhile: () => void): Promise<void> {
    const stored = this.server.get(storedClusterType, clusterKey);
    if (stored === undefined) throw new Error("there is no cluster");
    this.server.delete(storedClusterType, clusterKey, {});
    meanwhile();
    await this.sleep(ms);
    this.server.create(storedClusterType, { ...stored, metadata: clusterKey });
  }

  claim(id: number): Claim | undefined {
    return this.server.get(claimType, keyIn(`data-events-broker-${id}`));
  }

  /** Until another pod is there for a broker, and everything is as it should be again. */
  async replaced(id: number, befalls: () => void): Promise<void> {
    const before = this.pod(id)?.metadata.uid;
    befalls();
    await this.until(() => (this.pod(id)?.metadata.uid ?? before) !== before);
    await this.settled("main", "AsSpecified");
  }

  async until(is: () => boolean): Promise<void> {
    while (!is()) await this.sleep(1000);
  }

  /** Until the pool says this of its present generation. */
  settled(name: string, reason: string): Promise<void> {
    return this.until(() => saysOf(this.server, name) === reason);
  }
}

const worlds = new WeakMap<FakeServer, World>();

/** Why a pool is ready or not, of its present generation. */
export const saysOf = (server: FakeServer, name: string): string | undefined => {
  const pool = server.get(resourceTypes.BrokerPool, keyIn(name));
  const ready = pool && conditionOf(pool, "Ready");
  return ready?.observedGeneration === pool?.metadata.generation ? ready?.reason : undefined;
};

const clusterState = (server: FakeServer): ClusterState | undefined =>
  server.get(storedClusterType, clusterKey)?.spec;

const all = <T>(server: FakeServer, kind: string): T[] =>
  [...server.objects.values()].filter((one) => one.kind === kind) as T[];

/** Versions of objects that were held against the schema. */
const admitted = new WeakSet<object>();

const schemas = { Broker: schemaOf(brokerKind), BrokerPool: schemaOf(brokerPoolKind) };

const checkSchema = (server: FakeServer): void => {
  for (const kind of ["Broker", "BrokerPool"] as const) {
    for (const object of all<Broker | BrokerPool>(server, kind)) {
      if (object.status === undefined || admitted.has(object)) continue;
      const problems = problemsOf(schemas[kind], object);
      if (problems.length > 0) throw new Error(`${object.metadata.name}: ${problems.join("; ")}`);
      admitted.add(object);
    }
  }
};

const idOfKey = (key: string): number => Number(/-broker-([0-9]+)$/.exec(key)?.[1]);

/** The lease under which something of a broker may be taken away at this moment. */
const checkLease = (
  server: FakeServer,
  id: number,
  kinds: readonly string[],
  what: string,
): void => {
  const broker = server.get(resourceTypes.Broker, keyIn(`events-broker-${id}`));
  const held = broker?.status?.maintenanceLease;
  const stored = brokerOf(clusterState(server) ?? fail("no cluster"), id);
  const { lease } = stored ?? {};
  if (lease === undefined) throw new Error(`${what} without a lease`);
  if (!kinds.includes(lease.kind)) throw new Error(`${what} under a lease of ${lease.kind}`);
  if (held?.token !== lease.token) throw new Error(`${what} under a lease that nobody wrote down`);
  if (isLeaseOver(lease, nowOf(server))) throw new Error(`${what} after the lease`);
  const isAnother = stored?.epoch !== 0 && lease.brokerEpoch !== stored?.epoch;
  if (lease.kind === "Restart" && isAnother) throw new Error(`${what} for another registration`);
};

const fail = (message: string): never => {
  throw new Error(message);
};

const clocks = new WeakMap<FakeServer, () => number>();
const nowOf = (server: FakeServer): number => clocks.get(server)?.() ?? 0;

/** Objects before the last write. */
const previous = new WeakMap<FakeServer, ReadonlyMap<string, object>>();

const checkPodDeletion = (server: FakeServer, { key }: Write): void => {
  const pod = previous.get(server)?.get(`pods ${key}`) as Pod | undefined;
  const id = idOfKey(key);
  const state = clusterState(server);
  // It has ended, or the cluster has never known its broker: nothing is taken away.
  if (pod === undefined || hasEnded(pod)) return;
  if (server.get(resourceTypes.Cluster, clusterKey) === undefined) return;
  if (state !== undefined && brokerOf(state, id) === undefined) return;
  checkLease(server, id, ["Restart", "ReplaceDisk", "Remove"], `pod ${key} is deleted`);
};

const checkClaimDeletion = (server: FakeServer, { key }: Write): void => {
  const claim = previous.get(server)?.get(`persistentvolumeclaims ${key}`) as Claim;
  const id = idOfKey(key);
  const what = `claim ${key} is deleted`;
  checkLease(server, id, ["ReplaceDisk", "Remove"], what);
  const stored = brokerOf(clusterState(server) ?? fail("no cluster"), id);
  const isGivenUp = stored?.retired.includes(directoryOn(claim)) === true;
  if (!isGivenUp) throw new Error(`${what} with a directory that counts`);
  const user = all<Pod>(server, "Pod").find(
    ({ spec }) => spec.volumes?.[0]?.persistentVolumeClaim?.claimName === claim.metadata.name,
  );
  if (user !== undefined) throw new Error(`${what}, and ${user.metadata.name} has it`);
  if (stored?.lease?.kind !== "Remove") return;
  const broker = server.get(resourceTypes.Broker, keyIn(`events-broker-${id}`));
  if (broker?.status?.phase !== "Decommissioned") throw new Error(`${what} without a word before`);
  const pool = broker && server.get(resourceTypes.BrokerPool, keyIn(broker.spec.poolRef.name));
  if (pool?.spec.storage.whenScaledDown !== "Delete") throw new Error(`${what}, and was to stay`);
};

const checkNumber = (server: FakeServer, { key }: Write): void => {
  const stored = brokerOf(clusterState(server) ?? fail("no cluster"), idOfKey(key));
  if (stored?.intent === "Decommissioned") throw new Error(`${key} has a number of another broker`);
};

const checkWrite = (server: FakeServer, write: Write): void => {
  const { changed, kind, manager, verb } = write;
  if (manager !== "operator" || !changed) return;
  if (verb === "delete" && kind === "pods") checkPodDeletion(server, write);
  if (verb === "delete" && kind === "persistentvolumeclaims") checkClaimDeletion(server, write);
  if (verb === "create" && kind === "brokers.millrace.dev") checkNumber(server, write);
};

/** Brokers that are asked to take a new pod, across all pools: one at a time. */
const checkRollout = (server: FakeServer): void => {
  const brokers = all<Broker>(server, "Broker").filter(
    ({ spec, status }) =>
      status?.podTemplateHash !== undefined &&
      status.podTemplateHash !== spec.podTemplateHash &&
      spec.intent === "Active",
  );
  if (brokers.length < 2) return;
  throw new Error(`${brokers.map(({ metadata }) => metadata.name)} are rolled together`);
};

/** What must hold after every write of anybody. */
export const check: Scenario["check"] = (server, write) => {
  checkWrite(server, write);
  checkSchema(server);
  const [violation] = worlds.get(server)?.violations ?? [];
  if (violation !== undefined) throw new Error(violation);
  for (const { metadata, status } of all<Broker | BrokerPool>(server, "Broker")) {
    const { generation = 0 } = metadata;
    for (const one of status?.conditions ?? []) {
      if (one.observedGeneration > generation) throw new Error(`${metadata.name} runs ahead`);
    }
  }
  checkRollout(server);
  previous.set(server, server.objects);
};

const brokersIn = (stored: StoredCluster): object[] =>
  Object.entries(stored.spec.brokers).map(([id, { epoch, intent, lease }]) => ({
    ...{ id, intent, isRegistered: epoch > 0, lease: lease?.kind },
  }));

/** Everything but times, versions, counts, and the numbers that servers give. */
export const state: Scenario["state"] = (server) =>
  [...server.objects.entries()]
    .filter(([id]) => !id.startsWith("leases.") && !id.startsWith("events."))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([id, object]) => {
      if (object.kind === "StoredCluster")
        return { id, brokers: brokersIn(object as StoredCluster) };
      const { spec, status } = object as Broker;
      const { conditions = [], phase, maintenanceLease } = status ?? {};
      const said = conditions.map(
        ({ lastTransitionTime: _t, observedGeneration: _g, ...one }) => one,
      );
      const size = (object as unknown as Claim).spec.resources?.requests?.storage;
      return { id, intent: spec?.intent, phase, lease: maintenanceLease?.kind, said, size };
    });

export const scenarioOf = (
  play: (stage: Stage) => Promise<void>,
  isDone: Scenario["isDone"],
): Scenario => ({
  ...{ start, check, state, isDone },
  drive: async (server, sleep, clock) => {
    const stage = new Stage(server, sleep);
    clocks.set(server, () => clock.wallMs());
    void (async () => {
      for (;;) {
        stage.world.tick(clock.wallMs());
        await sleep(1000);
      }
    })();
    await play(stage);
  },
});
