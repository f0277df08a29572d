/** Three brokers and three group coordinators as processes: coordinators die, hang and stop. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "@millrace/client";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { promlint } from "@millrace/observability/testing";
import { grpcDialer } from "@millrace/rpc/grpc";
import {
  GroupCluster,
  GroupMember,
} from "../../services/group-coordinator/src/testing/cluster-member.ts";
import { Etcd, skipped } from "./etcd.ts";
import { type Role, ServerProcess } from "./server-process.ts";

const isReady = (status: number): boolean => status === 200;

if (skipped !== false) test("group coordinators as processes", { skip: skipped }, () => {});
else {
  let etcd: Etcd;
  let directory = "";
  let cluster: GroupCluster;
  const processes = new Map<string, ServerProcess>();

  const start = async (role: Role, id: number): Promise<ServerProcess> => {
    const idFlag = role === "group-coordinator" ? "--coordinator-id" : `--${role}-id`;
    const flags = [idFlag, String(id), "--etcd-endpoints", etcd.endpoint];
    const one = await ServerProcess.start(role, join(directory, `${role}-${id}`), flags);
    processes.set(`${role}-${id}`, one);
    return one;
  };

  const coordinator = (id: number | undefined): ServerProcess => {
    const one = processes.get(`group-coordinator-${id}`);
    assert.ok(one !== undefined, `there is no group coordinator ${id}`);
    return one;
  };

  const restart = async (id: number): Promise<void> => {
    await (await start("group-coordinator", id)).untilReadyz(isReady);
  };

  /** A member of a new group, with all four partitions. */
  const memberOf = async (group: string): Promise<GroupMember> => {
    const member = new GroupMember(cluster, group, "t");
    await member.join();
    assert.deepEqual(member.partitions, [0, 1, 2, 3]);
    return member;
  };

  /** Commits again and again until `enough`; the longest time between two acknowledgements, ms. */
  const commitWhile = async (member: GroupMember, isOver: () => boolean) => {
    let longestMs = 0;
    let offset = 0n;
    for (let lastMs = performance.now(); !isOver(); ) {
      offset += 1n;
      await member.commit(0, offset);
      const nowMs = performance.now();
      longestMs = Math.max(longestMs, nowMs - lastMs);
      lastMs = nowMs;
    }
    return { longestMs, offset };
  };

  before(async () => {
    etcd = await Etcd.start();
    directory = mkdtempSync(join(tmpdir(), "millrace-groups-"));
    const ids = [0, 1, 2];
    const all = [
      await start("controller", 0),
      ...(await Promise.all(ids.map((id) => start("broker", id)))),
      ...(await Promise.all(ids.map((id) => start("group-coordinator", id)))),
    ];
    await Promise.all(all.map((one) => one.untilReadyz(isReady)));
    const brokers = ids.map((id) => processes.get(`broker-${id}`)?.endpoints.client ?? "");
    const client = await connect({ bootstrap: brokers });
    await client.admin.createTopic({ name: "t", partitions: 4, replicationFactor: 3 });
    // There is something to commit.
    const producer = client.producer();
    for (let partition = 0; partition < 4; partition += 1) {
      for (let n = 0; n < 20_000; n += 1) {
        if (!producer.write({ topic: "t", partition, value: "v" })) await producer.drained();
      }
    }
    await producer.close();
    await client.close();
    cluster = new GroupCluster(grpcDialer(), brokers[0] ?? "", sleep);
  });

  after(async () => {
    cluster.close();
    await Promise.all([...processes.values()].map((one) => one.end("SIGKILL")));
    await etcd.remove();
    rmSync(directory, { recursive: true });
  });

  test("groups are shared among the coordinators, and every one counts its own", async () => {
    const served = new Set<number>();
    for (let i = 0; served.size < 3; i += 1) {
      assert.ok(i < 50, "each coordinator serves some of fifty groups");
      const member = await memberOf(`shared-${i}`);
      served.add(member.coordinator?.id ?? -1);
      await member.commit(1, 7n);
    }
    for (const id of served) {
      const body = (await coordinator(id).get("/metrics"))?.body ?? "";
      assert.deepEqual(promlint(body), []);
      assert.match(body, /millrace_group_members [1-9]/);
      assert.match(body, /millrace_group_shards_loaded (10|11)\n/);
      assert.match(body, /millrace_group_committed_offsets_total [1-9]/);
    }
  });

  test("the coordinator of a group is killed: another one goes on with its members", async (context) => {
    const member = await memberOf("killed");
    const { assignment, coordinator: first, memberId } = member;
    let isKilled = false;
    const killed = (async () => {
      await member.commit(2, 11n);
      const gap = commitWhile(member, () => isKilled && member.coordinator?.id !== first?.id);
      await coordinator(first?.id).end("SIGKILL");
      isKilled = true;
      return gap;
    })();
    const { longestMs, offset } = await killed;
    context.diagnostic(`longest gap in commits: ${Math.round(longestMs)} ms`);
    assert.equal(member.memberId, memberId);
    assert.equal(member.assignment?.memberEpoch, assignment?.memberEpoch);
    assert.deepEqual(member.partitions, [0, 1, 2, 3]);
    const offsets = await cluster.committed("killed");
    assert.deepEqual([offsets.get(0), offsets.get(2)], [offset, 11n]);
    assert.ok(longestMs < 5000, "it did not wait for a lease");
    await restart(first?.id ?? -1);
  });

  test("a coordinator that hung can neither commit nor answer when it wakes", async () => {
    const member = await memberOf("hung");
    await member.commit(0, 1n);
    const first = member.coordinator;
    coordinator(first?.id).signal("SIGSTOP");
    member.send(0, 100n);
    const lateCommit = member.answer().then(
      ({ error }) => error,
      (thrown: unknown) => MillraceError.from(thrown),
    );
    const lateAnswer = cluster.offsets(first?.address ?? "", "hung", 60_000).then(
      () => undefined,
      (thrown: unknown) => MillraceError.from(thrown),
    );
    const successor = new GroupMember(cluster, "hung", "t");
    successor.memberId = member.memberId;
    successor.assignment = member.assignment;
    while ((await cluster.find("hung"))?.id === first?.id) await sleep(50);
    await successor.join();
    assert.deepEqual(successor.partitions, [0, 1, 2, 3]);
    await successor.commit(0, 2n);
    coordinator(first?.id).signal("SIGCONT");
    const refusal = await lateCommit;
    assert.equal(refusal?.code, ErrorCode.NOT_COORDINATOR, refusal?.message ?? "");
    // A process that has just woken may refuse new calls for a moment.
    const refusals: readonly unknown[] = [ErrorCode.NOT_COORDINATOR, ErrorCode.ADMISSION_REJECTED];
    const unanswered = await lateAnswer;
    assert.ok(refusals.includes(unanswered?.code), unanswered?.message ?? "it is answered");
    await successor.commit(1, 3n);
    const offsets = await cluster.committed("hung");
    assert.deepEqual([offsets.get(0), offsets.get(1)], [2n, 3n]);
  });

  test("a coordinator that stops has the others serve its groups first", async (context) => {
    const member = await memberOf("stopped");
    const first = member.coordinator;
    let isStopped = false;
    const gap = commitWhile(member, () => isStopped && member.coordinator?.id !== first?.id);
    assert.equal(await coordinator(first?.id).end(), 0);
    isStopped = true;
    const { longestMs } = await gap;
    context.diagnostic(`longest gap in commits: ${Math.round(longestMs)} ms`);
    assert.ok(longestMs < 5000);
    assert.deepEqual(member.partitions, [0, 1, 2, 3]);
  });
}
