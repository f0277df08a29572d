/** The server under fire: topics to abuse, one that nobody names, and a client that behaves. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { create } from "@bufbuild/protobuf";
import { type Client, type Consumer, connect, type Producer } from "@millrace/client";
import { errorCodeByName, MillraceError } from "@millrace/errors";
import { groupStateTopic } from "@millrace/metadata";
import { BrokerIntent } from "@millrace/proto/common";
import { methodOf } from "@millrace/rpc";
import { grpcDialer } from "@millrace/rpc/grpc";
import {
  ServerReflection,
  ServerReflectionRequestSchema,
} from "../../../packages/rpc/gen/grpc/reflection/v1/reflection_pb.js";
import { type Exit, ServerProcess } from "../../integration/server.ts";
import type { Vocabulary } from "./grammar.ts";

const flags: readonly string[] = [
  ...["--journal-file-bytes", "9MiB", "--journal-bytes-max", "36MiB"],
  ...["--disk-reserve-bytes", "0"],
  ...["--tail-cache-bytes-max", "1MiB", "--pending-bytes-max", "4MiB", "--open-files-max", "64"],
  ...["--checkpoint-interval", "500ms", "--retention-check-interval", "500ms"],
  ...["--request-timeout", "1s", "--slow-reader-timeout", "2s", "--shutdown-grace", "1s"],
  ...["--log-level", "warn"],
  // Both sides share the processors with other tests: a late event loop is no reason to refuse.
  ...["--event-loop-delay-max", "10s"],
];

/** The generator never makes this name. */
const protectedTopic = "kept-apart.0123456789abcdef";
const abused: readonly string[] = Array.from({ length: 6 }, (_, i) => `abused-${i}`);
const fleeting: readonly string[] = ["fleeting-0", "fleeting-1", "fleeting-2"];

/** What a well-behaved client may wait for at most. */
const goodMsMax = 20_000;

const within = async <T>(what: string, work: Promise<T>): Promise<T> => {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`${what} takes more than ${goodMsMax} ms`)),
    goodMsMax,
  );
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
};

export class LiveServer {
  readonly #server: ServerProcess;
  readonly #client: Client;
  readonly #producer: Producer;
  readonly #consumer: Consumer;
  readonly #records: AsyncIterator<{ readonly offset: bigint; readonly value?: Uint8Array | null }>;
  readonly address: string;
  readonly #metrics: string;
  #sent = 0;
  #words: Vocabulary = { topics: abused, fleeting, topicIds: [Buffer.alloc(16, 1)] };
  /** Set when it ends before it is told to. */
  crash: Exit | undefined;

  private constructor(
    server: ServerProcess,
    { client: address, http }: { readonly client: string; readonly http: string },
    client: Client,
    consumer: Consumer,
  ) {
    this.#server = server;
    this.address = address;
    this.#metrics = `http://${http}/metrics`;
    this.#client = client;
    this.#producer = client.producer();
    this.#consumer = consumer;
    this.#records = consumer.records()[Symbol.asyncIterator]();
    void server.exited.then((exit) => {
      this.crash = exit;
    });
  }

  static async start(directory: string): Promise<LiveServer> {
    const server = new ServerProcess(directory, flags);
    const endpoints = await server.ready();
    const client = await within("connecting", connect({ bootstrap: [endpoints.client] }));
    const topic = { name: protectedTopic, partitions: 1 };
    await within("the first topic", client.admin.createTopic(topic));
    const consumer = client.consumer();
    const assignment = { topic: protectedTopic, partition: 0, from: "earliest" } as const;
    await within("an assignment", consumer.assign([assignment]));
    const live = new LiveServer(server, endpoints, client, consumer);
    await live.tidy();
    return live;
  }

  /** What inputs may name. */
  get words(): Vocabulary {
    return this.#words;
  }

  get rssMib(): number {
    const text = readFileSync(`/proc/${this.#server.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+)/.exec(text)?.[1]) / 1024;
  }

  /** A record of a client that behaves is acknowledged and read, with nothing else in its topic. */
  async behave(): Promise<void> {
    const value = `good ${this.#sent}`;
    const send = this.#producer.send({ topic: protectedTopic, partition: 0, value });
    const { offset } = await within("a good produce", send);
    const read = await within("a good fetch", this.#records.next());
    const found = read.done === true ? undefined : read.value;
    const text = Buffer.from(found?.value ?? []).toString();
    if (offset !== BigInt(this.#sent) || found?.offset !== offset || text !== value)
      throw new Error(`${value} was appended at ${offset}, read at ${found?.offset}: ${text}`);
    this.#sent += 1;
  }

  /**
   * Topics that came into being go, and those to abuse come back, with a few records. A broker that
   * was cordoned takes replicas again.
   */
  async tidy(): Promise<void> {
    const { admin } = this.#client;
    for (const { brokerId } of (await within("the brokers", admin.cluster())).brokers) {
      await within("an intent", admin.setBrokerIntent({ brokerId, intent: BrokerIntent.ACTIVE }));
    }
    const topicIds: Uint8Array[] = [];
    const missing = new Set(abused);
    for await (const { name, partitionCount, topicId } of admin.listTopics()) {
      // Nobody may delete the topic that groups live in, either.
      if (name === protectedTopic || name === groupStateTopic) continue;
      if (!missing.has(name) || partitionCount > 8) {
        await ignoring(
          "UNKNOWN_TOPIC_OR_PARTITION",
          within("a delete", admin.deleteTopic({ name })),
        );
        continue;
      }
      missing.delete(name);
      topicIds.push(topicId);
    }
    for (const name of missing) {
      // One of them is compacted, and has an index of its keys.
      const configs = name === abused[0] ? { "cleanup.policy": "compact" } : {};
      const making = admin.createTopic({ name, partitions: 2, configs });
      const made = await within("a create", making);
      topicIds.push(made.topicId);
      const values = Array.from({ length: 20 }, (_, i) => `${i}`.padEnd(50));
      const sends = values.map((value) =>
        this.#producer.send({ topic: name, partition: 0, key: value.slice(0, 1), value }),
      );
      await within("filling a topic", Promise.all(sends));
    }
    this.#words = { topics: abused, fleeting, topicIds };
  }

  /** What its limits have refused or cut so far, for who asks why a call ended. */
  async refusals(): Promise<string> {
    const text = await (await fetch(this.#metrics)).text();
    const lines = text.split("\n").filter((line) => /refus.* [1-9]/.test(line));
    return lines.filter((line) => !line.startsWith("#")).join("\n");
  }

  /** Stops it as an operator would, and checks what it leaves. Returns what is wrong. */
  async stop(): Promise<string[]> {
    const wrong: string[] = [];
    await within("closing the consumer", this.#consumer.close());
    await within("closing the client", this.#client.close());
    const exit = await within("SIGTERM", this.#server.kill("SIGTERM"));
    if (exit.code !== 0) wrong.push(`it exits with ${exit.code}, ${exit.signal}: ${exit.stderr}`);
    const cli = fileURLToPath(new URL("../../../packages/cli/src/main.ts", import.meta.url));
    const args = [cli, "log", "verify", this.#server.directory];
    const verified = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 60_000 });
    if (verified.status !== 0) wrong.push(`log verify: ${verified.stdout}${verified.stderr}`);
    return wrong;
  }

  async kill(): Promise<void> {
    await within("closing the client again", this.#client.close()).catch(() => {});
    await within("killing the server", this.#server.kill("SIGKILL"));
  }
}

/** Names of the services that a server says it serves. */
export const servedServices = async (address: string): Promise<readonly string[]> => {
  const channel = grpcDialer().dial(address);
  try {
    const stream = channel.bidi(methodOf(ServerReflection.method.serverReflectionInfo), {
      timeoutMs: goodMsMax,
    });
    const messageRequest = { case: "listServices", value: "" } as const;
    stream.write(create(ServerReflectionRequestSchema, { messageRequest }));
    stream.end();
    const answer = (await stream.read())?.messageResponse;
    return answer?.case === "listServicesResponse"
      ? answer.value.service.map(({ name }) => name)
      : [];
  } finally {
    channel.close();
  }
};

const ignoring = async (code: string, work: Promise<unknown>): Promise<void> => {
  try {
    await work;
  } catch (thrown) {
    if (!(thrown instanceof MillraceError) || thrown.code !== errorCodeByName(code)) throw thrown;
  }
};
