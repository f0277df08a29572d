/** What the operator asks of a cluster about brokers, of a real server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "@millrace/client";
import { ErrorCode, hasCode } from "@millrace/errors";
import { clientBrokers } from "../../operator/src/reconcile/broker/client-brokers.ts";
import { ServerProcess, withDirectory } from "./server.ts";

test("brokers are described, and leases asked for, kept and given back, as the operator asks", async () => {
  await withDirectory(async (directory) => {
    const server = new ServerProcess(directory);
    await using client = await connect({ bootstrap: [(await server.ready()).client] });
    await client.admin.createTopic({ name: "t", partitions: 1 });
    const brokers = clientBrokers(client, "operator-1");
    const [one, ...others] = await brokers.describe();
    assert.ok(one !== undefined && others.length === 0);
    const { brokerEpoch, brokerId, directoryId = "", intent, isRegistered, replicas } = one;
    assert.deepEqual([brokerId, intent, isRegistered, replicas], [0, "Active", true, 1]);
    assert.ok(brokerEpoch > 0);
    assert.match(directoryId, /^[0-9a-f]{32}$/);

    const restart = { brokerId, kind: "Restart", reason: "a test", brokerEpoch } as const;
    const refused = await brokers.acquire(restart);
    assert.deepEqual([refused.lease, refused.mayAct], [undefined, false]);
    assert.match(refused.blockers.join(), /t\/0 would have 0 of 1 replicas in sync/);
    const allowed = await brokers.acquire({ ...restart, allowUnavailable: true });
    const token = allowed.lease?.token ?? assert.fail("no lease");
    assert.equal(allowed.mayAct, true);
    assert.equal((await brokers.renew({ brokerId, token })).lease?.token, token);
    const isLost = (error: unknown) => hasCode(error, ErrorCode.MAINTENANCE_LEASE_LOST);
    await assert.rejects(brokers.renew({ brokerId, token: token + 1 }), isLost);
    const other = clientBrokers(client, "operator-2");
    const held = await other.acquire({ brokerId, kind: "Drain", reason: "" });
    assert.match(held.blockers.join(), /operator-1 holds a maintenance lease of broker 0/);
    assert.deepEqual(await brokers.release({ brokerId, token }), { blockers: [] });
    await assert.rejects(brokers.release({ brokerId, token }), isLost);

    const startedMs = performance.now();
    const stale = brokers.acquire({ ...restart, brokerEpoch: brokerEpoch + 1 });
    await assert.rejects(stale, (error) => hasCode(error, ErrorCode.STALE_BROKER_EPOCH));
    // It is not asked again: the answer would be the same.
    assert.ok(performance.now() - startedMs < 10_000);
    const disk = { brokerId, kind: "ReplaceDisk", reason: "", directoryId } as const;
    assert.match((await brokers.acquire(disk)).blockers.join(), /runs on this data directory/);
    const removal = await brokers.acquire({ ...disk, kind: "Remove" });
    assert.match(removal.blockers.join(), /is not decommissioned with this data directory/);
    const unknown = brokers.acquire({ ...restart, brokerId: 9, brokerEpoch: 0 });
    await assert.rejects(unknown, (error) => hasCode(error, ErrorCode.BROKER_ID_NOT_REGISTERED));

    await brokers.setIntent(brokerId, "Draining");
    const [draining] = await brokers.describe();
    assert.deepEqual([draining?.intent, draining?.immovable], ["Draining", 1]);
    const end = brokers.setIntent(brokerId, "Decommissioned");
    await assert.rejects(end, (error) => hasCode(error, ErrorCode.REASSIGNMENT_IN_PROGRESS));
    await brokers.setIntent(brokerId, "Active");
    assert.equal((await brokers.describe())[0]?.intent, "Active");
    await server.kill("SIGTERM");
  });
});
