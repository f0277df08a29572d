/** Group coordinators as processes of their own, on simulated machines. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorCode, formatEndpoint, MillraceError } from "@millrace/errors";
import { groupStateTopic, keys } from "@millrace/metadata";
import { AdminService, CreateTopicRequestSchema } from "@millrace/proto/controller";
import { methodOf } from "@millrace/rpc";
import { GroupMember } from "../testing/cluster-member.ts";
import { type CoordinatorMachine, Machines } from "../testing/machines.ts";

const createTopic = methodOf(AdminService.method.createTopic);

/** A cluster with the topic `t`, and coordinators 0 to 2. */
const started = async (machines: Machines) => {
  await machines.start();
  const all = await Promise.all([0, 1, 2].map((id) => machines.coordinator(id)));
  const coordinators = new Map(all.entries());
  const cluster = machines.cluster();
  const request = create(CreateTopicRequestSchema, { name: "t", partitionCount: 4 });
  await cluster.channel("c0:7400").unary(createTopic, request);
  await cluster.fill("t", 4, 1000);
  const memberOf = async (group: string): Promise<GroupMember> => {
    const member = new GroupMember(cluster, group, "t");
    await member.join();
    return member;
  };
  const of = ({ coordinator }: GroupMember): CoordinatorMachine => {
    const found = coordinators.get(coordinator?.id ?? -1);
    assert.ok(found !== undefined);
    return found;
  };
  return { coordinators, cluster, memberOf, of };
};

/** Runs a test in simulated time. */
const inTime =
  (body: (machines: Machines) => Promise<void>): (() => Promise<void>) =>
  async () => {
    const machines = new Machines();
    await machines.run(body(machines));
  };

const refusalOf = (work: Promise<unknown>): Promise<MillraceError> =>
  work.then(
    () => assert.fail("it is refused"),
    (thrown: unknown) => MillraceError.from(thrown),
  );

/** Milliseconds until the member's next commit is acknowledged. */
const commitMs = async (machines: Machines, member: GroupMember, offset: bigint) => {
  const fromMs = machines.kernel.nowMs;
  await member.commit(0, offset);
  return machines.kernel.nowMs - fromMs;
};

test(
  "coordinators share the shards, and each knows who has the others",
  inTime(async (machines) => {
    const { cluster, coordinators, memberOf } = await started(machines);
    // All of them at once: the topic is made once.
    const groups = Array.from({ length: 12 }, (_, i) => `g${i}`);
    const members = await Promise.all(groups.map(memberOf));
    assert.deepEqual(
      new Set(members.map(({ coordinator }) => coordinator?.id)),
      new Set([0, 1, 2]),
    );
    const { kvs } = await machines.store.range({ key: keys.topic(groupStateTopic) });
    assert.equal(kvs.length, 1);
    await machines.sleep(1000);
    const loaded = [...coordinators.values()].map(({ state }) => state().shardsLoaded);
    assert.equal(
      loaded.reduce((sum, count) => sum + count),
      32,
    );
    for (const count of loaded) assert.ok(count <= 11, `${count} shards`);
    const everybody = await cluster.all();
    assert.deepEqual(
      everybody.map(({ id }) => id),
      [0, 1, 2],
    );
    assert.equal(everybody[1]?.address, "g1:7400");
    const [member] = members;
    const own = member?.coordinator ?? assert.fail();
    for (const id of coordinators.keys()) {
      if (id === own.id) continue;
      const refusal = await refusalOf(cluster.offsets(`g${id}:7400`, "g0", 5000));
      assert.equal(refusal.code, ErrorCode.NOT_COORDINATOR);
      const hint = refusal.leaderHint;
      assert.equal(hint?.brokerId, own.id);
      assert.equal(hint?.endpoint && formatEndpoint(hint.endpoint), own.address);
    }
  }),
);

test(
  "another one goes on within a second after a coordinator was killed",
  inTime(async (machines) => {
    const { cluster, coordinators, memberOf, of } = await started(machines);
    const member = await memberOf("g");
    await member.commit(3, 7n);
    await machines.sleep(2000);
    const { memberId, assignment, coordinator: first } = member;
    of(member).life.kill();
    const ms = await commitMs(machines, member, 1n);
    assert.ok(ms <= 1000, `${ms} ms`);
    assert.notEqual(member.coordinator?.id, first?.id);
    assert.equal(member.memberId, memberId);
    assert.equal(member.assignment?.memberEpoch, assignment?.memberEpoch);
    assert.deepEqual(member.partitions, [0, 1, 2, 3]);
    const offsets = await cluster.offsets(member.coordinator?.address ?? "", "g", 5000);
    assert.deepEqual([offsets.get(0), offsets.get(3)], [1n, 7n]);
    await machines.sleep(1000);
    coordinators.delete(first?.id ?? -1);
    const loaded = [...coordinators.values()].map(({ state }) => state().shardsLoaded);
    assert.deepEqual(loaded, [16, 16]);
  }),
);

/** From now on it learns nothing of the metadata, and cannot keep its lease. */
const cutOff = ({ link }: CoordinatorMachine): void => {
  const down = () => Promise.reject(new MillraceError(ErrorCode.UNAVAILABLE, "cut off"));
  link.redirect({ ...link.store, range: down, txn: down, keepAlive: down });
  link.state.isDown = true;
  link.cut();
};

for (const what of ["commit", "answer"] as const) {
  test(
    `one that hung cannot ${what} when it wakes, though nothing tells it that it was replaced`,
    inTime(async (machines) => {
      const { cluster, memberOf, of } = await started(machines);
      const member = await memberOf("g");
      await member.commit(0, 1n);
      const first = of(member);
      const address = member.coordinator?.address ?? "";
      cutOff(first);
      first.life.pause();
      if (what === "commit") member.send(0, 100n);
      const late =
        what === "commit"
          ? member.answer().then(({ error }) => error)
          : cluster.offsets(address, "g", 60_000).then(() => undefined);
      const refusal = late.catch((thrown: unknown) => MillraceError.from(thrown));
      const successor = new GroupMember(cluster, "g", "t");
      successor.memberId = member.memberId;
      successor.assignment = member.assignment;
      while ((await cluster.find("g"))?.address === address) await machines.sleep(100);
      await successor.join();
      await successor.commit(0, 2n);
      first.life.resume();
      assert.equal((await refusal)?.code, ErrorCode.NOT_COORDINATOR);
      await successor.commit(1, 3n);
      const offsets = await cluster.committed("g");
      assert.deepEqual([offsets.get(0), offsets.get(1)], [2n, 3n]);
    }),
  );
}

test(
  "one that stops has the others serve its groups first",
  inTime(async (machines) => {
    const { coordinators, memberOf, of } = await started(machines);
    const member = await memberOf("g");
    await machines.sleep(2000);
    const first = member.coordinator;
    const { booted } = of(member);
    const stopped = booted.stop();
    const ms = await commitMs(machines, member, 1n);
    assert.ok(ms <= 300, `${ms} ms`);
    assert.notEqual(member.coordinator?.id, first?.id);
    await stopped;
    assert.equal(await machines.registered(first?.id ?? -1), undefined);
    // Nobody takes it for dead.
    for (const { warnings } of coordinators.values()) assert.deepEqual(warnings, []);
  }),
);

test(
  "one that is cut off from the metadata does not take its shards back all the time",
  inTime(async (machines) => {
    const { cluster, memberOf, of } = await started(machines);
    const member = await memberOf("g");
    await member.commit(0, 1n);
    cutOff(of(member));
    const { id: first, address } = member.coordinator ?? assert.fail();
    while ((await cluster.find("g"))?.address === address) await machines.sleep(100);
    await member.join();
    const next = of(member);
    assert.notEqual(member.coordinator?.id, first);
    let longestMs = 0;
    for (let i = 0n; i < 600n; i += 1n) {
      longestMs = Math.max(longestMs, await commitMs(machines, member, i));
      await machines.sleep(100);
    }
    assert.ok(longestMs <= 1000, `${longestMs} ms`);
    const fenced = next.warnings.filter((one) => one.includes("cannot go on")).length;
    // Eight pauses that double are a minute.
    const perShard = fenced / next.state().shardsLoaded;
    assert.ok(perShard <= 9, `${perShard} times`);
  }),
);

test(
  "one that comes gets its share, and begins before anybody calls",
  inTime(async (machines) => {
    const { coordinators, memberOf } = await started(machines);
    const members = await Promise.all(["a", "b", "c", "d"].map(memberOf));
    const fourth = await machines.coordinator(3);
    await machines.sleep(1000);
    const all = [...coordinators.values(), fourth].map(({ state }) => state().shardsLoaded);
    assert.deepEqual(all, [8, 8, 8, 8]);
    for (const member of members) await member.commit(0, 5n);
  }),
);
