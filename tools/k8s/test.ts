/**
 * `npm run test:k8s`: the tests that need a real API server of Kubernetes. Builds it first where it
 * is missing, which takes ten minutes once; without Go they are skipped by name. `npm run test:k8s
 * -- PATTERN…` runs only the test files whose path contains one of the patterns.
 */
import { fileURLToPath } from "node:url";
import { etcdPrograms } from "../etcd/build.ts";
import { goVersion } from "../go-programs.ts";
import { runTests } from "../run-tests.ts";
import { filesOf } from "../tiers.ts";
import { kubernetesPrograms } from "./build.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
if (goVersion() !== undefined) {
  etcdPrograms();
  kubernetesPrograms(["kube-apiserver", "kubectl"]);
}
runTests(root, filesOf(root, "test:k8s"), process.argv.slice(2));
