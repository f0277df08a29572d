import assert from "node:assert/strict";
import { test } from "node:test";
import { Incarnation, Kernel } from "@millrace/sim";
import type { Broker, BrokerPool } from "../../api/index.ts";
import type { Claim } from "../broker/kinds.ts";
import { hashesOf } from "../broker/objects.ts";
import { broker, claim, cluster, pool, ready } from "../broker/testing/samples.ts";
import { planPool } from "./plan.ts";
import { type Problem, poolStatus } from "./status.ts";

const clock = new Incarnation(new Kernel(1), "test").clock();
/** A broker that runs with what is wanted. */
const one = (
  nodeId: number,
  intent: Broker["spec"]["intent"] = "Active",
  more: Partial<NonNullable<Broker["status"]>> = {},
): Broker => {
  const hashes = hashesOf({ cluster, pool: pool() }, nodeId, "millrace:1");
  return broker(nodeId, { ...hashes, intent }, { ...ready("True"), ...hashes, ...more });
};

const statusOf = (
  brokers: readonly Broker[],
  about: { problem?: Problem; claims?: readonly Claim[]; pool?: BrokerPool } = {},
) => {
  const { claims = [], problem } = about;
  const own = about.pool ?? pool({ replicas: brokers.length });
  const running = { ...cluster, status: { image: "millrace:1" } };
  const view = {
    ...{ cluster: running, pool: own, pools: [own], brokers, nowMs: 0, defaultImage: "millrace:1" },
  };
  const status = poolStatus(own, { view, plan: planPool(view), claims, problem }, clock);
  const says = (type: string): string => {
    const found = status.conditions?.find((condition) => condition.type === type);
    return `${found?.status} ${found?.reason}`;
  };
  return { status, says };
};

test("a pool counts its brokers, and says that it is as its spec says", () => {
  const { says, status } = statusOf([one(1), one(2)]);
  assert.equal(says("Ready"), "True AsSpecified");
  const { nodeIds, readyReplicas, replicas, scaling, updatedReplicas } = status;
  assert.deepEqual([replicas, readyReplicas, updatedReplicas, nodeIds], [2, 2, 2, [1, 2]]);
  assert.deepEqual(scaling, { state: "Idle" });
  assert.equal(status.labelSelector, "millrace.dev/cluster=c,millrace.dev/pool=p");
});

test("replicas that cannot go are told in words of the cluster", () => {
  const blocked = ready("False", "Blocked");
  const [condition] = blocked.conditions;
  const conditions = [{ ...condition, message: "t/0 has 3 replicas: add a broker" }];
  const leaving = one(2, "Draining", { conditions } as Partial<NonNullable<Broker["status"]>>);
  const { says, status } = statusOf([one(1), leaving], { pool: pool({ replicas: 1 }) });
  assert.equal(says("ScaleDownBlocked"), "True TooFewBrokers");
  assert.equal(says("Ready"), "False Blocked");
  const { brokers, message, state } = status.scaling ?? {};
  assert.deepEqual([state, brokers], ["Blocked", [2]]);
  assert.equal(message, "t/0 has 3 replicas: add a broker");
});

test("a broker that goes is being drained, and does not count as ready", () => {
  const leaving = one(2, "Draining", ready("False"));
  const { says, status } = statusOf([one(1), leaving], { pool: pool({ replicas: 1 }) });
  assert.equal(says("ScaleDownBlocked"), "False NotBlocked");
  assert.deepEqual([status.scaling?.state, status.drainingReplicas], ["Draining", 1]);
  assert.equal(status.readyReplicas, 1);
});

test("a broker that fails after everything was well is told as degraded", () => {
  const was = { ...pool({ replicas: 2 }), status: { observedGeneration: 3 } };
  const known = { ...was, metadata: { ...was.metadata, generation: 3 } };
  const { says } = statusOf([one(1), one(2, "Active", ready("False"))], { pool: known });
  assert.equal(says("Ready"), "False Degraded");
});

test("volumes that are too small are growing, or cannot", () => {
  const large = pool({ replicas: 1, storage: { size: "2Gi", whenScaledDown: "Retain" } });
  const about = { pool: large, claims: [claim()] };
  assert.equal(statusOf([one(1)], about).says("StorageResized"), "False Resizing");
  const [condition] = ready("True").conditions;
  const told = { ...condition, type: "StorageBound", message: "claim x stays as it is: no" };
  const refused = one(1, "Active", {
    conditions: [...ready("True").conditions, told],
  } as Partial<NonNullable<Broker["status"]>>);
  assert.equal(statusOf([refused], about).says("StorageResized"), "False NotSupported");
  assert.equal(statusOf([one(1)], { claims: [claim()] }).says("StorageResized"), "True Resized");
});

test("a generation is observed once nothing is left but what a person has to change", () => {
  const newer = pool({ replicas: 1 });
  const known = { ...newer, metadata: { ...newer.metadata, generation: 5 } };
  const observed = (problem?: Problem) =>
    statusOf([one(1)], { pool: known, ...(problem && { problem }) }).status.observedGeneration;
  assert.equal(observed(), 5);
  assert.equal(observed({ type: "stalled", reason: "Conflict", message: "no" }), 5);
  assert.equal(observed({ type: "waiting", ready: "ClusterNotFound", message: "no" }), undefined);
  assert.equal(observed({ type: "paused", message: "paused" }), undefined);
});
