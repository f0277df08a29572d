/**
 * Does one thing to a broker. `view` is as the servers have it, and what takes something away is
 * written on condition that nothing has changed since.
 */
import type { Clock } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { type Broker, resourceTypes } from "../../api/index.ts";
import type { Applier } from "../../runtime/apply.ts";
import { keyOf } from "../../runtime/cache.ts";
import type { EventRecorder } from "../../runtime/events.ts";
import type { KubernetesApi, KubernetesObject, Preconditions } from "../../runtime/kubernetes.ts";
import { timestamp } from "../../runtime/timestamps.ts";
import type { ClusterBrokers, LeaseWish } from "./cluster-brokers.ts";
import { type Claim, claimType, nodeType, podType } from "./kinds.ts";
import { claimOf, podOf } from "./objects.ts";
import type { Action, Wait } from "./plan.ts";
import { rackAnnotation } from "./pod.ts";
import { brokerStatus, type HeldMaintenance } from "./status.ts";
import { foundOf, type View } from "./view.ts";

export interface Tools {
  readonly api: KubernetesApi;
  readonly applier: Applier;
  /** Absent where the cluster cannot be asked. */
  readonly brokers: ClusterBrokers | undefined;
  readonly clock: Clock;
  readonly defaultImage: string;
  readonly events: EventRecorder;
  /** Whether a call that fails is tried again before anybody is told. */
  readonly isPatient: boolean;
}

/** Undefined: it is done. */
type Result = Promise<Wait | undefined>;

const wait = (on: Wait["on"], message: string): Wait => ({ type: "wait", on, message });

/** A cluster without an address: what needs to be asked waits. */
const unreachable = ({ cluster }: View): ClusterBrokers => {
  const fail = async (): Promise<never> => {
    const text = `Cluster ${cluster.metadata.name} has no address yet`;
    throw new MillraceError(ErrorCode.UNAVAILABLE, text);
  };
  return { acquire: fail, describe: fail, release: fail, renew: fail, setIntent: fail };
};

const said = (blockers: readonly string[]): string => blockers.join("; ").slice(0, 1024);

/** That the server deletes what was looked at, and as it was. */
const asSeen = ({ metadata }: KubernetesObject): Preconditions => {
  const { resourceVersion, uid } = metadata;
  if (uid === undefined || resourceVersion === undefined) {
    throw new Error(`${metadata.name} has no uid: read it first`);
  }
  return { uid, resourceVersion };
};

class Actions {
  readonly #view: View;
  readonly #tools: Tools;
  readonly #brokers: ClusterBrokers;

  constructor(view: View, tools: Tools, brokers: ClusterBrokers) {
    this.#view = view;
    this.#tools = tools;
    this.#brokers = brokers;
  }

  async carryOut(action: Action): Result {
    switch (action.type) {
      case "acquire":
        return this.#acquire(action.wish);
      case "begin-drain":
        return this.#beginDrain(action.wish);
      case "create-claim":
        return this.#createClaim();
      case "create-pod":
        return this.#createPod();
      case "delete-claim":
        return this.#deleteClaim();
      case "delete-pod":
        return this.#deletePod(action.isLeased);
      case "finish":
        return this.#finish();
      case "release":
        return this.#release();
      case "tell-rack":
        return this.#tellRack(action.node, action.topologyKey);
      case "set-intent":
        await this.#brokers.setIntent(this.#id, action.intent);
        return undefined;
    }
  }

  get #id(): number {
    return this.#view.broker.spec.nodeId;
  }

  get #lease(): HeldMaintenance | undefined {
    return this.#view.broker.status?.maintenanceLease;
  }

  /** Tells people, beside the status. */
  #tell(reason: string, action: string, note: string): void {
    void this.#tools.events.emit(this.#view.broker, { type: "Normal", reason, action, note });
  }

  /** The token stands written before anything is done under it: whoever comes after knows it. */
  async #acquire(wish: LeaseWish): Result {
    const { blockers, lease } = await this.#brokers.acquire(wish);
    if (lease === undefined) return wait("cluster", said(blockers));
    const { grantedAtMs, token } = lease;
    await this.#writeLease({ kind: wish.kind, token, grantedAt: timestamp(grantedAtMs) });
    return undefined;
  }

  async #writeLease(lease: HeldMaintenance | undefined): Promise<void> {
    const { api, applier, clock } = this.#tools;
    const judged = { view: this.#view, waits: [], isActing: true };
    const statusOf = (current: Broker): Broker["status"] => {
      const { maintenanceLease: _before, ...status } = brokerStatus(current, judged, clock);
      return lease === undefined ? status : { ...status, maintenanceLease: lease };
    };
    await applier.applyStatus(api, resourceTypes.Broker, this.#view.broker, statusOf);
  }

  /** The grant itself begins the drain; nothing is done under the lease afterwards. */
  async #beginDrain(wish: LeaseWish): Result {
    const { blockers, lease } = await this.#brokers.acquire(wish);
    if (blockers.length > 0) return wait("drain", said(blockers));
    if (lease === undefined) {
      const left = foundOf(this.#view)?.replicas ?? 0;
      return wait("cluster", `broker ${this.#id} has replicas of ${left} partitions left`);
    }
    this.#tell("Draining", "Drain", `the replicas of broker ${this.#id} move to other brokers`);
    await this.#brokers.release({ brokerId: this.#id, token: lease.token });
    return undefined;
  }

  async #createClaim(): Result {
    await this.#tools.api.create(claimType, claimOf(this.#view));
    return undefined;
  }

  async #createPod(): Result {
    const { api, defaultImage } = this.#tools;
    const { address, broker } = this.#view;
    if (address === undefined) return undefined;
    const pod = podOf(this.#view, broker, defaultImage, address);
    await api.create(podType, pod);
    this.#tell("PodCreated", "CreatePod", `Pod ${pod.metadata.name} is created`);
    return undefined;
  }

  async #tellRack(node: string, topologyKey: string): Result {
    const { api } = this.#tools;
    const { pod } = this.#view;
    const found = await api.get(nodeType, { namespace: "", name: node });
    const rack = found?.metadata.labels?.[topologyKey];
    if (pod === undefined || found === undefined) {
      return wait("pod", `node ${node} is not there: delete the Pod if it is gone for good`);
    }
    if (rack === undefined || rack === "") {
      const help = "label the node, or let the brokers of the pool not go there";
      return wait("stuck", `node ${node} has no label ${topologyKey}: ${help}`);
    }
    const { name, namespace = "", uid = "" } = pod.metadata;
    const metadata = { name, namespace, uid, annotations: { [rackAnnotation]: rack } };
    const told: KubernetesObject = { apiVersion: "v1", kind: "Pod", metadata };
    await api.apply<KubernetesObject>(podType, told, {
      fieldManager: "millrace-operator-rack",
      force: true,
    });
    return undefined;
  }

  async #deletePod(isLeased: boolean): Result {
    const { pod } = this.#view;
    if (pod === undefined) return undefined;
    const permission = isLeased ? await this.#askToAct() : granted;
    if (!permission.mayAct) return permission.result;
    await this.#tools.api.delete(podType, keyOf(pod), asSeen(pod));
    const { name } = pod.metadata;
    this.#tell("PodDeleted", "DeletePod", `Pod ${name} is deleted, to be made anew or to go`);
    return undefined;
  }

  async #deleteClaim(): Result {
    const { claim } = this.#view;
    if (claim === undefined) return undefined;
    if (this.#lease?.kind === "Remove" && (await this.#isKept())) {
      return wait("storage", `claim ${claim.metadata.name} is to stay`);
    }
    const user = await this.#userOf(claim);
    if (user !== undefined) {
      return wait("storage", `Pod ${user} has claim ${claim.metadata.name}: delete the Pod`);
    }
    const permission = await this.#askToAct();
    if (!permission.mayAct) return permission.result;
    await this.#tools.api.delete(claimType, keyOf(claim), asSeen(claim));
    this.#tell("ClaimDeleted", "DeleteClaim", `claim ${claim.metadata.name} is deleted`);
    return undefined;
  }

  /** Whether the volume of a broker that goes is to stay, by what the server has. */
  async #isKept(): Promise<boolean> {
    const pool = await this.#tools.api.get(resourceTypes.BrokerPool, keyOf(this.#view.pool));
    return pool?.spec.storage.whenScaledDown !== "Delete";
  }

  /** A pod that has the claim, whoever made it: told by its volumes, and by the server. */
  async #userOf({ metadata: { name, namespace = "" } }: Claim): Promise<string | undefined> {
    let continueToken = "";
    do {
      const more = continueToken === "" ? {} : { continueToken };
      const page = await this.#tools.api.list(podType, { namespace, limit: 500, ...more });
      const user = page.items.find(({ spec }) =>
        spec.volumes?.some((volume) => volume.persistentVolumeClaim?.claimName === name),
      );
      if (user !== undefined) return user.metadata.name;
      continueToken = page.continueToken;
    } while (continueToken !== "");
    return undefined;
  }

  /**
   * Asks whether the holder of the lease may act now. A lease that is of no use is given back where
   * the broker is back, so that it holds up nobody.
   */
  async #askToAct(): Promise<Permission> {
    const lease = this.#lease;
    if (lease === undefined) return { mayAct: false, result: undefined };
    const held = { brokerId: this.#id, token: lease.token };
    try {
      const { blockers, mayAct } = await this.#brokers.renew(held);
      if (mayAct) return granted;
      const { blockers: missing } = await this.#brokers.release(held);
      if (missing.length > 0) {
        return { mayAct: false, result: wait("cluster", said([...blockers, ...missing])) };
      }
      await this.#writeLease(undefined);
      return { mayAct: false, result: wait("cluster", said(blockers)) };
    } catch (error) {
      if (!hasCode(error, ErrorCode.MAINTENANCE_LEASE_LOST)) throw error;
      await this.#writeLease(undefined);
      return { mayAct: false, result: undefined };
    }
  }

  /** Gives the lease back. Of a broker that is gone nothing is left to do then. */
  async #release(): Result {
    const lease = this.#lease;
    if (lease === undefined) return undefined;
    try {
      const held = { brokerId: this.#id, token: lease.token };
      const { blockers } = await this.#brokers.release(held);
      if (blockers.length > 0) return wait("cluster", said(blockers));
    } catch (error) {
      if (!hasCode(error, ErrorCode.MAINTENANCE_LEASE_LOST)) throw error;
    }
    if (this.#view.broker.spec.intent === "Decommissioned" && lease.kind === "Remove") {
      return this.#finish();
    }
    await this.#writeLease(undefined);
    return undefined;
  }

  async #finish(): Result {
    const { broker } = this.#view;
    await this.#tools.api.delete(resourceTypes.Broker, keyOf(broker), asSeen(broker));
    return undefined;
  }
}

/** Whether something may be taken away now; else what it came to. */
type Permission =
  | { readonly mayAct: true }
  | { readonly mayAct: false; readonly result: Wait | undefined };

const granted: Permission = { mayAct: true };

/** Returns what is in the way; undefined where it is done, or something has changed. */
export const carryOut = async (action: Action, view: View, tools: Tools): Result => {
  const { brokers } = tools;
  try {
    return await new Actions(view, tools, brokers ?? unreachable(view)).carryOut(action);
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    if (tools.isPatient && error.spec.retriable) throw error;
    return wait("cluster", `${error.codeName}: ${error.message}`);
  }
};
