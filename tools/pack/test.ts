/**
 * `npm run test:packs`: packs what people outside install, and tries it as they do.
 * `npm run test:packs -- PATTERN…` runs only the test files whose path contains one of the
 * patterns.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { runTests } from "../run-tests.ts";
import { filesOf } from "../tiers.ts";
import { compilers, nodes, others, tooOldNode } from "./runtimes.ts";
import { root } from "./workspace.ts";

const pack = fileURLToPath(new URL("main.ts", import.meta.url));
const done = spawnSync(process.execPath, [pack, "--pack"], { cwd: root, stdio: "inherit" });
if (done.status !== 0) process.exit(done.status ?? 1);
// Before the test files, which run beside each other.
await Promise.all([nodes(), tooOldNode(), others(), compilers()]);
runTests(root, filesOf(root, "test:packs"), process.argv.slice(2));
