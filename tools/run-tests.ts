/** Runs test files, for the tiers. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

/**
 * Runs those of the files whose path contains one of the patterns, or all without patterns, and
 * ends this process with their outcome.
 */
export const runTests = (
  root: string,
  files: readonly string[],
  patterns: readonly string[],
  /** 1 where files share what there is once. */
  concurrency: 1 | 2 = 2,
): never => {
  const chosen = files
    .filter((file) => patterns.length === 0 || patterns.some((pattern) => file.includes(pattern)))
    .sort();
  if (chosen.length === 0) {
    console.error("no test file matches");
    process.exit(1);
  }
  const options = [
    `--test-concurrency=${concurrency}`,
    "--test-timeout=300000",
    "--test-reporter=spec",
  ];
  const done = spawnSync(process.execPath, ["--test", ...options, ...chosen], {
    cwd: root,
    stdio: "inherit",
    // Each file is a process of its own: sources that they share are compiled once.
    env: { NODE_COMPILE_CACHE: join(root, ".cache", "compile"), ...process.env },
  });
  process.exit(done.status ?? 1);
};
