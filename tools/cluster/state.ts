/** `cluster.json`: what runs, and where. Scripts that break things on purpose rely on it. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export type Role = "broker" | "controller" | "group-coordinator" | "etcd";

/**
 * `starting`: not ready yet. `restarting`: it died, and is started again after a second. `paused`:
 * stopped by SIGSTOP. `stopped`: kept down until it is started by hand.
 */
export type ProcessState = "starting" | "running" | "paused" | "restarting" | "stopped";

export interface ProcessEntry {
  readonly name: string;
  readonly role: Role;
  readonly id: number;
  /** Absent while there is no process. */
  readonly pid?: number;
  readonly state: ProcessState;
  readonly endpoints: Readonly<Record<string, string>>;
  readonly data_dir: string;
  readonly log: string;
}

export interface ClusterFile {
  /** Empty until the first controller has made it. */
  readonly cluster_id: string;
  /** Addresses of the brokers for clients, joined by commas. */
  readonly bootstrap: string;
  readonly processes: readonly ProcessEntry[];
}

const pathIn = (directory: string): string => join(directory, "cluster.json");

/** Replaces the file as a whole: a reader sees the old one or the new one. */
export const writeClusterFile = (directory: string, content: ClusterFile): void => {
  const path = pathIn(directory);
  writeFileSync(`${path}.new`, `${JSON.stringify(content, undefined, 1)}\n`);
  renameSync(`${path}.new`, path);
};

/** The cluster that was in the directory before; empty for a new one. */
export const rememberedId = (directory: string): string => {
  try {
    return readClusterFile(directory).cluster_id;
  } catch {
    return "";
  }
};

/** Throws where there is none. */
export const readClusterFile = (directory: string): ClusterFile =>
  JSON.parse(readFileSync(pathIn(directory), "utf8")) as ClusterFile;
