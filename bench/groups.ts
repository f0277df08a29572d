/**
 * `node bench/groups.ts`: what one group coordinator can do, with three replicas of what it writes.
 * Commits over the streams of members; the load of many groups by a coordinator that is started.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { formatEndpoint } from "@millrace/client";
import {
  GroupService,
  type JoinRequest,
  JoinRequestSchema,
  type JoinResponse,
} from "@millrace/proto/group";
import { GetMetadataRequestSchema, MetadataService } from "@millrace/proto/metadata";
import { type ClientStream, methodOf } from "@millrace/rpc";
import { grpcDialer } from "@millrace/rpc/grpc";
import { above0, commandLine } from "../tools/command-line.ts";
import { killClusters, MillraceCluster } from "./lib/cluster.ts";
import { cpuSeconds, rssMiB } from "./lib/processes.ts";
import { machine } from "./lib/report.ts";
import { quantile } from "./lib/stats.ts";

const usage = `node bench/groups.ts [--members N] [--offsets N] [--window N | --rate N] [--seconds N] [--groups N]

  --members N   members that commit, each in a group of its own (8)
  --offsets N   offsets of a commit (20)
  --window N    commits of a member without an answer (4)
  --rate N      offsets per second of all members, at a steady pace; latencies count from when a
                commit was due (as fast as answers come)
  --seconds N   of commits (10)
  --groups N    groups with ten committed offsets each, of the load (100000)`;

const values = commandLine(usage, {
  members: { type: "string", default: "8" },
  offsets: { type: "string", default: "20" },
  window: { type: "string", default: "4" },
  rate: { type: "string" },
  seconds: { type: "string", default: "10" },
  groups: { type: "string", default: "100000" },
});
const members = above0("members", values.members, usage);
const offsets = above0("offsets", values.offsets, usage);
const window = above0("window", values.window, usage);
const rate = values.rate === undefined ? undefined : above0("rate", values.rate, usage);
const seconds = above0("seconds", values.seconds, usage);
const groups = above0("groups", values.groups, usage);

const topic = "committed";
const offsetsPerGroup = 10;
const basePort = 28_400;
/** Calls of the filling at once. */
const callsAtOnce = 256;
const warmUpMs = 3000;

const getMetadata = methodOf(MetadataService.method.getMetadata);
const joinMethod = methodOf(GroupService.method.join);
type Stream = ClientStream<JoinRequest, JoinResponse>;

/** Joins a group, and resolves once the member has all partitions. */
const joined = async (stream: Stream, group: string): Promise<void> => {
  stream.write(create(JoinRequestSchema, { open: { group, topics: [topic] } }));
  for (;;) {
    const response = await stream.read();
    if (response === undefined) throw new Error(`the stream of ${group} ended`);
    const { assignment } = response;
    if (assignment === undefined || assignment.topics.length === 0) continue;
    const owned = assignment.topics.map(({ partitions, topicId }) => ({
      topicId,
      partitions: partitions.map(({ partition }) => partition),
    }));
    stream.write(create(JoinRequestSchema, { report: { revision: assignment.revision, owned } }));
    return;
  }
};

interface Committing {
  readonly latenciesMs: number[];
  commits: number;
}

const partitions = Array.from({ length: offsets }, (_, partition) => ({
  ...{ partition, committed: { offset: 1n } },
}));

/** Commits of a member, until a time: as fast as answers come, so many at once, or at a pace. */
const commitUntil = async (stream: Stream, endMs: number, all: Committing): Promise<void> => {
  const sentMs = new Map<bigint, number>();
  let id = 0n;
  const send = (dueMs: number): void => {
    id += 1n;
    sentMs.set(id, dueMs);
    const commit = { commitId: id, topics: [{ topic, partitions }] };
    stream.write(create(JoinRequestSchema, { commit }));
  };
  const everyMs = rate === undefined ? undefined : (1000 * offsets * members) / rate;
  const due = everyMs === undefined ? 0 : Math.floor((endMs - performance.now()) / everyMs);
  const pacing = everyMs === undefined ? undefined : paced(due, everyMs, send);
  if (everyMs === undefined) for (let i = 0; i < window; i += 1) send(performance.now());
  while (sentMs.size > 0 || id < due) {
    const response = await stream.read();
    if (response === undefined) throw new Error("a member's stream ended");
    const { committed } = response;
    if (committed === undefined) continue;
    if (committed.error !== undefined || committed.refused.length > 0)
      throw new Error(
        `a commit was refused: ${JSON.stringify(committed.error ?? committed.refused[0])}`,
      );
    const nowMs = performance.now();
    all.latenciesMs.push(nowMs - (sentMs.get(committed.commitId) ?? nowMs));
    all.commits += 1;
    sentMs.delete(committed.commitId);
    if (everyMs === undefined && nowMs < endMs) send(nowMs);
  }
  await pacing;
};

/** So many commits of one member; not all members commit at the same times. */
const paced = async (
  count: number,
  everyMs: number,
  send: (dueMs: number) => void,
): Promise<void> => {
  const firstMs = performance.now() + Math.random() * everyMs;
  for (let sent = 0; sent < count; ) {
    await sleep(1);
    const dueMs = (): number => firstMs + sent * everyMs;
    for (; sent < count && dueMs() <= performance.now(); sent += 1) send(dueMs());
  }
};

const coordinatorAddress = async (cluster: MillraceCluster): Promise<string> => {
  const channel = grpcDialer().dial(cluster.endpoint.split(",")[0] ?? "");
  try {
    const request = create(GetMetadataRequestSchema, { groups: ["any"] });
    const { coordinators } = await channel.unary(getMetadata, request);
    const endpoint = coordinators[0]?.endpoint;
    if (endpoint === undefined) throw new Error("the cluster has no group coordinator");
    return formatEndpoint(endpoint);
  } finally {
    channel.close();
  }
};

const pidOf = (cluster: MillraceCluster): number =>
  cluster.processes.find(({ role }) => role === "group-coordinator")?.pid ?? 0;

const commits = async (cluster: MillraceCluster): Promise<void> => {
  const channel = grpcDialer().dial(await coordinatorAddress(cluster));
  const streams = Array.from({ length: members }, () => channel.bidi(joinMethod) as Stream);
  await Promise.all(streams.map((stream, i) => joined(stream, `rate-${i}`)));
  for (const ms of [warmUpMs, seconds * 1000]) {
    const all: Committing = { latenciesMs: [], commits: 0 };
    const startMs = performance.now();
    const cpuBefore = cpuSeconds(pidOf(cluster));
    await Promise.all(streams.map((stream) => commitUntil(stream, startMs + ms, all)));
    const took = (performance.now() - startMs) / 1000;
    if (ms === warmUpMs) continue;
    const sorted = all.latenciesMs.sort((a, b) => a - b);
    const cpu = cpuSeconds(pidOf(cluster)) - cpuBefore;
    console.log(
      `commits: ${((all.commits * offsets) / took).toFixed(0)} offsets/s in ` +
        `${(all.commits / took).toFixed(0)} commits/s of ${offsets}; ${members} members, ` +
        `${rate === undefined ? `${window} at once each` : `${rate} offsets/s due`}; p50 ${quantile(sorted, 0.5).toFixed(2)} ms, ` +
        `p99 ${quantile(sorted, 0.99).toFixed(2)} ms; coordinator ${((cpu / took) * 100).toFixed(0)} % of a core`,
    );
  }
  channel.close();
};

const nameOf = (group: number): string => `group-${group}`;

const fill = async (cluster: MillraceCluster): Promise<void> => {
  const { admin } = cluster.client;
  const committed = Array.from({ length: offsetsPerGroup }, (_, partition) => ({
    ...{ topic, partition, offset: 1n },
  }));
  let next = 0;
  const one = async (): Promise<void> => {
    for (let group = next++; group < groups; group = next++)
      await admin.commitOffsets({ group: nameOf(group), offsets: committed });
  };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: callsAtOnce }, one));
  const took = (performance.now() - startMs) / 1000;
  console.log(`filled: ${groups} groups of ${offsetsPerGroup} offsets in ${took.toFixed(1)} s`);
};

/** From the start of the process until it answers for groups of every shard. */
const load = async (cluster: MillraceCluster): Promise<void> => {
  const name = cluster.processes.find(({ role }) => role === "group-coordinator")?.name ?? "";
  await cluster.act("stop", name);
  const startMs = performance.now();
  await cluster.act("start", name);
  const startedMs = performance.now();
  const sample = Array.from({ length: 500 }, (_, i) => nameOf(Math.floor((i * groups) / 500)));
  const found = await Promise.all(
    sample.map((group) => cluster.client.admin.fetchOffsets({ group })),
  );
  const took = performance.now() - startMs;
  const whole = found.every((all) => all.length === offsetsPerGroup);
  console.log(
    `load: ${groups} groups with ${groups * offsetsPerGroup} offsets served ` +
      `${(took / 1000).toFixed(2)} s after the spawn, ${((startedMs - startMs) / 1000).toFixed(2)} s of ` +
      `which to start; ${whole ? "all" : "NOT all"} there; ${rssMiB(pidOf(cluster)).toFixed(0)} MiB`,
  );
};

const directory = mkdtempSync(join(tmpdir(), "millrace-groups-"));
try {
  const cluster = new MillraceCluster({ directory, basePort, groupCoordinators: 1 });
  await cluster.start();
  console.log(machine());
  await cluster.topic(topic, Math.max(offsets, offsetsPerGroup));
  await commits(cluster);
  await fill(cluster);
  await load(cluster);
  await cluster.stop();
} finally {
  await killClusters();
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);
