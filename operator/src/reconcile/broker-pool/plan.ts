/** What a BrokerPool needs: brokers that are missing, and specs that change. Pure. */
import type { Broker, BrokerPool, Cluster } from "../../api/index.ts";
import { type Hashes, hasHashes } from "../broker/hashes.ts";
import { hashesOf } from "../broker/objects.ts";
import { planRollout, type RolloutPlan } from "./rollout.ts";
import { planScale } from "./scale.ts";

export interface PoolView {
  readonly cluster: Cluster;
  readonly pool: BrokerPool;
  /** All pools of the cluster, this one included. */
  readonly pools: readonly BrokerPool[];
  /** All brokers of the cluster. */
  readonly brokers: readonly Broker[];
  readonly nowMs: number;
  /** Image of a Cluster that names none. */
  readonly defaultImage: string;
}

export interface PoolPlan {
  /** Brokers that are missing. */
  readonly add: number;
  /** Brokers of the pool whose specs change, with what they become. */
  readonly changes: readonly { readonly broker: Broker; readonly spec: Broker["spec"] }[];
  readonly rollout: RolloutPlan;
}

export const imageOf = ({ cluster, defaultImage }: PoolView): string =>
  cluster.spec.image ?? defaultImage;

export const isOfPool = ({ metadata }: BrokerPool, { spec }: Broker): boolean =>
  spec.poolRef.name === metadata.name;

export const brokersOf = ({ brokers, pool }: PoolView): readonly Broker[] =>
  brokers.filter((one) => isOfPool(pool, one)).sort((a, b) => a.spec.nodeId - b.spec.nodeId);

/** What the pod of a broker is to be made from; undefined where its pool is gone. */
export const wantedHashes = (view: PoolView, broker: Broker): Hashes | undefined => {
  const { cluster, defaultImage } = view;
  const pool = view.pools.find((one) => isOfPool(one, broker));
  return pool && hashesOf({ cluster, pool }, broker.spec.nodeId, defaultImage);
};

/** Brokers get a new image after the controllers and the group coordinators. */
const waitsForImage = (view: PoolView): string | undefined => {
  const image = imageOf(view);
  const { metadata, status } = view.cluster;
  if (status?.image === image) return undefined;
  return `the controllers and group coordinators of Cluster ${metadata.name} to run ${image}`;
};

const rolloutOf = (view: PoolView): RolloutPlan => {
  const brokers = view.brokers.flatMap((broker) => {
    const wanted = wantedHashes(view, broker);
    return wanted === undefined ? [] : [{ broker, wanted }];
  });
  const plan = planRollout(brokers, view.cluster.spec.rollout, view.nowMs);
  const waitsFor = plan.next.length + plan.left > 0 ? waitsForImage(view) : undefined;
  if (waitsFor === undefined) return plan;
  return { next: [], left: plan.left + plan.next.length, waitsFor };
};

export const planPool = (view: PoolView): PoolPlan => {
  const own = brokersOf(view);
  const { add, intents } = planScale(view.pool.spec, own);
  const rollout = rolloutOf(view);
  const changes = own.flatMap((broker) => {
    const intent = intents.get(broker.spec.nodeId);
    const update = rollout.next.find((one) => one.broker === broker);
    // One that goes gets no new pod.
    const isLeaving = intent === "Draining" || intent === "Decommissioned";
    const hashes = update === undefined || isLeaving ? {} : update.wanted;
    if (intent === undefined && hasHashes(broker.spec, { ...broker.spec, ...hashes })) return [];
    return [{ broker, spec: { ...broker.spec, ...hashes, ...(intent && { intent }) } }];
  });
  return { add, changes, rollout };
};
