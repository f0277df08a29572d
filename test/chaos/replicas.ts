/** What brokers have on their disks once they are stopped: the same, and nothing damaged. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Violation } from "./checker.ts";

const cli = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));

/** Of all records of a partition, wherever its segments begin. */
const hashOf = (directory: string): string => {
  const hash = createHash("sha256");
  let bytes = 0;
  for (const name of readdirSync(directory)
    .filter((one) => one.endsWith(".log"))
    .sort()) {
    const content = readFileSync(join(directory, name));
    bytes += content.length;
    hash.update(content);
  }
  return `${bytes} bytes, ${hash.digest("hex").slice(0, 12)}`;
};

/** Hashes by the names of partitions. */
const replicasOf = (dataDirectory: string): Map<string, string> => {
  const partitions = join(dataDirectory, "partitions");
  return new Map(readdirSync(partitions).map((name) => [name, hashOf(join(partitions, name))]));
};

const damagesOf = (dataDirectory: string): Violation[] => {
  const args = [cli, "log", "verify", dataDirectory];
  const { status, stderr, stdout } = spawnSync(process.execPath, args, { encoding: "utf8" });
  const text = `log verify ${dataDirectory}: exit ${status}: ${stdout}${stderr}`;
  return status === 0 ? [] : [{ promise: "replica", text }];
};

/** A violation for each partition that is not the same everywhere. */
export const differencesOf = (dataDirectories: readonly string[]): Violation[] => {
  const all = dataDirectories.map(replicasOf);
  const names = new Set(all.flatMap((one) => [...one.keys()]));
  return [...names].flatMap((name): Violation[] => {
    const found = all.map((one) => one.get(name) ?? "nothing");
    const text = `partition ${name} differs: ${found.join("; ")}`;
    return new Set(found).size === 1 ? [] : [{ promise: "replica", text }];
  });
};

/** Data directories of brokers that are stopped, and were in sync before. */
export const checkReplicas = (dataDirectories: readonly string[]): Violation[] => [
  ...differencesOf(dataDirectories),
  ...dataDirectories.flatMap(damagesOf),
];
