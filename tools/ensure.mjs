// Installs exactly what the lock file says when it is not there yet. Plain JavaScript for the machine's
// own Node (20 or newer); everything after it runs on the Node 26 that this installs.
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const installed = join(root, "node_modules", ".package-lock.json");
const lock = join(root, "package-lock.json");

const major = Number(process.versions.node.split(".")[0]);
if (major < 20) {
  console.error(
    `error: Node ${process.versions.node} can not run npm here: install Node 20 or newer`,
  );
  process.exit(1);
}
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(lock).mtimeMs) {
  console.error("Installing dependencies (once)…");
  // npm sets npm_config_* for its children; without them this is a plain `npm ci`. With a pipe as
  // stdout npm's report would mix with the program's output, so it goes to stderr.
  const done = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  if (done.status !== 0) process.exit(done.status ?? 1);
}
