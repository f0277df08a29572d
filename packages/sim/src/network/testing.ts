/** Two kinds of calls over a simulated network, for tests. */
import { create } from "@bufbuild/protobuf";
import { ProduceService } from "@millrace/proto/broker";
import {
  GetMetadataRequestSchema,
  GetMetadataResponseSchema,
  MetadataService,
  WatchMetadataRequestSchema,
  WatchMetadataResponseSchema,
} from "@millrace/proto/metadata";
import type { WireProduceRequest, WireProduceResponse } from "@millrace/record";
import {
  bindService,
  type Channel,
  type ClientStream,
  type Dialer,
  type Listener,
  methodOf,
  produceMethod,
  type RpcServer,
  type ServerStream,
} from "@millrace/rpc";
import { Incarnation, Kernel } from "../kernel.ts";
import { SimNetwork } from "./network.ts";

/** A process on a host of its name. */
export interface TestNode {
  readonly process: Incarnation;
  readonly dialer: Dialer;
  readonly listener: Listener;
}

export interface TestWorld {
  readonly kernel: Kernel;
  readonly network: SimNetwork;
  /** Every line of the trace. */
  readonly trace: string[];
  /** Starts a process on a host. */
  start(host: string): TestNode;
  sleep(ms: number): Promise<void>;
  run<T>(body: () => Promise<T>): Promise<T>;
}

/** A network whose links take `delayMs`. */
export const testWorld = (delayMs = 1, seed = 1): TestWorld => {
  const kernel = new Kernel(seed);
  const trace: string[] = [];
  kernel.onTrace = (line) => trace.push(line);
  const network = new SimNetwork(kernel, () => delayMs);
  return {
    kernel,
    network,
    trace,
    start: (host) => {
      const process = new Incarnation(kernel, host);
      return { process, ...network.attach(host, process) };
    },
    sleep: (ms) =>
      new Promise((resolve) => {
        kernel.schedule(ms, resolve, "test");
      }),
    run: (body) => kernel.run(body()),
  };
};

type Echo = (stream: ServerStream<WireProduceRequest, WireProduceResponse>) => Promise<void>;

/** A message of `bytes` with a number. */
export const message = (requestId: number, bytes = 10): WireProduceRequest => ({
  ...{ open: undefined, requestId, topicId: new Uint8Array(0), topic: "t", partition: 0 },
  ...{ leaderEpoch: undefined, body: Buffer.alloc(bytes), bodyCrc: undefined, orderEpoch: 0 },
  ...{ expectedEndOffset: undefined, expectedLastOffsetForKey: undefined },
});

const reply = (requestId: number): WireProduceResponse => ({
  ...{ opened: undefined, drain: undefined },
  results: [
    {
      ...{ requestId, baseOffset: undefined, appendTimeMs: undefined, logStartOffset: undefined },
      ...{ guarantee: 0, duplicate: false, error: undefined, windowBytes: 0 },
    },
  ],
});

const numberOf = (message: WireProduceResponse | undefined): number | undefined =>
  message?.results[0]?.requestId;

/** Answers each message with its number. */
const echo: Echo = async (stream) => {
  for (let next = await stream.read(); next !== undefined; next = await stream.read()) {
    if (!stream.write(reply(next.requestId))) await stream.drained();
  }
};

const watchMethod = methodOf(MetadataService.method.watchMetadata);
type Watching = Parameters<typeof watchMethod.output.encode>[0];

export interface TestHandlers {
  /** A unary call. */
  readonly ask?: () => Promise<void>;
  /** A stream of echoes. */
  readonly talk?: Echo;
  /** A stream of bytes from the server. */
  readonly pour?: (stream: ServerStream<never, Watching>) => Promise<void>;
}

/** Serves at `host:port`. What has no handler answers at once. */
export const serve = (
  { listener }: TestNode,
  endpoint: string,
  handlers: TestHandlers = {},
): Promise<RpcServer> =>
  listener.listen(endpoint, [
    bindService(MetadataService, {
      getMetadata: async () => {
        await handlers.ask?.();
        return create(GetMetadataResponseSchema, {});
      },
      watchMetadata: async (_request, stream) => {
        await handlers.pour?.(stream);
      },
    }),
    bindService(
      ProduceService,
      {
        produce: handlers.talk ?? echo,
        produceOnce: async () => {
          throw new Error("not used");
        },
        initProducerId: () => Promise.reject(new Error("not used")),
      },
      { produce: produceMethod },
    ),
  ]);

/** Calls; resolves once there is an answer. */
export const ask = async (channel: Channel, timeoutMs = 60_000): Promise<void> => {
  const request = create(GetMetadataRequestSchema, {});
  await channel.unary(methodOf(MetadataService.method.getMetadata), request, { timeoutMs });
};

/** A stream of numbered messages that come back. */
export class Talk {
  readonly stream: ClientStream<WireProduceRequest, WireProduceResponse>;

  constructor(channel: Channel) {
    this.stream = channel.bidi(produceMethod);
  }

  say(number: number, bytes?: number): void {
    this.stream.write(message(number, bytes));
  }

  async hear(): Promise<number | undefined> {
    return numberOf(await this.stream.read());
  }

  /** What has arrived already. */
  heard(): number | undefined {
    return numberOf(this.stream.tryRead());
  }
}

/** Opens a stream of bytes from the server. */
export const drink = (channel: Channel): ClientStream<never, Watching> =>
  channel.serverStream(watchMethod, create(WatchMetadataRequestSchema, {}));

/** A message of about `bytes` for `pour`. */
export const drop = (bytes: number): Watching =>
  create(WatchMetadataResponseSchema, { clusterId: "x".repeat(bytes) });
