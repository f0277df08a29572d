/**
 * `npm run test:k8s`: the tests that need a real API server of Kubernetes. `npm run test:k8s --
 * PATTERN…` runs only the test files whose path contains one of the patterns.
 */
import { fileURLToPath } from "node:url";
import { runTests } from "../run-tests.ts";
import { filesOf } from "../tiers.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
runTests(root, filesOf(root, "test:k8s"), process.argv.slice(2));
