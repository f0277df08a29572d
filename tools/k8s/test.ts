/**
 * `npm run test:k8s`: the tests that need a real API server of Kubernetes, or a whole cluster.
 * Builds what they need first where it is missing, which takes ten minutes and more, once; what
 * cannot run here is skipped by name. `npm run test:k8s -- PATTERN…` runs only the test files whose
 * path contains one of the patterns.
 */
import { fileURLToPath } from "node:url";
import { etcdPrograms } from "../etcd/build.ts";
import { runTests } from "../run-tests.ts";
import { filesOf } from "../tiers.ts";
import { kubernetesPrograms, whyNot } from "./build.ts";
import { prepareCluster } from "./cluster.ts";
import { lookAtMachine, whyNoCluster } from "./machine.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const ofApiServer = ["kube-apiserver", "kubectl"] as const;
if (whyNot(ofApiServer) === undefined) {
  etcdPrograms();
  kubernetesPrograms(ofApiServer);
}
if (whyNoCluster(lookAtMachine()) === undefined) prepareCluster();
runTests(root, filesOf(root, "test:k8s"), process.argv.slice(2), 1);
