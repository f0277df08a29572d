/** Sticky and balanced, as slow as it is short. */
import type { TopicId } from "@millrace/record";
import type { Target } from "../group/assignments.ts";
import { PartitionMap, PartitionSet } from "../group/partition-map.ts";
import type { MemberId } from "../group/types.ts";
import type { TargetRequest } from "../shard/shard.ts";

export const assignSimply = ({ members, topics }: TargetRequest): Target => {
  const owners = new PartitionMap<MemberId>();
  const counts = new Map([...members.keys()].map((memberId) => [memberId, 0]));
  const reads = (memberId: MemberId, topicId: TopicId) =>
    members.get(memberId)?.topicIds.has(topicId) === true;
  const give = (topicId: TopicId, partition: number, memberId: MemberId): void => {
    const before = owners.get(topicId, partition);
    if (before !== undefined) counts.set(before, (counts.get(before) ?? 0) - 1);
    owners.set(topicId, partition, memberId);
    counts.set(memberId, (counts.get(memberId) ?? 0) + 1);
  };
  const least = (topicId: TopicId) =>
    [...counts]
      .filter(([memberId]) => reads(memberId, topicId))
      .sort(([a, m], [b, n]) => m - n || (a < b ? -1 : 1))[0];
  for (const [memberId, { assigned }] of members) {
    for (const [topicId, partition] of assigned) {
      const isThere = partition < (topics.get(topicId) ?? 0) && reads(memberId, topicId);
      if (isThere && !owners.has(topicId, partition)) give(topicId, partition, memberId);
    }
  }
  const all = [...topics].flatMap(([topicId, count]) =>
    Array.from({ length: count }, (_, partition) => [topicId, partition] as const),
  );
  for (const [topicId, partition] of all) {
    const [memberId] = least(topicId) ?? [];
    if (memberId !== undefined && !owners.has(topicId, partition))
      give(topicId, partition, memberId);
  }
  for (let moved = true; moved; ) {
    moved = false;
    for (const [topicId, partition] of all) {
      const has = counts.get(owners.get(topicId, partition) ?? "") ?? 0;
      const [memberId, count] = least(topicId) ?? ["", has];
      if (count >= has - 1) continue;
      give(topicId, partition, memberId);
      moved = true;
    }
  }
  const target = new Map([...members.keys()].map((memberId) => [memberId, new PartitionSet()]));
  for (const [topicId, partition, memberId] of owners)
    target.get(memberId)?.add(topicId, partition);
  return target;
};
