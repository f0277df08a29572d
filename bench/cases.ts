/**
 * The table of claims: every case, in its order. What is measured and claimed is under `cases/`.
 */
import type { Case } from "./cases/case.ts";
import * as failover from "./cases/cluster/failover.ts";
import * as clusterLatency from "./cases/cluster/latency.ts";
import type { ClusterCase } from "./cases/cluster/peers.ts";
import { manyPartitions } from "./cases/cluster/scale.ts";
import * as replicated from "./cases/cluster/throughput.ts";
import { cold } from "./cases/cold.ts";
import { compaction } from "./cases/compaction.ts";
import { fsyncs, many, openLoop, single, spread } from "./cases/latency.ts";
import { idlePartitions, restart, start } from "./cases/life.ts";
import { clientProduce, consume, produce } from "./cases/throughput.ts";

export type { Case, Peers } from "./cases/case.ts";

/** `scale` is that of the run: 1 in full, less for a quick look. */
export const cases = (scale: number): Case[] => [
  start(),
  ...[100, 1024].flatMap((size) => [1, 16].map((partitions) => produce(size, partitions, scale))),
  ...[1, 16].map((partitions) => clientProduce(partitions, scale)),
  ...[1, 16].map((partitions) => consume(partitions, scale)),
  ...[1, 16].map((partitions) => cold(partitions, scale)),
  single(scale),
  fsyncs(),
  many(scale),
  ...[5000, 10_000, 20_000].map((perSecond) => openLoop(perSecond, scale)),
  spread(scale),
  compaction(scale),
  idlePartitions(scale),
  restart(scale),
];

/** Those of a cluster of three brokers. */
export const clusterCases = (scale: number): ClusterCase[] => [
  clusterLatency.idle(),
  ...[100, 1024].flatMap((size) =>
    [1, 16].map((partitions) => replicated.produce(size, partitions, scale)),
  ),
  ...[1, 16].map((partitions) => replicated.idempotence(partitions, scale)),
  clusterLatency.single(scale),
  clusterLatency.many(scale),
  failover.brokerKilled(scale),
  failover.brokerPaused(scale),
  failover.controllerKilled(scale),
  failover.bothKilled(scale),
  manyPartitions(scale),
];
