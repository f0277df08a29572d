/**
 * `npm run k8s:up`: Kubernetes on this machine, from programs that are built once. Ended by
 * `npm run k8s:down`.
 */
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { commandLine } from "../command-line.ts";
import { kubernetesPrograms, whyNot } from "./build.ts";
import { clusterDirectory, prepareCluster, startApiServerAlone, startCluster } from "./cluster.ts";
import { lookAtMachine, whyNoCluster } from "./machine.ts";
import { readState } from "./state.ts";

const usage = `npm run k8s:up [-- [--api-only] [--dir D]]

Starts a cluster of one node: etcd, the API server, the controller manager, the scheduler,
containerd, kubelet, kube-proxy and coredns. Needs Linux, root and Go.

  --api-only  etcd and the API server alone, on loopback; needs neither Linux nor root
  --dir D     a directory that is missing or empty, for everything it writes;
              ${clusterDirectory}, or .cache/k8s with --api-only`;

const options = commandLine(usage, {
  "api-only": { type: "boolean", default: false },
  dir: { type: "string" },
});

const isAlone = options["api-only"];
const root = fileURLToPath(new URL("../..", import.meta.url));
const directory = resolve(
  options.dir ?? (isAlone ? join(root, ".cache", "k8s") : clusterDirectory),
);

if (readState(directory) !== undefined) {
  console.error(`error: ${directory} has a cluster already: end it with \`npm run k8s:down\``);
  process.exit(1);
}
const reason = isAlone ? whyNot(["kube-apiserver", "kubectl"]) : whyNoCluster(lookAtMachine());
if (reason !== undefined) {
  console.error(`skipped: k8s:up${isAlone ? " --api-only" : ""}: ${reason}`);
  process.exit(1);
}

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => stop.abort(new Error(`given up on ${signal}`)));
}

try {
  if (!isAlone) prepareCluster();
  const begun = performance.now();
  const tell = (what: string): void => {
    console.error(`${((performance.now() - begun) / 1000).toFixed(1)} s: ${what}`);
  };
  const start = isAlone ? startApiServerAlone : startCluster;
  const { kubeconfig } = await start({ directory, signal: stop.signal, tell });
  const { kubectl } = kubernetesPrograms(["kubectl"]);
  console.log(`export KUBECONFIG=${kubeconfig}`);
  console.log(`${kubectl} get ${isAlone ? "namespaces" : "nodes,pods,services -A"}`);
  const where = options.dir === undefined ? "" : ` -- --dir ${directory}`;
  console.error(`Logs are in ${join(directory, "logs")}. To end it: npm run k8s:down${where}`);
} catch (thrown) {
  console.error(`error: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  process.exit(1);
}
