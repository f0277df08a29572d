/** From the state of the cluster to what has to change. Pure. */

import { keys } from "@millrace/metadata";
import { BrokerIntent } from "@millrace/proto/common";
import type { ClusterState, PartitionState } from "./cluster-state.ts";
import { brokersWith, planDrains } from "./drain.ts";
import type { GuardedChange } from "./guarded-changes.ts";
import { type Brokers, nextPartition } from "./leadership.ts";
import { brokersAway } from "./maintenance/leases.ts";
import { completedReassignment, reassigned } from "./reassignment.ts";

export interface Change extends GuardedChange {
  /** A leader was elected, or lost without another. */
  readonly elects: boolean;
}

/** Partitions beyond the count of their topic, or of none. */
const isOrphan = (state: ClusterState, { topicId, record }: PartitionState): boolean =>
  record.partition >= (state.topics.get(topicId)?.partitionCount ?? 0);

/**
 * Whether an orphan belongs to a creation that is over: one of an earlier controller, whose writes
 * are refused by now, or of a topic that was deleted since. The others may be under way.
 */
const isLeftover = (state: ClusterState, epoch: number, one: PartitionState): boolean =>
  state.unreadable.size === 0 && (one.modRevision < epoch || state.deletions.has(one.topicId));

/** What a drain begins: only while neither the intents nor the topic have changed. */
const beginMove = (
  state: ClusterState,
  registered: Brokers,
  key: string,
  target: readonly number[],
): Change | undefined => {
  const one = state.partitions.get(key);
  const topic = one && state.topics.get(one.topicId);
  if (one === undefined || topic === undefined) return undefined;
  const moved = reassigned(one.record, topic, registered, target);
  if (moved.kind !== "changed") return undefined;
  const unchanged = new Map([
    [keys.placement, state.placement.revision],
    [keys.topic(topic.name), topic.modRevision],
  ]);
  const { modRevision } = one;
  return { key, modRevision, record: moved.record, elects: false, unchanged };
};

/** Elections before the rest: nobody is served by a partition whose leader is gone. */
const byUrgency = (a: Change, b: Change): number => {
  if (a.elects !== b.elects) return a.elects ? -1 : 1;
  return a.key < b.key ? -1 : 1;
};

/** Ends deletions that every broker has confirmed. */
const endDeletions = (state: ClusterState): Change[] => {
  const confirmed = [...state.deletions.values()].filter(({ pending }) => pending.length === 0);
  if (confirmed.length === 0) return [];
  const orphans = [...state.partitions.values()].filter((one) => isOrphan(state, one));
  const remaining = new Set(orphans.map(({ topicId }) => topicId));
  // The record is what makes partitions of the topic leftovers, so it goes last.
  return confirmed
    .filter(({ topicId }) => !remaining.has(topicId))
    .map(({ topicId, modRevision }) => ({
      ...{ key: keys.deletion(topicId), modRevision, elects: false },
    }));
};

/**
 * What the active controller of this epoch has to change, elections first, then by key. Empty while
 * the state is older than the reign: it may lack what the controller before has done. With
 * `balances`, preferred leaders lead where they are in sync. Partitions of draining brokers begin
 * to move. Of the partitions, `looked` alone are looked at.
 */
export const desired = (
  state: ClusterState,
  epoch: number,
  balances = false,
  looked: Iterable<readonly [string, PartitionState]> = state.partitions,
): Change[] => {
  if (state.revision < epoch) return [];
  const changes = endDeletions(state);
  const away = brokersAway(state.maintenance);
  const stopping = [...state.shuttingDown, ...away];
  const registered = {
    ...state,
    away,
    // A broker that is drained, or in maintenance, leads like one that is about to stop: only where
    // no other broker can.
    shuttingDown: new Set([...stopping, ...brokersWith(state, BrokerIntent.DRAINING)]),
  };
  const drains = planDrains(state);
  for (const [key, one] of looked) {
    const { record, modRevision, topicId } = one;
    const topic = state.topics.get(topicId);
    if (topic === undefined || isOrphan(state, one)) {
      if (isLeftover(state, epoch, one)) changes.push({ key, modRevision, elects: false });
      continue;
    }
    const led = nextPartition(record, topic, registered, balances);
    const next = led ?? completedReassignment(record, topic, registered);
    if (next === undefined) {
      const target = drains.moves.get(key);
      const move = target && beginMove(state, registered, key, target);
      if (move !== undefined) changes.push(move);
      continue;
    }
    changes.push({
      key,
      modRevision,
      record: next,
      elects: next.leaderEpoch !== record.leaderEpoch,
      // A lease that is granted meanwhile may count on a replica that leaves here.
      ...(led === undefined
        ? { unchanged: new Map([[keys.maintenance, state.maintenance.revision]]) }
        : {}),
    });
  }
  return changes.sort(byUrgency);
};
