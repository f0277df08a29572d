/**
 * Which coordinator serves which group. It follows from the metadata and is written nowhere: every
 * process computes it. Two that disagree for a moment do no harm, because the log of a shard
 * refuses all coordinators but the last one.
 */
import { groupStateTopic } from "@millrace/metadata";
import { crcOf } from "@millrace/record";
import type { ClusterSnapshot, CoordinatorView } from "./view.ts";

const utf8 = new TextEncoder();

/** The shard of a group. Never changes: what is known of the group lies there. */
export const shardOf = (group: string, shardCount: number): number =>
  crcOf(utf8.encode(group)) % shardCount;

/** The finalizer of MurmurHash3: every bit of the input changes half of the output. */
const mixed = (value: number): number => {
  let h = value >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
};

const weightOf = (shard: number, coordinatorId: number): number =>
  mixed(mixed(shard + 1) ^ Math.imul(coordinatorId + 1, 0x9e3779b1));

/**
 * The coordinator of each shard, by rendezvous hashing with a bound: the heaviest pairs of shard
 * and coordinator first, and no coordinator gets more than its share, rounded up. When one comes or
 * goes, little more than its own shards moves. Empty without a coordinator.
 */
export const assignShards = (
  shardCount: number,
  coordinatorIds: Iterable<number>,
): readonly number[] => {
  const ids = [...new Set(coordinatorIds)].sort((a, b) => a - b);
  if (ids.length === 0) return [];
  const pairs = ids.flatMap((id) =>
    Array.from({ length: shardCount }, (_, shard) => ({ id, shard, weight: weightOf(shard, id) })),
  );
  pairs.sort((a, b) => b.weight - a.weight || a.shard - b.shard || a.id - b.id);
  const share = Math.ceil(shardCount / ids.length);
  const room = new Map(ids.map((id) => [id, share]));
  const assigned = new Array<number | undefined>(shardCount).fill(undefined);
  for (const { id, shard } of pairs) {
    const left = room.get(id) ?? 0;
    if (left === 0 || assigned[shard] !== undefined) continue;
    assigned[shard] = id;
    room.set(id, left - 1);
  }
  return assigned.filter((id) => id !== undefined);
};

/** The shards of a cluster, as the newest metadata has them. */
export class GroupShards {
  #of: ClusterSnapshot["coordinators"] | undefined;
  #assigned: readonly number[] = [];
  #count = 0;

  /** The coordinator of a shard; undefined while none can serve it. */
  coordinatorOf(
    { coordinators }: ClusterSnapshot,
    shard: number,
    shardCount: number,
  ): CoordinatorView | undefined {
    if (coordinators !== this.#of || shardCount !== this.#count) {
      const able = [...coordinators.values()].filter(canServe);
      this.#assigned = assignShards(
        shardCount,
        able.map(({ coordinatorId }) => coordinatorId),
      );
      this.#of = coordinators;
      this.#count = shardCount;
    }
    const id = this.#assigned[shard];
    return id === undefined ? undefined : coordinators.get(id);
  }

  /** The coordinator of a group. Before there is any group, one of them, which makes the topic. */
  coordinatorOfGroup(snapshot: ClusterSnapshot, group: string): CoordinatorView | undefined {
    const shardCount = snapshot.topics.get(groupStateTopic)?.partitions.length || 1;
    return this.coordinatorOf(snapshot, shardOf(group, shardCount), shardCount);
  }
}

/** It can be dialed, and is not about to stop. */
export const canServe = ({ endpoint, isShuttingDown }: CoordinatorView): boolean =>
  endpoint !== undefined && !isShuttingDown;
