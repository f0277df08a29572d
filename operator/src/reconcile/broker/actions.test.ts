/** What takes something away does so on condition that nothing has changed since it was decided. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { resourceTypes } from "../../api/index.ts";
import { Applier } from "../../runtime/apply.ts";
import { EventRecorder } from "../../runtime/events.ts";
import { ApiError } from "../../runtime/kubernetes.ts";
import { simulated } from "../../runtime/testing/simulated.ts";
import { carryOut } from "./actions.ts";
import type { ClusterBrokers, LeaseAnswer } from "./cluster-brokers.ts";
import { claimType, nodeType, podType } from "./kinds.ts";
import type { Action, Wait } from "./plan.ts";
import { broker, claim, held, pod, view } from "./testing/samples.ts";
import type { View } from "./view.ts";

const may: LeaseAnswer = { mayAct: true, blockers: [] };
const mayNot: LeaseAnswer = { mayAct: false, blockers: ["another one is away"] };

const key = { namespace: "n", name: "c-broker-1" };
const claimKey = { namespace: "n", name: "data-c-broker-1" };

/** A server with the objects of the samples, and a cluster that answers as it is told. */
const scene = (brokers: Partial<ClusterBrokers> = {}) => {
  const { kernel, process, server } = simulated();
  const { api, clock, logger } = process("operator");
  const none = async (): Promise<never> => assert.fail("nobody asks for this");
  const cluster = { acquire: none, describe: none, release: none, renew: none, setIntent: none };
  const about = { controller: "test", instance: "operator" };
  const tools = {
    ...{ api, clock, defaultImage: "millrace:1", isPatient: false },
    applier: new Applier({ fieldManager: "test" }),
    brokers: { ...cluster, ...brokers },
    events: new EventRecorder({ api, clock, logger, ...about }),
  };
  const { resourceVersion: _a, ...podMetadata } = pod().metadata;
  const { resourceVersion: _b, ...claimMetadata } = claim().metadata;
  // What nobody owns would be collected.
  server.create(resourceTypes.BrokerPool, view().pool);
  const made = server.create(resourceTypes.Broker, broker());
  const status = held("Restart");
  const by = { fieldManager: "test", force: true };
  server.applyStatus(resourceTypes.Broker, { ...made, status }, by);
  const { ownerReferences: _c, ...unowned } = podMetadata;
  server.create(podType, { ...pod(), metadata: unowned });
  server.create(claimType, { ...claim(), metadata: claimMetadata });
  const seen = (more: Partial<View> = {}): View => ({
    ...view(),
    broker: server.get(resourceTypes.Broker, key) ?? assert.fail("no broker"),
    pod: server.get(podType, key),
    claim: server.get(claimType, claimKey),
    ...more,
  });
  const run = async (action: Action, what: View): Promise<Wait | undefined> => {
    const done = carryOut(action, what, tools);
    // What fails is for the caller.
    done.catch(() => undefined);
    await kernel.run(done);
    return done;
  };
  return { run, seen, server };
};

const deletePod: Action = { type: "delete-pod", isLeased: true };
const deleteClaim: Action = { type: "delete-claim" };

const isConflict = (error: unknown): boolean => error instanceof ApiError && error.status === 409;

test("a pod is deleted if the lease allows it, and only then", async () => {
  const allowed = scene({ renew: async () => may });
  assert.equal(await allowed.run(deletePod, allowed.seen()), undefined);
  assert.equal(allowed.server.get(podType, key), undefined);
  const release = async () => ({ blockers: ["it is not back"] });
  const refused = scene({ renew: async () => mayNot, release });
  const wait = await refused.run(deletePod, refused.seen());
  assert.match(wait?.message ?? "", /another one is away; it is not back/);
  assert.notEqual(refused.server.get(podType, key), undefined);
});

test("a pod that has changed since it was looked at is not deleted", async () => {
  const one = scene({ renew: async () => may });
  const before = one.seen();
  const now = one.seen().pod ?? assert.fail("no pod");
  one.server.replace(podType, { ...now, spec: { nodeName: "another" } });
  await assert.rejects(one.run(deletePod, before), isConflict);
  assert.notEqual(one.server.get(podType, key), undefined);
});

test("a pod that was made anew is not deleted for the one before", async () => {
  const one = scene({ renew: async () => may });
  const before = one.seen().pod ?? assert.fail("no pod");
  const { resourceVersion } = before.metadata;
  const other = { ...before, metadata: { ...before.metadata, uid: "another", resourceVersion } };
  await assert.rejects(one.run(deletePod, one.seen({ pod: other as typeof before })), isConflict);
  assert.notEqual(one.server.get(podType, key), undefined);
});

test("a lease that is lost is forgotten, and nothing is done under it", async () => {
  const renew = async (): Promise<never> => {
    throw new MillraceError(ErrorCode.MAINTENANCE_LEASE_LOST, "it has run out");
  };
  const one = scene({ renew });
  assert.equal(await one.run(deletePod, one.seen()), undefined);
  assert.notEqual(one.server.get(podType, key), undefined);
  const after = one.server.get(resourceTypes.Broker, key);
  assert.equal(after?.status?.maintenanceLease, undefined);
});

test("a lease that is of no use is given back, so that it holds up nobody", async () => {
  const one = scene({ renew: async () => mayNot, release: async () => ({ blockers: [] }) });
  const wait = await one.run(deletePod, one.seen());
  assert.match(wait?.message ?? "", /another one is away/);
  const after = one.server.get(resourceTypes.Broker, key);
  assert.equal(after?.status?.maintenanceLease, undefined);
});

test("the token is written down", async () => {
  const lease = { token: 77, grantedAtMs: 0 };
  const one = scene({ acquire: async () => ({ ...may, lease }) });
  const wish = { brokerId: 1, kind: "Remove", reason: "" } as const;
  assert.equal(await one.run({ type: "acquire", wish }, one.seen()), undefined);
  const after = one.server.get(resourceTypes.Broker, key);
  assert.deepEqual(after?.status?.maintenanceLease, {
    ...{ kind: "Remove", token: 77, grantedAt: "1970-01-01T00:00:00Z" },
  });
});

test("a claim is not deleted while a pod has it, whatever its labels are", async () => {
  const one = scene({ renew: async () => may });
  const volumes = [{ name: "x", persistentVolumeClaim: { claimName: claimKey.name } }];
  const metadata = { namespace: "n", name: "somebody", labels: { app: "backup" } };
  one.server.create(podType, { ...pod(), metadata, spec: { volumes } });
  const wait = await one.run(deleteClaim, one.seen());
  assert.match(wait?.message ?? "", /Pod somebody has claim data-c-broker-1: delete the Pod/);
  assert.notEqual(one.server.get(claimType, claimKey), undefined);
});

test("a claim is deleted if the lease allows it, and as it was seen", async () => {
  const release = async () => ({ blockers: ["it is not back"] });
  const refused = scene({ renew: async () => mayNot, release });
  assert.notEqual(await refused.run(deleteClaim, refused.seen()), undefined);
  assert.notEqual(refused.server.get(claimType, claimKey), undefined);
  const allowed = scene({ renew: async () => may });
  const before = allowed.seen();
  const now = allowed.seen().claim ?? assert.fail("no claim");
  const spec = { ...now.spec, volumeName: "another" };
  allowed.server.replace(claimType, { ...now, spec });
  await assert.rejects(allowed.run(deleteClaim, before), isConflict);
  assert.equal(await allowed.run(deleteClaim, allowed.seen()), undefined);
  assert.equal(allowed.server.get(claimType, claimKey), undefined);
});

test("a pod hears of the rack of its node; without a label a person is needed", async () => {
  const one = scene();
  const tell: Action = { type: "tell-rack", node: "node", topologyKey: "zone" };
  assert.equal((await one.run(tell, one.seen()))?.on, "pod");
  const node = { apiVersion: "v1", kind: "Node", metadata: { name: "node", labels: {} } };
  const made = one.server.create(nodeType, node);
  const wait = await one.run(tell, one.seen());
  assert.match(wait?.message ?? "", /node node has no label zone: label the node/);
  const metadata = { ...made.metadata, labels: { zone: "a" } };
  one.server.replace(nodeType, { ...made, metadata });
  assert.equal(await one.run(tell, one.seen()), undefined);
  const { annotations = {} } = one.seen().pod?.metadata ?? {};
  assert.equal(annotations["millrace.dev/rack"], "a");
  assert.equal(annotations["millrace.dev/config-hash"], "bbbbbbbb");
});
