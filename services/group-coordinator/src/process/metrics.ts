/** What a group coordinator counts, by the names of `docs/reference/metrics.md`. */
import { latencyBuckets, type Metrics } from "@millrace/observability";
import { type ServerMetrics, serverMetrics } from "@millrace/server/node";
import { limits } from "../limits.ts";
import type { GroupMetrics } from "../metrics.ts";
import type { CoordinatorState } from "../runtime/coordinator.ts";

export const groupMetrics = (metrics: Metrics): GroupMetrics => {
  const appends = metrics.counter({
    name: "millrace_group_appends_total",
    help: "Appends to the logs of shards.",
  });
  const records = metrics.counter({
    name: "millrace_group_appended_records_total",
    help: "Records appended to the logs of shards.",
  });
  const latency = metrics.histogram({
    name: "millrace_group_append_latency_seconds",
    help: "From an append to the log of a shard to its acknowledgement.",
    buckets: latencyBuckets,
  });
  const commits = metrics.counter({
    name: "millrace_group_committed_offsets_total",
    help: "Offsets of partitions that were committed.",
  });
  const targets = metrics.counter({
    name: "millrace_group_rebalances_total",
    help: "Target assignments made.",
  });
  const expelled = metrics.counter({
    name: "millrace_group_expelled_members_total",
    help: "Members expelled because they were silent, or kept partitions.",
  });
  return {
    onAppend: (count, durationMs) => {
      appends.add(1);
      records.add(count);
      latency.observe(durationMs / 1000);
    },
    onCommits: (offsets) => commits.add(offsets),
    onTarget: () => targets.add(1),
    onExpelled: (members) => expelled.add(members),
  };
};

/** Registers the gauges; what they read is given later. */
export const watchGroups = (metrics: Metrics): ((read: () => CoordinatorState) => void) => {
  const gauge = (name: string, help: string) =>
    metrics.gauge({ name: `millrace_group_${name}`, help });
  const groups = gauge("groups", "Groups of the shards that are loaded.");
  const members = gauge("members", "Members of these groups.");
  const loaded = gauge("shards_loaded", "Shards that this coordinator serves.");
  const loading = gauge("shards_loading", "Shards that are being loaded.");
  const streams = gauge("streams", "Open streams of members.");
  const queued = gauge("queued_bytes", "Bytes of records that wait for an append, of all shards.");
  const queuedMax = gauge("queued_limit_bytes", "Bound of these bytes, of each shard.");
  return (read) => {
    metrics.onCollect(() => {
      const now = read();
      groups.set(now.groups);
      members.set(now.members);
      loaded.set(now.shardsLoaded);
      loading.set(now.shardsLoading);
      streams.set(now.streams);
      queued.set(now.queuedBytes);
      queuedMax.set(limits.queueBytesMax);
    });
  };
};

export interface GroupCoordinatorServerMetrics extends ServerMetrics {
  readonly groups: GroupMetrics;
  /** Gauges are read at every scrape. */
  readonly watchGroups: (read: () => CoordinatorState) => void;
}

/** All metrics of a group coordinator's process, registered. */
export const groupCoordinatorServerMetrics = (
  droppedLogLines?: () => number,
): GroupCoordinatorServerMetrics => {
  const shared = serverMetrics(droppedLogLines);
  const { registry } = shared;
  return { ...shared, groups: groupMetrics(registry), watchGroups: watchGroups(registry) };
};
