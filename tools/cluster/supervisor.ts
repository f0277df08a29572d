/** Starts a cluster, keeps it up, and does what it is told. */
import { mkdirSync } from "node:fs";
import type { Server } from "node:net";
import { connect } from "@millrace/client";
import { type Command, serveControl } from "./control.ts";
import type { Process } from "./layout.ts";
import { Managed } from "./managed.ts";
import { type ClusterFile, rememberedId, writeClusterFile } from "./state.ts";

/** Longest wait until everything is ready, ms. */
const readyMs = 120_000;
const askMs = 100;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class Supervisor {
  readonly #directory: string;
  readonly #processes: readonly Managed[];
  #control: Server | undefined;
  #clusterId: string;
  #isStopping = false;

  /** Of these processes, with its files in this directory. */
  constructor(directory: string, processes: readonly Process[]) {
    this.#directory = directory;
    this.#clusterId = rememberedId(directory);
    const onChange = (): void => writeClusterFile(this.#directory, this.cluster);
    this.#processes = processes.map((one) => {
      // No controller makes a second cluster, also when etcd has lost the first one.
      const moreArgs = (): readonly string[] =>
        one.role === "etcd" || this.#clusterId === "" ? [] : ["--cluster-id", this.#clusterId];
      return new Managed({ ...one, onChange, moreArgs });
    });
  }

  /** What `cluster.json` says. */
  get cluster(): ClusterFile {
    const processes = this.#processes.map(({ entry }) => entry);
    const bootstrap = processes
      .filter(({ role }) => role === "broker")
      .map(({ endpoints }) => endpoints["client"])
      .join(",");
    return { cluster_id: this.#clusterId, bootstrap, processes };
  }

  /**
   * Starts everything, each kind once the one before is ready. Rejects when one does not start;
   * resolves with false when the cluster was stopped meanwhile.
   */
  async start(): Promise<boolean> {
    mkdirSync(this.#directory, { recursive: true });
    this.#control = await serveControl(this.#directory, (command) => this.act(command));
    const endMs = Date.now() + readyMs;
    for (const role of ["etcd", "controller", "broker", "group-coordinator"] as const) {
      const ofRole = this.#processes.filter(({ options }) => options.role === role);
      for (const one of ofRole) one.start();
      for (const one of ofRole) await this.#untilRunning(one, endMs);
    }
    if (this.#isStopping) return false;
    const clusterId = await clusterIdOf(this.cluster.bootstrap);
    if (clusterId !== "") this.#clusterId = clusterId;
    writeClusterFile(this.#directory, this.cluster);
    return !this.#isStopping;
  }

  /** Rejects with a text for people. */
  async act({ action, name }: Command): Promise<void> {
    const one = this.#processes.find(({ options }) => options.name === name);
    if (one === undefined) {
      const known = this.#processes.map(({ options }) => options.name).join(", ");
      throw new Error(`there is no process ${name}: use one of ${known}`);
    }
    if (this.#isStopping) throw new Error("the cluster stops");
    await one[action]();
  }

  /** Stops everything, cleanly, those first that stand on others. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    for (const role of ["group-coordinator", "broker", "controller", "etcd"] as const) {
      const ofRole = this.#processes.filter(({ options }) => options.role === role);
      await Promise.all(ofRole.map((one) => one.close()));
    }
    await new Promise((resolve) => this.#control?.close(resolve) ?? resolve(undefined));
  }

  async #untilRunning(one: Managed, endMs: number): Promise<void> {
    while (one.state !== "running") {
      const { logFile, name } = one.options;
      if (one.state === "stopped") return;
      if (one.state === "restarting") throw new Error(`${name} ended: look into ${logFile}`);
      if (Date.now() > endMs) {
        throw new Error(`${name} is not ready after ${readyMs / 1000} s: look into ${logFile}`);
      }
      await sleep(askMs);
    }
  }
}

/** Empty where no broker tells it. */
const clusterIdOf = async (bootstrap: string): Promise<string> => {
  if (bootstrap === "") return "";
  const client = await connect({ bootstrap: bootstrap.split(",") });
  try {
    return (await client.admin.cluster()).clusterId;
  } catch {
    return "";
  } finally {
    await client.close();
  }
};
