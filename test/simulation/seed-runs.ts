/** What the tests of seeds run in a thread of its own. */
import { bugs } from "@millrace/log";
import { type RunReport, run } from "./run.ts";
import { type ClusterOptions, runCluster } from "./run-cluster.ts";

/** A run of one server. */
export const runSeed = async (seed: number): Promise<RunReport> => await run(seed);

/** A run of one server, and its trace. */
export const traceSeed = async (
  seed: number,
): Promise<{ readonly report: RunReport; readonly lines: readonly string[] }> => {
  const lines: string[] = [];
  const report = await run(seed, (line) => lines.push(line));
  return { report, lines };
};

/** A run of a cluster. */
export const runClusterSeed = async (
  seed: number,
  options: Omit<ClusterOptions, "onTrace">,
): Promise<RunReport> => await runCluster(seed, options);

/** What the first of so many seeds says with a batch that is acknowledged before its fsync. */
export const firstFailure = async (seeds: number): Promise<string | undefined> => {
  bugs.ackBeforeFsync = true;
  try {
    for (let seed = 1; seed <= seeds; seed += 1) {
      const failure = await run(seed).then(
        () => undefined,
        (thrown: unknown) => String(thrown),
      );
      if (failure !== undefined) return failure;
    }
    return undefined;
  } finally {
    bugs.ackBeforeFsync = false;
  }
};
