/** `npm run k8s:down`: ends what `npm run k8s:up` has started, and leaves nothing. */
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { commandLine } from "../command-line.ts";
import { clusterDirectory, stopCluster } from "./cluster.ts";

const usage = `npm run k8s:down [-- --dir D]

Ends what \`npm run k8s:up\` has started: processes, pods, mounts, network, and the directory. Brings
back what it has changed of the machine. Packages and built programs stay.

  --dir D  the directory that k8s:up was given; without it, those it takes by itself`;

const { dir } = commandLine(usage, { dir: { type: "string" } });
const root = fileURLToPath(new URL("../..", import.meta.url));
const directories =
  dir === undefined ? [clusterDirectory, join(root, ".cache", "k8s")] : [resolve(dir)];

try {
  let ended = 0;
  for (const directory of directories) {
    if (!(await stopCluster(directory))) continue;
    ended += 1;
    console.log(`ended: ${directory}`);
  }
  if (ended === 0) console.log(`nothing runs in ${directories.join(" or ")}`);
} catch (thrown) {
  const said = thrown instanceof Error ? thrown.message : String(thrown);
  console.error(`error: ${said}\nRun \`npm run k8s:down\` again when that is mended.`);
  process.exit(1);
}
