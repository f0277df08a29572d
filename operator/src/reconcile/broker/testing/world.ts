/**
 * Kubelets, volumes, and a cluster's own doings, for tests: pods start and stop after a while,
 * their brokers register, catch up and drain. It acts on the server itself, whatever befalls the
 * operator.
 */
import { createHash } from "node:crypto";
import { isBeingDeleted } from "../../../runtime/finalizers.ts";
import type { FakeServer } from "../../../runtime/testing/fake-api/server.ts";
import { type Claim, claimType, type Pod, podType } from "../kinds.ts";
import { hasEnded } from "../view.ts";
import {
  activeIds,
  brokerOf,
  type ClusterState,
  inSync,
  isLeaseOver,
  isRegistered,
  notBack,
  type StoredPartition,
  storedClusterType,
  withBroker,
  withoutLease,
} from "./stored-cluster.ts";

const kubelet = "test/kubelet";
const by = { fieldManager: "kubelet", force: true } as const;

const [startMs, readyMs, stopMs, catchUpMs] = [2000, 2000, 3000, 4000];

/** The id of the data directory on a volume. */
export const directoryOn = ({ metadata }: Claim): string =>
  createHash("sha256").update(`${metadata.uid}`).digest("hex").slice(0, 32);

export const idOfPod = ({ metadata }: Pod): number =>
  Number(metadata.labels?.["millrace.dev/broker-id"]);

const without = (isr: StoredPartition["isr"], id: number): StoredPartition["isr"] =>
  Object.fromEntries(Object.entries(isr).filter(([other]) => other !== String(id)));

export class World {
  readonly #server: FakeServer;
  readonly #cluster: { readonly namespace: string; readonly name: string };
  /** By uid of the pod. */
  readonly #since = new Map<string, number>();
  /** What must never happen. */
  readonly violations: string[] = [];
  /** How many replicas may yet move away from brokers that are drained. */
  movesLeft = Number.POSITIVE_INFINITY;

  constructor(server: FakeServer, cluster: { readonly namespace: string; readonly name: string }) {
    this.#server = server;
    this.#cluster = cluster;
  }

  tick(nowMs: number): void {
    for (const claim of this.#server.list(claimType, {}).items) this.#bind(claim);
    const before = this.#state();
    if (before === undefined) return;
    let state = before;
    const pods = this.#server.list(podType, {}).items;
    for (const pod of pods) state = this.#runPod(pod, state, nowMs);
    const alive = new Set(pods.filter((one) => !hasEnded(one)).map(idOfPod));
    for (const id of Object.keys(state.brokers).map(Number)) {
      if (isRegistered(state, id) && !alive.has(id)) state = this.#unregister(state, id);
    }
    state = this.#catchUp(state, nowMs);
    state = this.#drain(state);
    state = this.#forgetLeases(state, nowMs);
    if (state !== before) this.change(() => state);
  }

  /** Changes the cluster by other means. */
  change(how: (state: ClusterState) => ClusterState): void {
    const stored = this.#server.get(storedClusterType, this.#cluster);
    if (stored === undefined) throw new Error("there is no cluster");
    const next = { ...stored, spec: how(stored.spec) };
    this.#server.replace(storedClusterType, next, "cluster");
  }

  #state(): ClusterState | undefined {
    return this.#server.get(storedClusterType, this.#cluster)?.spec;
  }

  #bind(claim: Claim): void {
    const { storage } = claim.spec.resources.requests;
    const { phase = "", capacity } = claim.status ?? {};
    if (phase === "Lost" || (phase === "Bound" && capacity?.storage === storage)) return;
    const status = { phase: "Bound", capacity: { storage } };
    this.#server.applyStatus(claimType, { ...claim, status }, by);
  }

  #runPod(pod: Pod, state: ClusterState, nowMs: number): ClusterState {
    const { finalizers, uid = "" } = pod.metadata;
    const id = idOfPod(pod);
    const sinceMs = this.#since.get(uid) ?? nowMs;
    this.#since.set(uid, sinceMs);
    if (isBeingDeleted(pod)) {
      this.#stop(pod, nowMs);
      return isRegistered(state, id) ? this.#unregister(state, id) : state;
    }
    if (finalizers === undefined) {
      const metadata = { ...pod.metadata, finalizers: [kubelet] };
      this.#server.replace(podType, { ...pod, metadata }, "kubelet");
      return state;
    }
    if (hasEnded(pod)) return state;
    const claim = this.#claimOf(pod);
    if (claim?.status?.phase !== "Bound" && pod.spec.nodeName === undefined) return state;
    if (nowMs < sinceMs + startMs || claim === undefined) return state;
    if (pod.spec.nodeName === undefined) {
      const spec = { ...pod.spec, nodeName: `node-${id}` };
      this.#server.replace(podType, { ...pod, spec }, "kubelet");
      this.#say(pod, "False");
      return state;
    }
    if (!isRegistered(state, id)) return this.#register(state, id, directoryOn(claim), nowMs);
    const broker = brokerOf(state, id);
    if (broker !== undefined && nowMs >= broker.sinceMs + readyMs) this.#say(pod, "True");
    return state;
  }

  #say(pod: Pod, ready: "True" | "False"): void {
    const conditions = [{ type: "Ready", status: ready }];
    if (pod.status?.conditions?.[0]?.status === ready) return;
    this.#server.applyStatus(podType, { ...pod, status: { phase: "Running", conditions } }, by);
  }

  #claimOf({ metadata, spec }: Pod): Claim | undefined {
    const name = spec.volumes?.[0]?.persistentVolumeClaim?.claimName ?? "";
    return this.#server.get(claimType, { namespace: metadata.namespace ?? "", name });
  }

  /** Pods take a while to stop; then their objects go. */
  #stop(pod: Pod, nowMs: number): void {
    const { uid = "" } = pod.metadata;
    const key = `${uid} stops`;
    const sinceMs = this.#since.get(key) ?? nowMs;
    this.#since.set(key, sinceMs);
    if (nowMs < sinceMs + stopMs) return;
    const { finalizers: _done, ...metadata } = pod.metadata;
    this.#server.replace(podType, { ...pod, metadata }, "kubelet");
  }

  #register(state: ClusterState, id: number, directoryId: string, nowMs: number): ClusterState {
    const known = brokerOf(state, id);
    if (known?.retired.includes(directoryId) === true) return state;
    if (known?.intent === "Decommissioned" && known.directoryId === directoryId) return state;
    if (known !== undefined && known.directoryId !== "" && known.directoryId !== directoryId) {
      const lost = state.partitions.filter(({ isr }) => String(id) in isr);
      for (const { topic } of lost) this.violations.push(`${topic} counts on a disk that is gone`);
    }
    const epoch = state.revision + 1;
    return withBroker(state, id, { epoch, directoryId, sinceMs: nowMs });
  }

  /** The last member of an ISR stays in it: nobody else is complete. */
  #unregister(state: ClusterState, id: number): ClusterState {
    const gone = withBroker(state, id, { epoch: 0 });
    const partitions = gone.partitions.map((one) =>
      inSync(gone, one).length > 0 ? { ...one, isr: without(one.isr, id) } : one,
    );
    return { ...gone, partitions };
  }

  #catchUp(state: ClusterState, nowMs: number): ClusterState {
    let isChanged = false;
    const partitions = state.partitions.map((one) => {
      const isr = { ...one.isr };
      for (const id of one.replicas) {
        const { epoch = 0, sinceMs = 0 } = brokerOf(state, id) ?? {};
        const canJoin = inSync(state, one).length > 0 || String(id) in isr;
        if (epoch === 0 || isr[id] === epoch || nowMs < sinceMs + catchUpMs || !canJoin) continue;
        isr[id] = epoch;
        isChanged = true;
      }
      return { ...one, isr };
    });
    return isChanged ? { ...state, revision: state.revision + 1, partitions } : state;
  }

  /** One replica at a time moves away from a broker that is drained. */
  #drain(state: ClusterState): ClusterState {
    for (const [at, one] of state.partitions.entries()) {
      const from = one.replicas.find((id) => brokerOf(state, id)?.intent === "Draining");
      const to = activeIds(state).find((id) => !one.replicas.includes(id));
      if (from === undefined || to === undefined || this.movesLeft === 0) continue;
      this.movesLeft -= 1;
      const replicas = one.replicas.map((id) => (id === from ? to : id));
      const isr = { ...without(one.isr, from), [to]: brokerOf(state, to)?.epoch ?? 0 };
      const partitions = state.partitions.with(at, { ...one, replicas, isr });
      return { ...state, revision: state.revision + 1, partitions };
    }
    return state;
  }

  /** A lease that has run out is gone once its broker is back. */
  #forgetLeases(state: ClusterState, nowMs: number): ClusterState {
    let next = state;
    for (const [text, { lease }] of Object.entries(state.brokers)) {
      const isOver = lease !== undefined && isLeaseOver(lease, nowMs);
      if (isOver && notBack(state, Number(text)).length === 0) {
        next = withoutLease(next, Number(text));
      }
    }
    return next;
  }
}
