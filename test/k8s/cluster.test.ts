/** A whole cluster on this machine, and that nothing of it stays. */
import assert from "node:assert/strict";
import { Resolver } from "node:dns/promises";
import { before, test } from "node:test";
import { clusterDirectory, prepareCluster } from "../../tools/k8s/cluster.ts";
import { dnsAddress, nodeName, pauseImage } from "../../tools/k8s/node-config.ts";
import { readState } from "../../tools/k8s/state.ts";
import { snapshotOf } from "./machine-snapshot.ts";
import { kubectl, script, skipReason } from "./whole-cluster.ts";

const options = { skip: skipReason ?? false, timeout: 280_000 };

before(() => {
  if (skipReason === undefined) prepareCluster();
});

const runPod = async (name: string): Promise<void> => {
  await kubectl("run", name, `--image=${pauseImage}`, "--image-pull-policy=Never");
  await kubectl("wait", "--for=condition=Ready", `pod/${name}`, "--timeout=60s");
};

test("a cluster runs pods and answers names, and leaves nothing", options, async () => {
  const snapshot = snapshotOf(clusterDirectory);
  try {
    assert.match(await script("up"), /^export KUBECONFIG=\/\S+\n\S+kubectl get nodes/);
    const path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
    assert.equal(await kubectl("get", "node", nodeName, "-o", path), "True");
    await runPod("one");
    // The comparison in the end sees whatever a cluster makes.
    const running = snapshotOf(clusterDirectory);
    for (const [name, was] of Object.entries(snapshot)) {
      const now = Object.entries(running).find(([other]) => other === name)?.[1];
      assert.notDeepEqual(now, was, name);
    }
    const phase = await kubectl("get", "pod", "one", "-o", "jsonpath={.status.phase}");
    assert.equal(phase, "Running");
    const service = await kubectl("get", "service", "-n", "kube-system", "kube-dns");
    assert.ok(service.includes(dnsAddress));
    // By way of kube-proxy and coredns.
    const resolver = new Resolver({ timeout: 2000, tries: 10 });
    resolver.setServers([dnsAddress]);
    const api = await resolver.resolve4("kubernetes.default.svc.cluster.local");
    assert.deepEqual(api, ["10.96.0.1"]);
    await assert.rejects(script("up"), /has a cluster already: end it with/);
  } finally {
    await script("down");
  }
  assert.deepEqual(snapshotOf(clusterDirectory), snapshot);
});

test("a cluster whose processes were killed leaves nothing either", options, async () => {
  const snapshot = snapshotOf(clusterDirectory);
  try {
    await script("up");
    await runPod("one");
    for (const { name, pid } of readState(clusterDirectory)?.processes ?? []) {
      if (name !== "etcd") process.kill(pid, "SIGKILL");
    }
  } finally {
    await script("down");
  }
  assert.deepEqual(snapshotOf(clusterDirectory), snapshot);
});
