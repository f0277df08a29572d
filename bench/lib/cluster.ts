/** Our cluster as `npm run cluster` lays it out, with the flags that brokers run with. */
import { mkdirSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { create } from "@bufbuild/protobuf";
import { type Client, connect, formatEndpoint } from "@millrace/client";
import { MillraceError } from "@millrace/errors";
import { GetMetadataRequestSchema, MetadataService } from "@millrace/proto/metadata";
import { methodOf } from "@millrace/rpc";
import { grpcDialer } from "@millrace/rpc/grpc";
import type { Action } from "../../tools/cluster/control.ts";
import { type Process, processesOf } from "../../tools/cluster/layout.ts";
import type { ProcessEntry, Role } from "../../tools/cluster/state.ts";
import { Supervisor } from "../../tools/cluster/supervisor.ts";
import { etcdPrograms } from "../../tools/etcd/build.ts";
import { startVariables } from "../../tools/start-command.ts";
import { type Flags, runLoad, type Target, verifyLog } from "./load.ts";
import { rssMiB } from "./processes.ts";
import type { Sample } from "./report.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const brokers = 3;
const replicationFactor = 3;
const adminTimeoutMs = 60_000;
const pollMs = 100;
/** A broker takes some hundredths of a second to tell of 10,000 partitions. */
const routesPollMs = 250;
const getMetadata = methodOf(MetadataService.method.getMetadata);
/** Longest wait for a partition to be led and in sync everywhere, ms. */
export const wholeMs = 60_000;
/** Ten thousand logs are closed with an fsync each, by three brokers on one disk. ms */
const stopMs = 120_000;
/** Longest time of a load, ms. */
const loadTimeoutMs = 120_000;

export interface ClusterOptions {
  readonly directory: string;
  /** Port of the first broker. A cluster takes those up to 400 above. */
  readonly basePort: number;
  /** Processes for consumer groups (0). */
  readonly groupCoordinators?: number;
}

/** A partition as the active controller tells it; `leader` is -1 where there is none. */
export interface PartitionState {
  readonly topic: string;
  readonly partition: number;
  readonly leader: number;
  readonly isr: readonly number[];
}

/** Node with the environment of `npm start`. `env` becomes Node: one process. */
const asStarted = (process: Process): Process => {
  if (process.role === "etcd") return { ...process, stopMs };
  const variables = Object.entries(startVariables()).map(([name, value]) => `${name}=${value}`);
  const args = [...variables, process.command, ...process.args];
  return { ...process, stopMs, command: "env", args };
};

const running = new Set<MillraceCluster>();

/** Ends the processes of every cluster at once. */
export const killClusters = async (): Promise<void> => {
  await Promise.all([...running].map((cluster) => cluster.kill()));
};

export class MillraceCluster {
  readonly #directory: string;
  readonly #processes: readonly Process[];
  #supervisor: Supervisor;
  #client: Client | undefined;

  constructor({ directory, basePort, groupCoordinators = 0 }: ClusterOptions) {
    this.#directory = directory;
    const sizes = { brokers, controllers: 3, groupCoordinators, etcd: 1, etcdEndpoints: [] };
    const layout = { ...sizes, basePort, root, directory, etcdPrograms: etcdPrograms() };
    this.#processes = processesOf(layout).map(asStarted);
    this.#supervisor = new Supervisor(directory, this.#processes);
  }

  /** Starts everything; also after a stop. */
  async start(): Promise<void> {
    mkdirSync(this.#directory, { recursive: true });
    running.add(this);
    this.#supervisor = new Supervisor(this.#directory, this.#processes);
    if (!(await this.#supervisor.start())) throw new Error("the cluster was stopped");
    this.#client = await this.connect();
  }

  /** A clean stop. Throws when a process may have been killed. */
  async stop(): Promise<void> {
    const startedMs = performance.now();
    await this.#client?.close();
    await this.#supervisor.stop();
    running.delete(this);
    if (performance.now() - startedMs < stopMs) return;
    throw new Error(`the cluster did not stop in ${stopMs / 1000} s: look into its logs`);
  }

  /** A new client. Servers end connections that were idle for ten minutes. */
  async reconnect(): Promise<void> {
    await this.#client?.close();
    this.#client = await this.connect();
  }

  async kill(): Promise<void> {
    for (const { pid } of this.processes) if (pid !== undefined) process.kill(pid, "SIGKILL");
    await this.stop();
  }

  /** Of a client with its defaults. */
  connect(): Promise<Client> {
    return connect({ bootstrap: this.endpoint.split(","), adminTimeoutMs });
  }

  get client(): Client {
    if (this.#client === undefined) throw new Error("the cluster is not started");
    return this.#client;
  }

  /** Brokers for clients, joined by commas. */
  get endpoint(): string {
    return this.#supervisor.cluster.bootstrap;
  }

  get processes(): readonly ProcessEntry[] {
    return this.#supervisor.cluster.processes;
  }

  get target(): Target {
    return { endpoint: this.endpoint, pids: this.processes.flatMap(({ pid }) => pid ?? []) };
  }

  act(action: Action, name: string): Promise<void> {
    return this.#supervisor.act({ action, name });
  }

  /** Memory of each process of a role, MiB. */
  rssMiB(role: Role): number[] {
    return this.processes.flatMap((one) =>
      one.role === role && one.pid !== undefined ? rssMiB(one.pid) : [],
    );
  }

  /** With three replicas, of which two must be in sync. */
  async create(name: string, partitions: number): Promise<void> {
    const configs = { "min.insync.replicas": "2", "file.delete.delay.ms": "100" };
    await this.client.admin.createTopic({ name, partitions, replicationFactor, configs });
  }

  /** Creates a topic, and waits until all of it is served. */
  async topic(name: string, partitionCount: number): Promise<void> {
    await this.create(name, partitionCount);
    await this.acknowledged([name], partitionCount);
  }

  /**
   * A record in every partition, on every replica in sync: the metadata has all replicas of a new
   * partition in sync before any broker has a log for it.
   */
  async acknowledged(topics: readonly string[], partitionCount: number): Promise<void> {
    await using client = await this.connect();
    await using producer = client.producer();
    const sends = topics.flatMap((topic) =>
      Array.from({ length: partitionCount }, (_, partition) =>
        producer.send({ topic, partition, value: "x" }),
      ),
    );
    await Promise.all(sends);
  }

  async drop(name: string): Promise<void> {
    await this.client.admin.deleteTopic({ name });
    await sleep(500);
  }

  async partitions(topics: readonly string[]): Promise<PartitionState[]> {
    const found = await this.client.admin.describeTopics({ names: topics });
    return found.flatMap(({ name, partitions }) =>
      partitions.map(({ partition, leader = -1, isr }) => ({
        topic: name,
        partition,
        leader,
        isr,
      })),
    );
  }

  /** Resolves once a question about partitions holds. Rejects after `ms`. */
  async until(
    what: string,
    topics: readonly string[],
    holds: (partitions: readonly PartitionState[]) => boolean,
    ms = wholeMs,
  ): Promise<void> {
    const endMs = performance.now() + ms;
    for (;;) {
      const askedMs = performance.now();
      if (holds(await this.partitions(topics))) return;
      const nowMs = performance.now();
      if (nowMs > endMs) throw new Error(`${what}: not so after ${ms / 1000} s`);
      // Asking about thousands must not be what keeps the cluster busy.
      await sleep(Math.max(pollMs, 4 * (nowMs - askedMs)));
    }
  }

  /**
   * Resolves once a broker tells its clients of such a leader for every partition; -1 is none.
   * Rejects after `ms`.
   */
  async untilLed(
    broker: number,
    topics: readonly string[],
    holds: (leader: number) => boolean,
    ms = wholeMs,
  ): Promise<void> {
    const process = this.processes.find(({ name }) => name === `broker-${broker}`);
    const channel = grpcDialer().dial(process?.endpoints["client"] ?? "");
    const request = create(GetMetadataRequestSchema, { topics: [...topics] });
    const endMs = performance.now() + ms;
    try {
      for (;;) {
        let cause: MillraceError | undefined;
        const told = await channel.unary(getMetadata, request).catch((thrown: unknown) => {
          cause = MillraceError.from(thrown);
          // A broker that has too much to do refuses.
          if (!cause.spec.retriable) throw cause;
        });
        const partitions = told?.topics.flatMap((topic) => topic.partitions) ?? [];
        if (partitions.length > 0 && partitions.every(({ leader = -1 }) => holds(leader))) return;
        if (performance.now() > endMs) {
          throw new Error(`leaders: not so after ${ms / 1000} s`, { cause });
        }
        await sleep(routesPollMs);
      }
    } finally {
      channel.close();
    }
  }

  /** Every process runs, and every partition has a leader and all its replicas in sync. */
  async untilWhole(topics: readonly string[], ms = wholeMs): Promise<void> {
    const runs = () => this.processes.every(({ state }) => state === "running");
    const whole = ({ leader, isr }: PartitionState) =>
      leader >= 0 && isr.length === replicationFactor;
    await this.until("all replicas in sync", topics, (all) => runs() && all.every(whole), ms);
  }

  /** Name of the active controller. */
  async activeController(): Promise<string> {
    const { controller } = await this.client.admin.cluster();
    const address = formatEndpoint(controller);
    const found = this.processes.find(({ endpoints }) => endpoints["client"] === address);
    if (found === undefined) throw new Error(`no controller listens at ${address}`);
    return found.name;
  }

  load(operation: string, flags: Flags): Promise<Sample> {
    return runLoad(operation, { ...flags, "by-leader": 1 }, this.target, loadTimeoutMs);
  }

  /** `millrace log verify` of every broker's data, after a stop. Throws what it found wrong. */
  verify(): string {
    const directories = this.processes.filter(({ role }) => role === "broker");
    return directories.map((one) => `${one.name}: ${verifyLog(one.data_dir)}`).join("; ");
  }

  /** Deletes everything of a stopped cluster. */
  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
