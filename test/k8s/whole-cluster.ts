/** A whole cluster, for the tests that need one. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { kubernetesPrograms } from "../../tools/k8s/build.ts";
import { clusterDirectory } from "../../tools/k8s/cluster.ts";
import { lookAtMachine, whyNoCluster } from "../../tools/k8s/machine.ts";
import { readState } from "../../tools/k8s/state.ts";

const isTaken = readState(clusterDirectory) !== undefined;

/** Why there can be none, or undefined. */
export const skipReason = isTaken
  ? "a cluster runs already: end it with `npm run k8s:down`"
  : whyNoCluster(lookAtMachine());

export const script = async (name: "down" | "up", ...args: readonly string[]): Promise<string> => {
  const path = fileURLToPath(new URL(`../../tools/k8s/${name}.ts`, import.meta.url));
  const run = promisify(execFile);
  return (await run(process.execPath, [path, ...args], { timeout: 180_000 })).stdout;
};

export const kubectl = async (...args: readonly string[]): Promise<string> => {
  const config = ["--kubeconfig", `${clusterDirectory}/kubeconfig`];
  const { kubectl: program } = kubernetesPrograms(["kubectl"]);
  const run = promisify(execFile);
  return (await run(program, [...config, ...args], { timeout: 90_000 })).stdout;
};

/** Does something while a cluster runs, and ends it however that ends. */
export const withCluster = async (work: () => Promise<void>): Promise<void> => {
  try {
    await script("up");
    await work();
  } finally {
    await script("down");
  }
};
