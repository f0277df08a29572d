/**
 * The bare produce and fetch streams, as a client in any language would use them from the .proto.
 */
import { connect, formatEndpoint } from "@millrace/client";
import { Acks } from "@millrace/proto/common";
import {
  BatchBuilder,
  crcOf,
  type WireProduceRequest,
  type WireProduceResponse,
} from "@millrace/record";
import { type ClientStream, produceMethod } from "@millrace/rpc";
import { grpcDialer } from "@millrace/rpc/grpc";

const noBytes = new Uint8Array(0);
export const windowBytes = 16 * 1024 * 1024;

/** One produce stream that keeps up to a window in flight. */
export class ProduceStream {
  readonly #stream: ClientStream<WireProduceRequest, WireProduceResponse>;
  readonly #close: () => void;
  readonly #waiting = new Map<number, (() => void) | undefined>();
  #nextId = 1;
  #room: (() => void) | undefined;
  #inFlightBytes = 0;
  /** Set when the stream or a request failed. */
  failure: Error | undefined;
  opened: Promise<void>;

  constructor(endpoint: string) {
    const channel = grpcDialer().dial(endpoint);
    this.#stream = channel.bidi(produceMethod);
    this.#close = () => channel.close();
    const opened = Promise.withResolvers<void>();
    this.opened = opened.promise;
    this.#stream.write({
      open: { clientId: "bench", acks: Acks.ALL, windowBytes, clusterId: "", requiredFeatures: [] },
      ...{ requestId: 0, topicId: noBytes, topic: "", partition: 0, orderEpoch: 0 },
      ...{ leaderEpoch: undefined, body: undefined, bodyCrc: undefined },
      ...{ expectedEndOffset: undefined, expectedLastOffsetForKey: undefined },
    });
    void this.#receive(opened.resolve);
  }

  get inFlight(): number {
    return this.#waiting.size;
  }

  /** Sends a batch once the window has room. `acked` runs when it is durable. */
  async send(topic: string, partition: number, body: Buffer, acked?: () => void): Promise<void> {
    while (this.#inFlightBytes > 0 && this.#inFlightBytes + body.length > windowBytes) {
      await this.#wait();
    }
    if (!this.write(topic, partition, body, acked)) await this.#stream.drained();
  }

  /** Sends a batch now. False when the transport's queue is full. */
  write(topic: string, partition: number, body: Buffer, acked?: () => void): boolean {
    if (this.failure !== undefined) throw this.failure;
    const requestId = this.#nextId;
    this.#nextId += 1;
    this.#waiting.set(requestId, acked);
    this.#inFlightBytes += body.length;
    return this.#stream.write({
      ...{ open: undefined, requestId, topicId: noBytes, topic, partition, orderEpoch: 0 },
      ...{ leaderEpoch: undefined, body, bodyCrc: crcOf(body) },
      ...{ expectedEndOffset: undefined, expectedLastOffsetForKey: undefined },
    });
  }

  async idle(): Promise<void> {
    while (this.#waiting.size > 0) await this.#wait();
  }

  close(): void {
    this.#stream.end();
    this.#close();
  }

  async #wait(): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    await new Promise<void>((resolve) => {
      this.#room = resolve;
    });
  }

  async #receive(opened: () => void): Promise<void> {
    try {
      for (;;) {
        const message = this.#stream.tryRead() ?? (await this.#stream.read());
        if (message === undefined) return;
        if (message.opened !== undefined) opened();
        for (const result of message.results) {
          if (result.error !== undefined) throw new Error(result.error.message);
          this.#inFlightBytes -= result.windowBytes;
          const acked = this.#waiting.get(result.requestId);
          this.#waiting.delete(result.requestId);
          acked?.();
        }
        this.#wake();
      }
    } catch (thrown) {
      this.failure ??= thrown instanceof Error ? thrown : new Error(String(thrown));
      this.#wake();
    }
  }

  #wake(): void {
    const room = this.#room;
    this.#room = undefined;
    room?.();
  }
}

/**
 * Where the leader of each partition of a topic listens. `endpoint` may be several, joined by
 * commas.
 */
export const leadersOf = async (endpoint: string, topic: string): Promise<string[]> => {
  const client = await connect({ bootstrap: endpoint.split(",") });
  try {
    const { brokers } = await client.admin.cluster();
    const at = new Map(brokers.map((broker) => [broker.brokerId, formatEndpoint(broker.endpoint)]));
    const [found] = await client.admin.describeTopics({ names: [topic] });
    return (found?.partitions ?? []).map(({ leader, partition }) => {
      const address = at.get(leader ?? -1);
      if (address === undefined) throw new Error(`${topic} ${partition} has no leader`);
      return address;
    });
  } finally {
    await client.close();
  }
};

/** Produce streams to the leaders of a topic, one for each broker. */
export class LeaderStreams {
  readonly #streams = new Map<string, ProduceStream>();
  readonly #leaders: readonly string[];

  /** By partition. A list of one serves all partitions. */
  constructor(leaders: readonly string[]) {
    this.#leaders = leaders;
    for (const leader of new Set(leaders)) this.#streams.set(leader, new ProduceStream(leader));
  }

  of(partition: number): ProduceStream {
    const leader = this.#leaders[partition % this.#leaders.length] ?? "";
    const stream = this.#streams.get(leader);
    if (stream === undefined) throw new Error(`no stream leads to partition ${partition}`);
    return stream;
  }

  get #all(): ProduceStream[] {
    return [...this.#streams.values()];
  }

  get opened(): Promise<unknown> {
    return Promise.all(this.#all.map((stream) => stream.opened));
  }

  idle(): Promise<unknown> {
    return Promise.all(this.#all.map((stream) => stream.idle()));
  }

  close(): void {
    for (const stream of this.#all) stream.close();
  }
}

/** A batch of one record. */
export const single = (builder: BatchBuilder, value: Uint8Array): Buffer => {
  builder.append({ value, timestampMs: Date.now() });
  const body = builder.finishPlain();
  builder.reset();
  return body;
};

export const newBuilder = (bytes = 4096): BatchBuilder => new BatchBuilder(bytes);
