/**
 * `npm run test:etcd`: the tests that need a real etcd. Builds it first where it is missing;
 * without Go they are skipped by name. `npm run test:etcd -- PATTERN…` runs only the test files
 * whose path contains one of the patterns.
 */
import { fileURLToPath } from "node:url";
import { goVersion } from "../go-programs.ts";
import { runTests } from "../run-tests.ts";
import { filesOf } from "../tiers.ts";
import { etcdPrograms } from "./build.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const patterns = process.argv.slice(2);
if (goVersion() !== undefined) etcdPrograms();
runTests(root, filesOf(root, "test:etcd"), patterns);
