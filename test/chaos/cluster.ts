/** The cluster of a run: its processes, and what an administrator sees of it. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Client, connect, formatEndpoint, MillraceError } from "@millrace/client";
import { groupStateTopic } from "@millrace/metadata";
import type { Action } from "../../tools/cluster/control.ts";
import { processesOf } from "../../tools/cluster/layout.ts";
import type { ProcessEntry, Role } from "../../tools/cluster/state.ts";
import { Supervisor } from "../../tools/cluster/supervisor.ts";
import { etcdPrograms } from "../../tools/etcd/build.ts";
import { mountDisk, unmountDisk } from "./disks.ts";
import type { Leader } from "./history.ts";
import { Network } from "./network.ts";

export const topic = "chaos";
export const partitionCount = 4;
const replicationFactor = 3;

const root = fileURLToPath(new URL("../..", import.meta.url));
/** Below the ports that the operating system gives to connections; another for each run. */
const basePort = 12_000 + (process.pid % 20) * 400;
/** Deadline of an administrator's call: several fit between two faults. ms */
const adminTimeoutMs = 2000;
const pollMs = 200;

/** What a partition is like, without a time. */
export type PartitionState = Omit<Leader, "t">;

/** Whether a partition has a leader and all its replicas in sync. */
export const isWhole = ({ isr, leader }: PartitionState): boolean =>
  leader >= 0 && isr.length === replicationFactor;

/** Segments may be as small as 1/128 of a journal file. */
const smallJournal = ["--journal-file-bytes", "16MiB", "--journal-bytes-max", "64MiB"];

export class ChaosCluster {
  readonly directory: string;
  readonly #supervisor: Supervisor;
  readonly #hasDisks: boolean;
  /** Absent where all processes share this machine's. */
  readonly network: Network | undefined;
  #admin: Client | undefined;
  /** Why the administrator's last question had no answer, or empty. */
  failure = "";

  /**
   * `network` and `disks`: of its own, inside of a laboratory. `groupCoordinators`: how many of
   * them there are.
   */
  constructor(
    directory: string,
    own: { readonly network: boolean; readonly disks: boolean },
    groupCoordinators = 0,
  ) {
    this.directory = directory;
    this.#hasDisks = own.disks;
    const sizes = { brokers: 3, controllers: 3, groupCoordinators, etcd: 1, basePort };
    const layout = { ...sizes, etcdEndpoints: [], root, directory, etcdPrograms: etcdPrograms() };
    const names = processesOf(layout).map(({ name }) => name);
    const network = own.network ? new Network(names) : undefined;
    const places = network && { placeOf: (name: string) => network.placeOf(name) };
    if (own.disks) {
      for (const name of names.filter((one) => one.startsWith("broker"))) {
        mountDisk(join(directory, name));
      }
    }
    this.network = network;
    const processes = processesOf({ ...layout, ...places }).map((process) =>
      process.role === "broker"
        ? { ...process, args: [...process.args, ...smallJournal] }
        : process,
    );
    this.#supervisor = new Supervisor(directory, processes);
  }

  /** Starts everything and creates the topic. Resolves with false after `stop`. */
  async start(): Promise<boolean> {
    if (!(await this.#supervisor.start())) return false;
    this.#admin = await this.connect();
    // Small segments, so that a run has many.
    const configs = { "min.insync.replicas": "2", "segment.bytes": "128KiB" };
    await this.#admin.admin.createTopic({
      ...{ name: topic, partitions: partitionCount },
      ...{ configs, replicationFactor },
    });
    return true;
  }

  /** Ends the disks of its own; their images stay. Call it once nothing is read any more. */
  unmount(): void {
    if (this.#hasDisks) for (const directory of this.brokerDirectories) unmountDisk(directory);
  }

  async stop(): Promise<void> {
    await this.#admin?.close();
    await this.#supervisor.stop();
  }

  connect(): Promise<Client> {
    return connect({ bootstrap: this.bootstrap, adminTimeoutMs });
  }

  get bootstrap(): string[] {
    return this.#supervisor.cluster.bootstrap.split(",");
  }

  get processes(): readonly ProcessEntry[] {
    return this.#supervisor.cluster.processes;
  }

  namesOf(role: Role): string[] {
    return this.processes.filter((one) => one.role === role).map(({ name }) => name);
  }

  directoryOf(name: string): string {
    return this.#process(name).data_dir;
  }

  get etcd(): ProcessEntry {
    return this.#process("etcd-0");
  }

  get brokerDirectories(): string[] {
    return this.processes.flatMap((one) => (one.role === "broker" ? one.data_dir : []));
  }

  /** Sets configs of the topic. */
  async alterTopic(set: Readonly<Record<string, string>>): Promise<void> {
    await this.#admin?.admin.alterConfigs({ topic, set });
  }

  act(action: Action, name: string): Promise<void> {
    return this.#supervisor.act({ action, name });
  }

  /** SIGKILL, and it stays down until it is started. */
  async killForNow(name: string): Promise<void> {
    if (this.isUp(name)) await this.act("kill", name);
    await this.act("stop", name);
  }

  /** Whether there is a process of this name, be it ready or not. */
  isUp(name: string): boolean {
    return this.processes.some((one) => one.name === name && one.pid !== undefined);
  }

  /** All partitions, or undefined while no controller answers. */
  async partitions(): Promise<PartitionState[] | undefined> {
    return (await this.#described([topic]))?.[0];
  }

  /** Partitions of topics, as far as there are such topics. */
  async #described(names: readonly string[]): Promise<PartitionState[][] | undefined> {
    try {
      const found = (await this.#admin?.admin.describeTopics({ names: [...names] })) ?? [];
      this.failure = "";
      return found.map(({ partitions }) =>
        partitions.map(({ isr, leader = -1, leaderEpoch: epoch, partition }) => ({
          ...{ kind: "leader", partition, leader, epoch, isr: isr.toSorted() },
        })),
      );
    } catch (thrown) {
      const { codeName, message } = MillraceError.from(thrown);
      this.failure = `${codeName}: ${message}`;
      return undefined;
    }
  }

  /** Name of the active controller, as far as brokers know. */
  async activeController(): Promise<string | undefined> {
    try {
      const found = await this.#admin?.admin.cluster();
      if (found === undefined) return undefined;
      const address = formatEndpoint(found.controller);
      return this.processes.find(({ endpoints }) => endpoints["client"] === address)?.name;
    } catch {
      return undefined;
    }
  }

  /**
   * Resolves with undefined once every process runs and every partition is whole, otherwise after
   * `ms` with what is missing.
   */
  async untilWhole(ms: number): Promise<string | undefined> {
    const endMs = performance.now() + ms;
    for (;;) {
      const down = this.processes.filter(({ state }) => state !== "running");
      const states = down.length === 0 ? await this.#everyPartition() : [];
      if (down.length === 0 && states?.every(isWhole)) return undefined;
      if (performance.now() > endMs) {
        const names = down.map(({ name, state }) => `${name} is ${state}`);
        const broken = states?.filter((one) => !isWhole(one)) ?? [
          `no controller answers: ${this.failure}`,
        ];
        return [...names, ...broken.map((one) => JSON.stringify(one))].join(", ");
      }
      await sleep(pollMs);
    }
  }

  /** Those of the run, and those in which groups are kept, where there are some. */
  async #everyPartition(): Promise<PartitionState[] | undefined> {
    const hasGroups = this.namesOf("group-coordinator").length > 0;
    const names = hasGroups ? [topic, groupStateTopic] : [topic];
    return (await this.#described(names))?.flat();
  }

  #process(name: string): ProcessEntry {
    const found = this.processes.find((one) => one.name === name);
    if (found === undefined) throw new RangeError(`there is no process ${name}`);
    return found;
  }
}
