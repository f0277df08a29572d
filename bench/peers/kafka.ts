/** Kafka, one node or several, and its own measuring tools. */
import { type ChildProcess, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadFlags } from "../lib/load.ts";
import { type Cost, runClient, startServer, until } from "../lib/processes.ts";
import type { Sample } from "../lib/report.ts";
import { parseCleaner, parseEndToEnd, parseProducer } from "./output.ts";

interface Admin {
  connect(): Promise<void>;
  describeCluster(): Promise<{ readonly brokers: readonly object[] }>;
  disconnect(): Promise<void>;
  createTopics(request: object): Promise<boolean>;
  alterConfigs(request: object): Promise<unknown>;
  fetchTopicMetadata(request: object): Promise<{
    readonly topics: readonly { readonly partitions: readonly { readonly leader: number }[] }[];
  }>;
  deleteTopics(request: object): Promise<void>;
}

const basePort = 19092;
/** Three nodes on two busy cores take their time, ms. */
const startTimeoutMs = 180_000;
const host = "127.0.0.1";
/** Controllers listen so many ports above their brokers. */
const controllerOffset = 100;
const simpleLogger = "-Dorg.slf4j.simpleLogger";
const quiet = [`${simpleLogger}.defaultLogLevel=warn`];
const cleaner = "org.apache.kafka.storage.internals.log.LogCleaner$CleanerThread";
/** It tells how long it took. */
const cleanerTells = `${simpleLogger}.log.${cleaner}=info`;
const collector = [
  "-XX:+UseG1GC",
  "-XX:MaxGCPauseMillis=20",
  "-XX:InitiatingHeapOccupancyPercent=35",
];
const best = ["linger.ms=5", "batch.size=131072"];

const indexes = (nodes: number): number[] => Array.from({ length: nodes }, (_, i) => i);

const brokersOf = (nodes: number): string[] => indexes(nodes).map((i) => `${host}:${basePort + i}`);

const controllersOf = (nodes: number): string[] =>
  indexes(nodes).map((i) => `${host}:${basePort + i + controllerOffset}`);

const topicResource = 2;
const entriesOf = (configs: Readonly<Record<string, string>>): object[] =>
  Object.entries(configs).map(([name, value]) => ({ name, value }));

/** Every node is broker and controller. */
const properties = (directory: string, index: number, nodes: number): string =>
  [
    "process.roles=broker,controller",
    `node.id=${index + 1}`,
    `controller.quorum.bootstrap.servers=${controllersOf(nodes)}`,
    `listeners=PLAINTEXT://${brokersOf(nodes)[index]},CONTROLLER://${controllersOf(nodes)[index]}`,
    "controller.listener.names=CONTROLLER",
    `log.dirs=${directory}/data${index}`,
    ...["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"].map(
      (t) => `${t}.replication.factor=${nodes}`,
    ),
    ...["transaction.state.log", "share.coordinator.state.topic"].map(
      (t) => `${t}.min.isr=${minInSync(nodes)}`,
    ),
    "group.initial.rebalance.delay.ms=0",
    "log.segment.delete.delay.ms=100",
    "log.cleaner.backoff.ms=1000",
    "auto.create.topics.enable=false",
    "",
  ].join("\n");

const minInSync = (nodes: number): number => Math.min(2, nodes);

const classPathOf = (root: string): string[] => ["-cp", join(root, "kafka/libs/server/*")];

/** Writes a node's configuration and formats its directory. Gives the configuration's path. */
const format = (root: string, directory: string, index: number, nodes: number): string => {
  const config = join(directory, `${index}.properties`);
  writeFileSync(config, properties(directory, index, nodes));
  // Directory ids of the first controllers are made up here, and begin with no dash.
  const voters = controllersOf(nodes).map((at, i) => `${i + 1}@${at}:P123456789012345678${i}AA`);
  const quorum = nodes === 1 ? ["--standalone"] : ["--initial-controllers", String(voters)];
  const tool = ["kafka.tools.StorageTool", "format", "-t", "P1234567890123456789AA", "-c", config];
  const args = [...quiet, ...classPathOf(root), ...tool, ...quorum];
  const done = spawnSync("java", args, { encoding: "utf8", timeout: 60_000 });
  if (done.status !== 0) throw new Error(`kafka format: ${done.stdout}${done.stderr}`);
  return config;
};

const perMillion = (cost: Cost, records: number, size = 1024): Sample => ({
  clientCpuSecondsPerMillion: (cost.clientCpu / records) * 1e6,
  serverCpuSecondsPerMillion: (cost.serverCpu / records) * 1e6,
  cpuSecondsPerMillion: ((cost.clientCpu + cost.serverCpu) / records) * 1e6,
  serverRssMaxMiB: cost.serverRssMaxMiB,
  writtenPerByte: cost.serverWriteBytes / (records * size),
});

export class Kafka {
  readonly #root: string;
  readonly #directory: string;
  readonly #children: readonly ChildProcess[];
  readonly #brokers: readonly string[];
  readonly #admin: Admin;
  readonly #probe: () => Admin;
  /** Seconds from the spawn of the processes until they answered as a cluster. */
  readySeconds = 0;

  private constructor(root: string, directory: string, children: readonly ChildProcess[]) {
    this.#root = root;
    this.#directory = directory;
    this.#children = children;
    this.#brokers = brokersOf(children.length);
    const require = createRequire(join(root, "node/"));
    const { Kafka: Client, logLevel } = require("kafkajs");
    const brokers = [...this.#brokers];
    const options = { clientId: "bench", brokers, logLevel: logLevel.NOTHING };
    this.#admin = new Client(options).admin();
    // The client's own waits between tries are longer than what they would measure.
    this.#probe = () => new Client({ ...options, retry: { retries: 0 } }).admin();
  }

  static async start(root: string, directory: string, nodes = 1): Promise<Kafka> {
    mkdirSync(directory, { recursive: true });
    const configs = indexes(nodes).map((i) => format(root, directory, i, nodes));
    const spawnedMs = performance.now();
    const children = configs.map((config, i) => {
      const args = ["-Xms1g", "-Xmx1g", ...collector, ...quiet, cleanerTells, ...classPathOf(root)];
      return startServer("java", [...args, "kafka.Kafka", config], join(directory, `log${i}`));
    });
    const kafka = new Kafka(root, directory, children);
    await until("kafka", () => kafka.#answers(), startTimeoutMs);
    kafka.readySeconds = (performance.now() - spawnedMs) / 1000;
    await kafka.#admin.connect();
    // Without this the first runs show a third of the steady rate: the broker's code is not
    // compiled yet.
    await kafka.topic("warm", 16, false);
    await kafka.produce("warm", 1_500_000, 100, -1, ["linger.ms=5", "batch.size=16384"]);
    await kafka.drop("warm");
    return kafka;
  }

  get pid(): number {
    return this.#children[0]?.pid ?? 0;
  }

  get pids(): number[] {
    return this.#children.map(({ pid }) => pid ?? 0);
  }

  /** `host:port` of each. */
  get brokers(): readonly string[] {
    return this.#brokers;
  }

  /** Every node has a replica of every partition. */
  async topic(
    name: string,
    partitions: number,
    fsync: boolean,
    configs: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const configEntries = entriesOf({
      "file.delete.delay.ms": "100",
      "min.insync.replicas": String(minInSync(this.#children.length)),
      ...(fsync ? { "flush.messages": "1" } : {}),
      ...configs,
    });
    const replicationFactor = this.#children.length;
    const topics = [{ topic: name, numPartitions: partitions, replicationFactor, configEntries }];
    await this.#admin.createTopics({ topics, waitForLeaders: false });
    // The client gives up where the node that it asks has not heard of the topic yet.
    await until(`topic ${name}`, () => this.#isLed(name, partitions), startTimeoutMs);
  }

  async #isLed(name: string, count: number): Promise<boolean> {
    const { topics } = await this.#admin.fetchTopicMetadata({ topics: [name] });
    const partitions = topics[0]?.partitions ?? [];
    return partitions.length === count && partitions.every(({ leader }) => leader >= 0);
  }

  /** Configurations of a topic, all of them: what is not named has its default again. */
  async configure(topic: string, configs: Readonly<Record<string, string>>): Promise<void> {
    const resources = [{ type: topicResource, name: topic, configEntries: entriesOf(configs) }];
    await this.#admin.alterConfigs({ validateOnly: false, resources });
  }

  /** What the cleaner of the first node said of a partition; undefined until it did. */
  cleaned(partition: string): ReturnType<typeof parseCleaner> {
    return parseCleaner(readFileSync(join(this.#directory, "log0"), "utf8"), partition);
  }

  async drop(name: string): Promise<void> {
    await this.#admin.deleteTopics({ topics: [name] });
    await new Promise((resolve) => setTimeout(resolve, 500));
  }

  /**
   * `kafka-producer-perf-test`. A rate of -1 is as fast as it goes; latencies count from `send`.
   */
  async produce(
    topic: string,
    records: number,
    size: number,
    rate = -1,
    settings = best,
  ): Promise<Sample> {
    const warmup = rate > 0 ? rate * 3 : Math.floor(records / 5);
    const { output, cost } = await this.#tool("org.apache.kafka.tools.ProducerPerformance", [
      ...[
        "--bootstrap-server",
        String(this.#brokers),
        "--topic",
        topic,
        "--num-records",
        String(records + warmup),
      ],
      ...[
        "--record-size",
        String(size),
        "--throughput",
        String(rate),
        "--warmup-records",
        String(warmup),
      ],
      ...["--reporting-interval", "100000", "--command-property", "acks=all", ...settings],
    ]);
    return { ...parseProducer(output), ...perMillion(cost, records + warmup, size) };
  }

  /**
   * Kafka's end-to-end tool: one record at a time. Its percentiles are whole milliseconds, cut; its
   * mean is not.
   */
  async endToEnd(topic: string, records: number, size: number): Promise<Sample> {
    const args = [String(this.#brokers), topic, String(records), "all", String(size)];
    const { output } = await this.#tool("org.apache.kafka.tools.EndToEndLatency", args);
    return parseEndToEnd(output);
  }

  /** `kafka-consumer-perf-test`; the time to join a group is left out. */
  async consume(topic: string, records: number): Promise<Sample> {
    const { output, cost } = await this.#tool("org.apache.kafka.tools.ConsumerPerformance", [
      ...[
        "--bootstrap-server",
        String(this.#brokers),
        "--topic",
        topic,
        "--num-records",
        String(records),
      ],
      ...["--hide-header", "--timeout", "20000"],
    ]);
    const line = output.split("\n").findLast((text) => text.split(",").length >= 10);
    const fields = (line ?? "").split(",").map(Number);
    if (fields[8] === undefined) throw new Error(`kafka consumer said ${output.slice(-500)}`);
    return {
      mibPerSecond: fields[8],
      recordsPerSecond: fields[9] ?? 0,
      ...perMillion(cost, records),
    };
  }

  /** librdkafka, the client of most languages. */
  async librdkafka(topic: string, records: number, size: number): Promise<Sample> {
    const args = [String(this.#brokers), topic, String(records), String(size), "5", "131072"];
    const { output, cost } = await runClient(join(this.#root, "rdk/produce"), args, this.pids);
    return {
      ...perMillion(cost, records * 1.2),
      ...JSON.parse(output.trim().split("\n").at(-1) ?? "{}"),
    };
  }

  async nodeClient(
    library: string,
    operation: string,
    topic: string,
    records: number,
    keys = 0,
  ): Promise<Sample> {
    const script = fileURLToPath(new URL("node-client.mjs", import.meta.url));
    const args = [
      ...loadFlags,
      script,
      library,
      operation,
      String(this.#brokers),
      topic,
      String(records),
      "1024",
      String(keys),
    ];
    const env = { ...process.env, PEERS_NODE: join(this.#root, "node") };
    const { output, cost } = await runClient(process.execPath, args, this.pids, 120_000, env);
    return {
      ...perMillion(cost, records),
      ...JSON.parse(output.trim().split("\n").at(-1) ?? "{}"),
    };
  }

  async #answers(): Promise<boolean> {
    const probe = this.#probe();
    try {
      await probe.connect();
      return (await probe.describeCluster()).brokers.length === this.#children.length;
    } finally {
      await probe.disconnect();
    }
  }

  async disconnect(): Promise<void> {
    await this.#admin.disconnect();
  }

  #tool(name: string, args: readonly string[]): Promise<{ output: string; cost: Cost }> {
    const classPath = ["-cp", join(this.#root, "kafka/libs/tools/*")];
    const env = { ...process.env, TMPDIR: this.#directory };
    return runClient(
      "java",
      ["-Xmx512m", ...quiet, ...classPath, name, ...args],
      this.pids,
      180_000,
      env,
    );
  }
}
