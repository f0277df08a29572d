/** Plans how replicas move away from brokers that are drained. Pure. */
import { BrokerIntent } from "@millrace/proto/common";
import type { PartitionRecord } from "@millrace/proto/storage";
import type { ClusterState } from "./cluster-state.ts";
import { limits } from "./limits.ts";
import { intentOf } from "./placement.ts";
import { isBeingReassigned, targetOf } from "./reassignment.ts";

/** What has to move, and what cannot. */
export interface DrainPlan {
  /** Targets by key of the partition: those that begin to move now. */
  readonly moves: ReadonlyMap<string, readonly number[]>;
  /** By draining broker, partitions that no other broker can take. */
  readonly immovable: ReadonlyMap<number, number>;
}

const nothing: DrainPlan = { moves: new Map(), immovable: new Map() };

/** Brokers of which this is wanted, registered or not. */
export const brokersWith = (state: ClusterState, intent: BrokerIntent): Set<number> => {
  const { directories, placement } = state;
  const ids = [...placement.intents.keys()];
  return new Set(ids.filter((id) => intentOf(placement, id, directories.get(id)) === intent));
};

/** Registered brokers that may get replicas, in order of id. */
export const activeBrokers = ({ brokers, directories, placement }: ClusterState): number[] =>
  [...brokers.keys()]
    .filter((id) => intentOf(placement, id, directories.get(id)) === BrokerIntent.ACTIVE)
    .sort((a, b) => a - b);

const add = (counts: Map<number, number>, id: number, more = 1): void => {
  counts.set(id, (counts.get(id) ?? 0) + more);
};

class Planner {
  readonly moves = new Map<string, readonly number[]>();
  readonly immovable = new Map<number, number>();
  readonly #draining: ReadonlySet<number>;
  readonly #active: readonly number[];
  readonly #racks: ClusterState["racks"];
  /** Replicas, and preferred leaders, that each broker has once everything has moved. */
  readonly #replicas = new Map<number, number>();
  readonly #leaders = new Map<number, number>();
  /** By draining broker, moves that are under way. */
  readonly #underWay = new Map<number, number>();

  constructor(state: ClusterState, draining: ReadonlySet<number>) {
    this.#draining = draining;
    this.#active = activeBrokers(state);
    this.#racks = state.racks;
    for (const { record } of state.partitions.values()) {
      this.#count(targetOf(record), 1);
      for (const id of record.removing) add(this.#underWay, id);
    }
  }

  plan(key: string, { replicas }: PartitionRecord): void {
    const leaving = replicas.filter((id) => this.#draining.has(id));
    if (leaving.length === 0) return;
    const target = this.#targetFor(replicas);
    if (target === undefined) {
      for (const id of leaving) add(this.immovable, id);
      return;
    }
    if (leaving.some((id) => (this.#underWay.get(id) ?? 0) >= limits.drainMovesMax)) return;
    for (const id of leaving) add(this.#underWay, id);
    this.#count(replicas, -1);
    this.#count(target, 1);
    this.moves.set(key, target);
  }

  #count(replicas: readonly number[], more: 1 | -1): void {
    for (const id of replicas) add(this.#replicas, id, more);
    const [preferred] = replicas;
    if (preferred !== undefined) add(this.#leaders, preferred, more);
  }

  /** The same replicas with another broker in the place of each that is drained. */
  #targetFor(replicas: readonly number[]): number[] | undefined {
    const target = [...replicas];
    for (const [at, id] of replicas.entries()) {
      if (!this.#draining.has(id)) continue;
      const taken = new Set([...replicas, ...target]);
      const others = target.filter((one, i) => i !== at && !(i > at && this.#draining.has(one)));
      const best = this.#best(taken, others, at === 0);
      if (best === undefined) return undefined;
      target[at] = best;
    }
    return target;
  }

  /** In a rack of its own if that can be, then with the least to do, then with the lowest id. */
  #best(
    taken: ReadonlySet<number>,
    others: readonly number[],
    isPreferred: boolean,
  ): number | undefined {
    const rackOf = (id: number): string => this.#racks.get(id) ?? "";
    const used = new Set(others.map(rackOf));
    const costOf = (id: number): readonly [number, number, number] => [
      rackOf(id) !== "" && used.has(rackOf(id)) ? 1 : 0,
      (isPreferred ? this.#leaders.get(id) : undefined) ?? 0,
      this.#replicas.get(id) ?? 0,
    ];
    let best: number | undefined;
    for (const id of this.#active) {
      if (taken.has(id)) continue;
      if (best === undefined || isLess(costOf(id), costOf(best))) best = id;
    }
    return best;
  }
}

/** Whether a list of costs is the lower one: the first that differs decides. */
export const isLess = (a: readonly number[], b: readonly number[]): boolean => {
  const at = a.findIndex((value, i) => value !== b[i]);
  return at >= 0 && (a[at] ?? 0) < (b[at] ?? 0);
};

/**
 * Moves of partitions that have replicas on draining brokers, at most `limits.drainMovesMax` under
 * way for each of these. Partitions that are being reassigned already wait for that. Without enough
 * active brokers for all replicas of a partition nothing of it moves.
 */
export const planDrains = (state: ClusterState): DrainPlan => {
  const draining = brokersWith(state, BrokerIntent.DRAINING);
  if (draining.size === 0) return nothing;
  const planner = new Planner(state, draining);
  for (const key of [...state.partitions.keys()].sort()) {
    const one = state.partitions.get(key);
    const topic = one && state.topics.get(one.topicId);
    if (one === undefined || topic === undefined) continue;
    const { record } = one;
    if (record.partition >= topic.partitionCount || isBeingReassigned(record)) continue;
    planner.plan(key, record);
  }
  return planner;
};
