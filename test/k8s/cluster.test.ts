/** A whole cluster on this machine, and that nothing of it stays. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { Resolver } from "node:dns/promises";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { kubernetesPrograms } from "../../tools/k8s/build.ts";
import { clusterDirectory, prepareCluster } from "../../tools/k8s/cluster.ts";
import { lookAtMachine, whyNoCluster } from "../../tools/k8s/machine.ts";
import { dnsAddress, nodeName, pauseImage } from "../../tools/k8s/node-config.ts";
import { readState } from "../../tools/k8s/state.ts";
import { snapshotOf } from "./machine-snapshot.ts";

const isTaken = readState(clusterDirectory) !== undefined;
const reason = isTaken
  ? "a cluster runs already: end it with `npm run k8s:down`"
  : whyNoCluster(lookAtMachine());
const options = { skip: reason ?? false, timeout: 280_000 };

before(() => {
  if (reason === undefined) prepareCluster();
});

const script = async (name: "down" | "up", ...args: readonly string[]): Promise<string> => {
  const path = fileURLToPath(new URL(`../../tools/k8s/${name}.ts`, import.meta.url));
  const run = promisify(execFile);
  return (await run(process.execPath, [path, ...args], { timeout: 180_000 })).stdout;
};

const kubectl = async (...args: readonly string[]): Promise<string> => {
  const config = ["--kubeconfig", `${clusterDirectory}/kubeconfig`];
  const { kubectl: program } = kubernetesPrograms(["kubectl"]);
  const run = promisify(execFile);
  return (await run(program, [...config, ...args], { timeout: 90_000 })).stdout;
};

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
