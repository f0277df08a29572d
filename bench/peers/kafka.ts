/** One Kafka node and its own measuring tools. */
import { type ChildProcess, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Cost, runClient, startServer, until } from "../lib/processes.ts";
import type { Sample } from "../lib/report.ts";

interface Admin {
  connect(): Promise<void>;
  describeCluster(): Promise<{ readonly brokers: readonly object[] }>;
  disconnect(): Promise<void>;
  createTopics(request: object): Promise<boolean>;
  deleteTopics(request: object): Promise<void>;
}

const port = 19092;
const broker = `127.0.0.1:${port}`;
const quiet = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"];
const collector = [
  "-XX:+UseG1GC",
  "-XX:MaxGCPauseMillis=20",
  "-XX:InitiatingHeapOccupancyPercent=35",
];
const best = ["linger.ms=5", "batch.size=131072"];

const properties = (directory: string): string =>
  [
    "process.roles=broker,controller",
    "node.id=1",
    `controller.quorum.bootstrap.servers=127.0.0.1:${port + 100}`,
    `listeners=PLAINTEXT://${broker},CONTROLLER://127.0.0.1:${port + 100}`,
    "controller.listener.names=CONTROLLER",
    `log.dirs=${directory}/data`,
    ...["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"].map(
      (t) => `${t}.replication.factor=1`,
    ),
    ...["transaction.state.log", "share.coordinator.state.topic"].map((t) => `${t}.min.isr=1`),
    "group.initial.rebalance.delay.ms=0",
    "log.segment.delete.delay.ms=100",
    "auto.create.topics.enable=false",
    "",
  ].join("\n");

const perMillion = (cost: Cost, records: number): Sample => ({
  clientCpuSecondsPerMillion: (cost.clientCpu / records) * 1e6,
  serverCpuSecondsPerMillion: (cost.serverCpu / records) * 1e6,
  cpuSecondsPerMillion: ((cost.clientCpu + cost.serverCpu) / records) * 1e6,
  serverRssMaxMiB: cost.serverRssMaxMiB,
});

export class Kafka {
  readonly #root: string;
  readonly #directory: string;
  readonly #child: ChildProcess;
  readonly #admin: Admin;
  readonly #probe: () => Admin;
  /** Seconds from the spawn of the process until it answered as a cluster of one broker. */
  readySeconds = 0;

  private constructor(root: string, directory: string, child: ChildProcess) {
    this.#root = root;
    this.#directory = directory;
    this.#child = child;
    const require = createRequire(join(root, "node/"));
    const { Kafka: Client, logLevel } = require("kafkajs");
    const options = { clientId: "bench", brokers: [broker], logLevel: logLevel.NOTHING };
    this.#admin = new Client(options).admin();
    // The client's own waits between tries are longer than what they would measure.
    this.#probe = () => new Client({ ...options, retry: { retries: 0 } }).admin();
  }

  static async start(root: string, directory: string): Promise<Kafka> {
    mkdirSync(directory, { recursive: true });
    const config = join(directory, "server.properties");
    writeFileSync(config, properties(directory));
    const classPath = ["-cp", join(root, "kafka/libs/server/*")];
    const format = [
      "kafka.tools.StorageTool",
      "format",
      "--standalone",
      "-t",
      "P1234567890123456789AA",
      "-c",
      config,
    ];
    const formatted = spawnSync("java", [...quiet, ...classPath, ...format], { encoding: "utf8" });
    if (formatted.status !== 0)
      throw new Error(`kafka format: ${formatted.stdout}${formatted.stderr}`);
    const args = ["-Xms1g", "-Xmx1g", ...collector, ...quiet, ...classPath, "kafka.Kafka", config];
    const spawnedMs = performance.now();
    const kafka = new Kafka(root, directory, startServer("java", args, join(directory, "log")));
    await until("kafka", () => kafka.#answers());
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
    return this.#child.pid ?? 0;
  }

  async topic(name: string, partitions: number, fsync: boolean): Promise<void> {
    const configEntries = [
      { name: "file.delete.delay.ms", value: "100" },
      ...(fsync ? [{ name: "flush.messages", value: "1" }] : []),
    ];
    const topics = [
      { topic: name, numPartitions: partitions, replicationFactor: 1, configEntries },
    ];
    await this.#admin.createTopics({ topics, waitForLeaders: true });
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
        broker,
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
    const line = output.split("\n").findLast((text) => text.includes("99.9th")) ?? "";
    const found =
      /([\d.]+) records\/sec.* (\d+) ms 50th, \d+ ms 95th, (\d+) ms 99th, (\d+) ms 99.9th/.exec(
        line,
      );
    if (found === null) throw new Error(`kafka producer said ${output.slice(-500)}`);
    const [rps, p50, p99, p999] = found.slice(1).map(Number);
    const latencies = { ackp50Ms: p50 ?? 0, ackp99Ms: p99 ?? 0, ackp999Ms: p999 ?? 0 };
    return { recordsPerSecond: rps ?? 0, ...latencies, ...perMillion(cost, records + warmup) };
  }

  /**
   * Kafka's end-to-end tool: one record at a time. Its percentiles are whole milliseconds, cut; its
   * mean is not.
   */
  async endToEnd(topic: string, records: number, size: number): Promise<Sample> {
    const args = [broker, topic, String(records), "all", String(size)];
    const { output } = await this.#tool("org.apache.kafka.tools.EndToEndLatency", args);
    const found = /50th = (\d+), 99th = (\d+), 99.9th = (\d+)/.exec(output);
    if (found === null) throw new Error(`kafka end-to-end said ${output.slice(-500)}`);
    const meanMs = Number(/Avg latency: ([\d.]+) ms/.exec(output)?.[1]);
    const percentiles = { p50Ms: Number(found[1]), p99Ms: Number(found[2]) };
    return { meanMs, ...percentiles, p999Ms: Number(found[3]) };
  }

  /** `kafka-consumer-perf-test`; the time to join a group is left out. */
  async consume(topic: string, records: number): Promise<Sample> {
    const { output, cost } = await this.#tool("org.apache.kafka.tools.ConsumerPerformance", [
      ...["--bootstrap-server", broker, "--topic", topic, "--num-records", String(records)],
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
    const args = [broker, topic, String(records), String(size), "5", "131072"];
    const { output, cost } = await runClient(join(this.#root, "rdk/produce"), args, this.pid);
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
  ): Promise<Sample> {
    const script = fileURLToPath(new URL("node-client.mjs", import.meta.url));
    const args = [script, library, operation, broker, topic, String(records), "1024"];
    const env = { ...process.env, PEERS_NODE: join(this.#root, "node") };
    const { output, cost } = await runClient(process.execPath, args, this.pid, 120_000, env);
    return {
      ...perMillion(cost, records),
      ...JSON.parse(output.trim().split("\n").at(-1) ?? "{}"),
    };
  }

  async #answers(): Promise<boolean> {
    const probe = this.#probe();
    try {
      await probe.connect();
      return (await probe.describeCluster()).brokers.length === 1;
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
      this.pid,
      180_000,
      env,
    );
  }
}
