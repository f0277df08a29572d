/** Compares a topic with what its object says. Pure. */
import type { Topic } from "../../api/index.ts";
import type { FoundPartition, FoundTopic, Move, PlaceBroker } from "./cluster-topics.ts";

/** What is to be done, and what cannot be. */
export interface TopicPlan {
  /** For people, one line each: where the topic differs from the spec. */
  readonly drift: readonly string[];
  readonly configs?: {
    readonly set: Readonly<Record<string, string>>;
    readonly remove: readonly string[];
  };
  /** The number of partitions in all. */
  readonly partitions?: number;
  /** The number of replicas that each partition is to have. */
  readonly replicationFactor?: number;
  /** Partitions that are on their way already. */
  readonly moving: number;
  /** What no call can do: why, and what a person can change. */
  readonly impossible?: string;
}

/** Lines of drift in a status. */
export const driftMax = 20;
/** Characters of one. */
const driftCharactersMax = 256;

/** The configs of a spec as the cluster keeps them. */
export const wantedConfigs = (spec: Topic["spec"]): Record<string, string> =>
  Object.fromEntries(
    Object.entries(spec.config ?? {}).flatMap(([key, value]) =>
      value === undefined ? [] : [[key, String(value)]],
    ),
  );

/** Replicas of a partition that stay. */
const staying = ({ removing, replicas }: FoundPartition): readonly number[] =>
  replicas.filter((id) => !removing.includes(id));

const isMoving = ({ adding, removing }: FoundPartition): boolean =>
  adding.length > 0 || removing.length > 0;

/** Replicas of most partitions; a topic has no number of its own. */
export const replicationFactorOf = ({ partitions }: FoundTopic): number => {
  const [first] = partitions;
  return first === undefined ? 0 : staying(first).length;
};

const planConfigs = (wanted: Readonly<Record<string, string>>, { configs }: FoundTopic) => {
  const set = Object.entries(wanted).filter(([key, value]) => configs[key] !== value);
  const remove = Object.keys(configs).filter((key) => !(key in wanted));
  const drift = [
    ...set.map(([key, value]) => `${key} is ${configs[key] ?? "not set"}, the spec says ${value}`),
    ...remove.map((key) => `${key} is ${configs[key]}, the spec does not set it`),
  ];
  return { set: Object.fromEntries(set), remove, drift };
};

/** What differs between a topic and its spec, and which calls mend it. */
export const planTopic = (spec: Topic["spec"], found: FoundTopic): TopicPlan => {
  const { drift, remove, set } = planConfigs(wantedConfigs(spec), found);
  const count = found.partitions.length;
  const { partitions, replicationFactor } = spec;
  if (count !== partitions) drift.push(`it has ${count} partitions, the spec says ${partitions}`);
  const others =
    replicationFactor === undefined
      ? []
      : found.partitions.filter((one) => staying(one).length !== replicationFactor);
  if (others.length > 0) {
    const has = `${others.length} of ${count} partitions do not have the replicas`;
    drift.push(`${has} that the spec says: ${replicationFactor}`);
  }
  const configs = drift.length > 0 && (Object.keys(set).length > 0 || remove.length > 0);
  return {
    drift: drift.slice(0, driftMax).map((line) => line.slice(0, driftCharactersMax)),
    ...(configs ? { configs: { set, remove } } : {}),
    ...(count < partitions ? { partitions } : {}),
    ...(others.length > 0 && replicationFactor !== undefined ? { replicationFactor } : {}),
    moving: found.partitions.filter(isMoving).length,
    ...(count > partitions
      ? {
          impossible:
            `it has ${count} partitions, and partitions are never taken away: ` +
            `set spec.partitions to ${count}, or make another topic`,
        }
      : {}),
  };
};

/** Moves that one call takes. */
export const movesMax = 1000;

/** Takes replicas away: first those that are behind, then the least preferred; never the leader. */
const shrink = (one: FoundPartition, size: number): number[] => {
  const kept = [...one.replicas];
  const worst = (): number => {
    const spare = kept.filter((id) => id !== one.leader);
    const behind = spare.filter((id) => !one.isr.includes(id));
    return (behind.at(-1) ?? spare.at(-1)) as number;
  };
  while (kept.length > size && kept.length > 1) kept.splice(kept.indexOf(worst()), 1);
  return kept;
};

/**
 * Replicas for partitions that have too few or too many. New ones go to racks without one first,
 * then to the brokers that have the fewest. Partitions that are on their way are left alone.
 * Undefined where there are not enough brokers.
 */
export const movesTo = (
  found: FoundTopic,
  size: number,
  brokers: readonly PlaceBroker[],
): readonly Move[] | undefined => {
  const load = new Map(brokers.map(({ brokerId, replicas }) => [brokerId, replicas]));
  const rackOf = new Map(brokers.map(({ brokerId, rack }) => [brokerId, rack]));
  const grow = (one: FoundPartition): number[] | undefined => {
    const replicas = [...one.replicas];
    while (replicas.length < size) {
      const racks = new Set(replicas.map((id) => rackOf.get(id) ?? ""));
      const [next] = brokers
        .filter(({ brokerId }) => !replicas.includes(brokerId))
        .sort(
          (a, b) =>
            Number(racks.has(a.rack)) - Number(racks.has(b.rack)) ||
            (load.get(a.brokerId) ?? 0) - (load.get(b.brokerId) ?? 0) ||
            a.brokerId - b.brokerId,
        );
      if (next === undefined) return undefined;
      load.set(next.brokerId, (load.get(next.brokerId) ?? 0) + 1);
      replicas.push(next.brokerId);
    }
    return replicas;
  };
  const moves: Move[] = [];
  for (const one of found.partitions) {
    if (isMoving(one) || one.replicas.length === size) continue;
    const replicas = one.replicas.length > size ? shrink(one, size) : grow(one);
    if (replicas === undefined) return undefined;
    moves.push({ partition: one.partition, replicas });
  }
  return moves.slice(0, movesMax);
};
