/** What happens to pools and brokers in the scenarios, by name. */
import assert from "node:assert/strict";
import { resourceTypes } from "../../../api/index.ts";
import type { Scenario } from "../../../runtime/testing/crash-points.ts";
import { conditionOf } from "../../outcome.ts";
import { claimType, type Pod } from "../kinds.ts";
import { type Stage, saysOf, scenarioOf } from "./scenarios.ts";

const hasEnded = (pod: Pod | undefined): boolean => pod?.status?.phase === "Failed";

const keyIn = (name: string) => ({ namespace: "n", name });

const play = (drive: (stage: Stage) => Promise<void>): Scenario =>
  scenarioOf(
    async (stage) => {
      await drive(stage);
      // Leases of an operator that was killed have run out, and who leads what was told.
      await stage.sleep(70_000);
    },
    (server) => saysOf(server, "main") === "AsSpecified",
  );

const isFine = (stage: Stage): Promise<void> => stage.settled("main", "AsSpecified");

/** A pool that grows, and new settings for all of its brokers, one after the other. */
const growing = (from: number, to: number): Scenario =>
  play(async (stage) => {
    stage.makePool("main", { replicas: from });
    await isFine(stage);
    stage.makeTopics(
      2,
      Array.from({ length: from }, (_, id) => id),
    );
    stage.edit("main", { replicas: to });
    await isFine(stage);
    stage.edit("main", { config: { "journal-file-bytes": 67_108_864 } });
    await isFine(stage);
  });

const kept = { size: "1Gi", whenScaledDown: "Retain" } as const;

/** The broker that is named goes with its volume, the next one without, and a new one comes. */
const shrinking = play(async (stage) => {
  stage.makePool("main", { replicas: 4 });
  await isFine(stage);
  stage.makeTopics(2, [0, 1]);
  stage.edit("main", { replicas: 3, brokersToRemove: [1] });
  await isFine(stage);
  stage.edit("main", { replicas: 2, storage: kept });
  await isFine(stage);
  stage.edit("main", { replicas: 3 });
  await isFine(stage);
});

/** One broker goes with its volume, and a new one comes. */
const shrinkingSmall = play(async (stage) => {
  stage.makePool("main", { replicas: 2 });
  await isFine(stage);
  stage.makeTopics(1, [1]);
  stage.edit("main", { replicas: 1 });
  await isFine(stage);
  stage.edit("main", { replicas: 2 });
  await isFine(stage);
});

/** A broker is called back while its replicas move. */
const calledBack = play(async (stage) => {
  stage.makePool("main", {});
  await isFine(stage);
  stage.makeTopics(3, [0, 2]);
  stage.world.movesLeft = 1;
  stage.edit("main", { replicas: 2 });
  await stage.until(() => stage.world.movesLeft === 0);
  stage.edit("main", { replicas: 3 });
  await isFine(stage);
});

/** Too few brokers would be left for a topic: once it is called off, once the topic gives way. */
const blocked = play(async (stage) => {
  stage.makePool("main", { replicas: 2 });
  await isFine(stage);
  stage.makeTopics(2, [0, 1]);
  stage.edit("main", { replicas: 1 });
  await stage.settled("main", "Blocked");
  stage.edit("main", { replicas: 2 });
  await isFine(stage);
  stage.edit("main", { replicas: 1 });
  await stage.settled("main", "Blocked");
  stage.makeTopics(2, [1]);
  await isFine(stage);
});

/** A pod is killed by hand, one is evicted. */
const killed = play(async (stage) => {
  stage.makePool("main", { replicas: 2 });
  await isFine(stage);
  stage.makeTopics(2, [0, 1]);
  await stage.replaced(0, () => stage.killPod(0));
  await stage.replaced(1, () => stage.endPod(1));
});

/** A volume is lost under a pod, and one is lost with its node. */
const diskLost = play(async (stage) => {
  stage.makePool("main", { replicas: 2 });
  await isFine(stage);
  stage.makeTopics(2, [0, 1]);
  await stage.replaced(0, () => stage.loseVolume(0));
  // It has caught up, or the other disk would be the only one.
  await stage.sleep(30_000);
  await stage.replaced(1, () => {
    stage.server.delete(claimType, keyIn("data-events-broker-1"), {});
    stage.endPod(1);
  });
});

/** A Broker is deleted by hand, and then the pool, which is made anew: volumes are found again. */
const returning = play(async (stage) => {
  stage.makePool("main", { replicas: 2 });
  await isFine(stage);
  stage.makeTopics(2, [0, 1]);
  const claims = [0, 1].map((id) => stage.claim(id)?.metadata.uid);
  await stage.replaced(1, () => {
    stage.server.delete(resourceTypes.Broker, keyIn("events-broker-1"), {});
  });
  stage.server.delete(resourceTypes.BrokerPool, keyIn("main"), {});
  await stage.until(() => [0, 1].every((id) => stage.pod(id) === undefined));
  stage.makePool("main", { replicas: 2 });
  await isFine(stage);
  assert.deepEqual(
    [0, 1].map((id) => stage.claim(id)?.metadata.uid),
    claims,
  );
});

/** The image of two pools changes: controllers first, then one broker after the other. */
const twoPools = play(async (stage) => {
  stage.makePool("main", { replicas: 2, nodeIds: { start: 1, end: 9 } });
  stage.makePool("other", { replicas: 1, nodeIds: { start: 9, end: 19 } });
  await isFine(stage);
  await stage.settled("other", "Blocked");
  stage.edit("other", { nodeIds: { start: 10, end: 19 } });
  await stage.settled("other", "AsSpecified");
  stage.makeTopics(2, [1, 2, 10]);
  stage.editCluster({ image: "millrace:2" });
  await stage.sleep(30_000);
  stage.assertNothingMoved();
  stage.runImage("millrace:2");
  await stage.until(() => [1, 2, 10].every((id) => stage.imageOf(id) === "millrace:2"));
  await isFine(stage);
  await stage.settled("other", "AsSpecified");
});

/** A pool without its Cluster waits; a Cluster that is paused gets no broker. */
const paused = play(async (stage) => {
  stage.makePool("lost", { clusterRef: { name: "later" } });
  stage.editCluster({ paused: true });
  stage.makePool("main", { replicas: 1, nodeIds: { start: 5, end: 6 } });
  await stage.settled("lost", "ClusterNotFound");
  await stage.settled("main", "Paused");
  await stage.sleep(60_000);
  assert.equal(stage.pod(5), undefined);
  stage.editCluster({ paused: false });
  await isFine(stage);
  stage.editCluster({ paused: true });
  await stage.settled("main", "Paused");
  // What was on its way has ended.
  await stage.sleep(60_000);
  stage.endPod(5);
  await stage.sleep(60_000);
  assert.equal(stage.pod(5)?.status?.phase, "Failed");
  stage.editCluster({ paused: false });
  await stage.until(() => stage.imageOf(5) !== undefined && !hasEnded(stage.pod(5)));
  await isFine(stage);
  // Two numbers are not enough for three brokers, of which one has gone.
  stage.makeTopics(1, [5]);
  stage.edit("main", { replicas: 2 });
  await isFine(stage);
  stage.edit("main", { replicas: 1 });
  await isFine(stage);
  stage.edit("main", { replicas: 2 });
  await stage.settled("main", "Blocked");
  stage.edit("main", { nodeIds: { start: 5, end: 9 } });
  await isFine(stage);
});

/** A Cluster is deleted, which stops its brokers and keeps their volumes, and made anew. */
const clusterGone = play(async (stage) => {
  stage.makePool("main", { replicas: 2 });
  await isFine(stage);
  const claims = [0, 1].map((id) => stage.claim(id)?.metadata.uid);
  stage.server.delete(resourceTypes.Cluster, keyIn("events"), {});
  await stage.until(() => [0, 1].every((id) => stage.pod(id) === undefined));
  await stage.settled("main", "ClusterNotFound");
  stage.makeCluster();
  await isFine(stage);
  assert.deepEqual(
    [0, 1].map((id) => stage.claim(id)?.metadata.uid),
    claims,
  );
});

/** The cluster does not answer for a moment: nobody is told. */
const outage = play(async (stage) => {
  stage.makePool("main", { replicas: 1 });
  await isFine(stage);
  await stage.sleep(10_000);
  const readySince = () => conditionOf(stage.broker(0), "Ready")?.lastTransitionTime;
  const before = readySince();
  await stage.unanswered(400, () => stage.touchBroker(0));
  await stage.sleep(20_000);
  assert.equal(readySince(), before);
});

export const plays = {
  ...{ growing: growing(3, 5), growingSmall: growing(1, 2) },
  ...{
    shrinking,
    shrinkingSmall,
    calledBack,
    blocked,
    killed,
    diskLost,
    returning,
    twoPools,
    paused,
    clusterGone,
    outage,
  },
} as const;

export type Play = keyof typeof plays;
