import assert from "node:assert/strict";
import { test } from "node:test";
import { stepsOf } from "./plan.ts";
import {
  asked,
  broker,
  claim,
  directoryId,
  held,
  otherHashes,
  pod,
  pool,
  view,
} from "./testing/samples.ts";
import type { View } from "./view.ts";

/** What is done and waited for, in short. */
const steps = (one: View): string[] =>
  stepsOf(one).map((step) => {
    if (step.type === "wait") return `wait ${step.on}`;
    if (step.type === "acquire") return `acquire ${step.wish.kind}`;
    if (step.type === "delete-pod") return step.isLeased ? "delete-pod" : "delete-pod unleased";
    if (step.type === "set-intent") return `set-intent ${step.intent}`;
    return step.type;
  });

const unknown: View["asked"] = { type: "asked" };
const unasked: View["asked"] = { type: "unasked", message: "it does not answer" };
const gone = { deletionTimestamp: "2026-01-01T00:00:00Z" };
const leaving = { metadata: { ...pod().metadata, ...gone } };
const outdated = pod({}, otherHashes);
const ended = pod({ status: { phase: "Failed" } });
const known = { directoryId };

test("a broker that runs as it is wanted needs nothing", () => {
  assert.deepEqual(steps(view()), []);
});

test("a new broker gets a volume, then a pod", () => {
  const nothing = { pod: undefined, claim: undefined };
  assert.deepEqual(steps(view({ ...nothing, asked: unknown })), ["create-claim"]);
  assert.deepEqual(steps(view({ ...nothing, asked: unasked })), ["wait cluster"]);
  assert.deepEqual(steps(view({ pod: undefined, asked: unknown })), ["create-pod"]);
  assert.deepEqual(steps(view({ pod: undefined, asked: unasked })), ["create-pod"]);
});

test("a pod that may be at work goes under a lease that is written down, and in no other way", () => {
  const one = { pod: outdated };
  assert.deepEqual(steps(view(one)), ["acquire Restart"]);
  assert.deepEqual(steps(view({ ...one, asked: unasked })), ["wait cluster"]);
  const holding = broker(1, {}, held("Restart"));
  assert.deepEqual(steps(view({ ...one, broker: holding })), ["delete-pod"]);
  assert.deepEqual(steps(view({ ...one, broker: broker(1, {}, held("Remove")) })), [
    "acquire Restart",
  ]);
  // Nobody knows the broker.
  assert.deepEqual(steps(view({ ...one, asked: unknown })), ["delete-pod unleased"]);
  // It is down, and has no replicas: the cluster does not tell of it.
  const before = broker(1, {}, known);
  const down = pod({ status: { phase: "Running" } }, otherHashes);
  const unlisted = { asked: unknown, broker: before };
  assert.deepEqual(steps(view({ ...unlisted, pod: down })), ["delete-pod unleased"]);
  assert.deepEqual(steps(view({ ...one, asked: unknown, broker: before })), ["acquire Restart"]);
});

test("a restart is about the registration that was seen, and may do what the Cluster allows", () => {
  const [step] = stepsOf(view({ pod: outdated }));
  assert.ok(step?.type === "acquire");
  assert.deepEqual([step.wish.brokerEpoch, step.wish.allowUnavailable], [7, false]);
});

test("a pod is not replaced for a spec that cannot be made any more", () => {
  const renders = { podTemplateHash: "dddddddd", configHash: "bbbbbbbb" };
  assert.deepEqual(steps(view({ pod: outdated, renders })), []);
});

test("a pod that has ended is made anew, without a lease", () => {
  assert.deepEqual(steps(view({ pod: ended })), ["delete-pod unleased"]);
  assert.deepEqual(steps(view({ pod: pod(leaving) })), ["wait pod"]);
});

test("a pod waits for its address, and is replaced for another one", () => {
  const unaddressed = view({ pod: undefined, address: undefined });
  assert.deepEqual(steps(unaddressed), ["wait pod"]);
  assert.deepEqual(steps(view({ address: undefined })), []);
  assert.deepEqual(steps(view({ address: "another:7400" })), ["acquire Restart"]);
});

test("a pod is told its rack once it has a node", () => {
  const racks = { pool: pool({ rack: { topologyKey: "zone" } }) };
  assert.deepEqual(steps(view(racks)), ["tell-rack"]);
  assert.deepEqual(steps(view({ ...racks, pod: pod({ spec: {} }) })), ["wait pod"]);
  const annotations = { ...pod().metadata.annotations, "millrace.dev/rack": "a" };
  const told = pod({ metadata: { ...pod().metadata, annotations } });
  assert.deepEqual(steps(view({ ...racks, pod: told })), []);
});

test("a lease is given back once the broker is back", () => {
  const holding = broker(1, {}, held("Restart"));
  assert.deepEqual(steps(view({ broker: holding })), ["release"]);
  const starting = pod({ status: { phase: "Running" } });
  assert.deepEqual(steps(view({ broker: holding, pod: starting })), ["wait pod"]);
  const away = asked({ isRegistered: false });
  assert.deepEqual(steps(view({ broker: holding, asked: away })), ["wait cluster"]);
});

test("a lost volume: the broker stops, its directory is given up, and it gets another one", () => {
  const lost = { claim: claim("Lost") };
  const away = asked({ isRegistered: false, brokerEpoch: 0 });
  assert.deepEqual(steps(view(lost)), ["acquire Restart"]);
  const stopping = broker(1, {}, held("Restart"));
  assert.deepEqual(steps(view({ ...lost, broker: stopping })), ["delete-pod"]);
  const stopped = { ...lost, broker: stopping, pod: undefined };
  assert.deepEqual(steps(view(stopped)), ["wait cluster"]);
  assert.deepEqual(steps(view({ ...stopped, asked: away })), ["acquire ReplaceDisk"]);
  const replacing = broker(1, {}, held("ReplaceDisk"));
  const given = { ...lost, broker: replacing, asked: away };
  assert.deepEqual(steps(view(given)), ["delete-pod"]);
  assert.deepEqual(steps(view({ ...given, pod: undefined })), ["delete-claim"]);
  assert.deepEqual(steps(view({ ...given, pod: undefined, claim: undefined })), ["create-claim"]);
});

test("a broker that the cluster does not tell of gets another volume", () => {
  const one = { broker: broker(1, {}, known), asked: unknown, pod: undefined };
  assert.deepEqual(steps(view({ ...one, claim: undefined })), ["create-claim"]);
  assert.deepEqual(steps(view({ ...one, claim: claim("Lost") })), ["wait stuck"]);
});

test("a broker that the cluster does not tell of is not taken for drained while it is ready", () => {
  for (const intent of ["Draining", "Decommissioned"] as const) {
    const one = view({ broker: broker(1, { intent }, known), asked: unknown });
    assert.deepEqual(steps(one), ["wait cluster"]);
  }
});

test("a claim that is gone is not made anew before its directory is given up", () => {
  const away = asked({ isRegistered: false, brokerEpoch: 0 });
  const one = { claim: undefined, pod: undefined };
  assert.deepEqual(steps(view({ ...one, asked: away })), ["acquire ReplaceDisk"]);
  assert.deepEqual(steps(view({ ...one, asked: unasked })), ["wait cluster"]);
  // The cluster names several directories: a person has to look.
  const { found } = away as { found: { directoryId?: string } };
  const { directoryId: _which, ...nameless } = found;
  const unclear = { type: "asked", found: nameless } as View["asked"];
  assert.deepEqual(steps(view({ ...one, asked: unclear })), ["wait stuck"]);
});

test("a pod is not stopped while its claim is being deleted", () => {
  const one = { claim: claim("Bound", gone), pod: outdated };
  assert.deepEqual(steps(view(one)), ["wait stuck"]);
});

test("a drain begins by a lease, is waited for, and ends when nothing is left", () => {
  const draining = broker(1, { intent: "Draining" });
  assert.deepEqual(steps(view({ broker: draining })), ["begin-drain", "wait cluster"]);
  const on = { broker: draining, asked: asked({ intent: "Draining" }) };
  assert.deepEqual(steps(view(on)), ["wait cluster"]);
  const immovable = asked({ intent: "Draining", immovable: 1 });
  assert.deepEqual(steps(view({ ...on, asked: immovable })), ["begin-drain"]);
  const logs = asked({ intent: "Draining", replicas: 0, leftovers: 1 });
  assert.deepEqual(steps(view({ ...on, asked: logs })), ["wait cluster"]);
  const empty = asked({ intent: "Draining", replicas: 0 });
  assert.deepEqual(steps(view({ ...on, asked: empty })), []);
  // A broker that is down is drained, too; its pod is made anew.
  assert.deepEqual(steps(view({ ...on, pod: ended })), ["delete-pod unleased", "wait cluster"]);
});

test("a drain that is called off is taken back", () => {
  assert.deepEqual(steps(view({ asked: asked({ intent: "Draining" }) })), ["set-intent Active"]);
  const other = asked({ intent: "Decommissioned" });
  assert.deepEqual(steps(view({ asked: other })), ["wait stuck"]);
});

test("a broker goes: decommissioned, given up, then its pod, its volume, and its object", () => {
  const going = broker(1, { intent: "Decommissioned" }, known);
  const drained = asked({ intent: "Draining", replicas: 0 });
  assert.deepEqual(steps(view({ broker: going, asked: drained })), ["set-intent Decommissioned"]);
  const proven = asked({ intent: "Decommissioned", replicas: 0, isRegistered: false });
  assert.deepEqual(steps(view({ broker: going, asked: proven })), ["acquire Remove"]);
  const removing = broker(1, { intent: "Decommissioned" }, held("Remove"));
  const one = { broker: removing, asked: proven };
  assert.deepEqual(steps(view(one)), ["delete-pod"]);
  assert.deepEqual(steps(view({ ...one, pod: pod(leaving) })), ["wait pod"]);
  assert.deepEqual(steps(view({ ...one, pod: undefined })), ["delete-claim"]);
  const keeps = pool({ storage: { size: "1Gi", whenScaledDown: "Retain" } });
  assert.deepEqual(steps(view({ ...one, pod: undefined, pool: keeps })), ["release"]);
  const nothing = { pod: undefined, claim: undefined };
  assert.deepEqual(steps(view({ ...one, ...nothing })), ["release"]);
  assert.deepEqual(steps(view({ broker: going, asked: proven, ...nothing })), ["finish"]);
});

test("a broker that the cluster has never known goes without its volume", () => {
  const going = broker(1, { intent: "Decommissioned" });
  assert.deepEqual(steps(view({ broker: going, asked: unknown })), ["delete-pod unleased"]);
  assert.deepEqual(steps(view({ broker: going, asked: unknown, pod: undefined })), ["finish"]);
  assert.deepEqual(steps(view({ broker: going, asked: unasked })), ["wait cluster"]);
});
