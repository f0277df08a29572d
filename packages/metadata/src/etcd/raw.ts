/**
 * etcd3's raw clients for one etcd server. Nothing of etcd3's own is used: its watcher loses
 * events, its leases tell of their loss too late, its pool tries writes again that may have
 * happened, and its login leaves a connection behind.
 */
import { noop } from "cockatiel";
import * as etcd3 from "etcd3";
import { castGrpcError, Etcd3, type IOptions } from "etcd3";
import {
  type CallContext,
  EtcdError,
  etcdSays,
  type RawEtcd,
  type RawStream,
  type StreamHandlers,
} from "./raw-api.ts";

export interface ConnectOptions {
  /** `http://HOST:PORT` or `https://HOST:PORT`. */
  readonly endpoint: string;
  /** PEM. Without it, `https` trusts the authorities of the system. */
  readonly tls?: {
    readonly ca: Uint8Array;
    readonly certificate?: Uint8Array;
    readonly key?: Uint8Array;
  };
  /** Name in the server's certificate, where it is not the host of the endpoint. */
  readonly serverName?: string;
  /** Milliseconds since the epoch, for deadlines. */
  readonly wallMs: () => number;
}

type CallSettings = NonNullable<Parameters<Etcd3["kv"]["range"]>[1]>;
type Interceptor = NonNullable<CallSettings["interceptors"]>[number];

/** gRPC codes of the errors that etcd3 tells apart by class. */
const codes: readonly (readonly [new (...args: never[]) => Error, number])[] = [
  [etcd3.GRPCCancelledError, 1],
  [etcd3.GRPCUnknownError, 2],
  [etcd3.GRPCInvalidArgumentError, 3],
  [etcd3.GRPCDeadlineExceededError, 4],
  [etcd3.GRPCNotFoundError, 5],
  [etcd3.GRPCAlreadyExistsError, 6],
  [etcd3.EtcdPermissionDeniedError, 7],
  [etcd3.GRPCResourceExhastedError, 8],
  [etcd3.GRPCFailedPreconditionError, 9],
  [etcd3.GRPCAbortedError, 10],
  [etcd3.GRPCOutOfRangeError, 11],
  [etcd3.GRPCNotImplementedError, 12],
  [etcd3.GRPCInternalError, 13],
  [etcd3.GRPCUnavailableError, 14],
  [etcd3.GRPCDataLossError, 15],
  [etcd3.GRPCUnauthenticatedError, 16],
];

const unknownCode = 2;

export const toEtcdError = (thrown: unknown): EtcdError => {
  if (thrown instanceof EtcdError) return thrown;
  const error = castGrpcError(thrown instanceof Error ? thrown : new Error(String(thrown)));
  const code = codes.find(([type]) => error instanceof type)?.[1] ?? unknownCode;
  return new EtcdError(code, error.message, { cause: thrown });
};

const channelOptions: NonNullable<IOptions["grpcOptions"]> = {
  // etcd answers pings no oftener than every 5 s.
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5000,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2000,
  // A page of large values may exceed gRPC's default of 4 MiB; etcd has limits of its own.
  "grpc.max_receive_message_length": -1,
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  // After a failure etcd3 makes a new channel: it must not get the broken connection back.
  "grpc.use_local_subchannel_pool": 1,
};

/**
 * Around every call. On the way out: etcd refuses a call while its member knows no leader, instead
 * of waiting for one, and learns who calls. On the way back: etcd3 looks for texts of etcd's, and
 * makes a call whose token is not valid again and again until its deadline, so that it must not see
 * them.
 */
const around =
  (token: string | undefined): Interceptor =>
  (options, nextCall) => {
    const call = nextCall(options);
    const start = call.start.bind(call);
    call.start = (metadata, listener) => {
      metadata.set("hasleader", "true");
      if (token !== undefined) metadata.set("token", token);
      start(metadata, {
        onReceiveMetadata: (received) => listener?.onReceiveMetadata?.(received),
        onReceiveMessage: (message) => listener?.onReceiveMessage?.(message),
        onReceiveStatus: (status) => {
          const details = status.details.replace(/^etcdserver: /, etcdSays);
          listener?.onReceiveStatus?.({ ...status, details });
        },
      });
    };
    // A part of its type that grpc-js does not use.
    return call as ReturnType<Interceptor>;
  };

const settingsOf = ({ token }: CallContext): CallSettings => ({
  interceptors: [around(token)],
});

interface AnyStream<Request, Response> {
  on(event: "data", take: (response: Response) => void): unknown;
  on(event: "end", take: () => void): unknown;
  on(event: "error", take: (error: Error) => void): unknown;
  write(request: Request): void;
  end(): void;
  cancel(): void;
}

/** A stream that can be written to while etcd3 still opens it. */
const streamOf = <Request, Response>(
  opening: Promise<AnyStream<Request, Response>>,
  handlers: StreamHandlers<Response>,
): RawStream<Request> => {
  let stream: AnyStream<Request, Response> | undefined;
  let waiting: Request[] = [];
  let over = false;
  const shut = (opened: AnyStream<Request, Response>): void => {
    // In this order: a cancelled stream that can be written to counts as a failure of the server.
    opened.end();
    opened.cancel();
  };
  const end = (thrown: unknown): void => {
    if (over) return;
    over = true;
    handlers.onEnd(toEtcdError(thrown));
  };
  opening.then((opened) => {
    opened.on("error", end);
    opened.on("end", () => end(new EtcdError(14, "etcd has ended the stream")));
    opened.on("data", (response) => {
      if (!over) handlers.onData(response);
    });
    stream = opened;
    if (over) shut(opened);
    else for (const request of waiting) opened.write(request);
    waiting = [];
  }, end);
  return {
    write: (request) => {
      if (over) return;
      if (stream === undefined) waiting.push(request);
      else stream.write(request);
    },
    close: () => {
      if (over) return;
      over = true;
      if (stream !== undefined) shut(stream);
    },
  };
};

const buffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes);

const optionsOf = ({ endpoint, tls, serverName }: ConnectOptions): IOptions => ({
  hosts: [endpoint],
  grpcOptions: {
    ...channelOptions,
    ...(serverName === undefined ? {} : { "grpc.ssl_target_name_override": serverName }),
  },
  // A write that is tried again may happen twice; the store decides what to try again.
  faultHandling: { global: noop, host: () => noop },
  ...(tls === undefined
    ? {}
    : {
        credentials: {
          rootCertificate: buffer(tls.ca),
          ...(tls.key === undefined ? {} : { privateKey: buffer(tls.key) }),
          ...(tls.certificate === undefined ? {} : { certChain: buffer(tls.certificate) }),
        },
      }),
});

/** Connects at the first call. */
export const connectEtcd = (options: ConnectOptions): RawEtcd => {
  // etcd3 drops all channels of a client when one of its calls fails: streams have their own.
  const calls = new Etcd3(optionsOf(options));
  const streams = new Etcd3(optionsOf(options));
  const settings = (context: CallContext): CallSettings => ({
    ...settingsOf(context),
    deadline: options.wallMs() + context.timeoutMs,
  });
  const failing = <T>(work: Promise<T>): Promise<T> =>
    work.catch((thrown: unknown) => {
      throw toEtcdError(thrown);
    });
  return {
    range: (request, context) => failing(calls.kv.range(request, settings(context))),
    txn: (request, context) => failing(calls.kv.txn(request, settings(context))),
    compact: (request, context) => failing(calls.kv.compact(request, settings(context))),
    leaseGrant: (request, context) =>
      failing(calls.leaseClient.leaseGrant(request, settings(context))),
    leaseRevoke: (request, context) =>
      failing(calls.leaseClient.leaseRevoke(request, settings(context))),
    leaseKeepAlive: (context, handlers) =>
      streamOf(streams.leaseClient.leaseKeepAlive(settings(context)), handlers),
    watch: (context, handlers) =>
      streamOf(streams.watchClient.watch(settingsOf(context)), handlers),
    authenticate: async ({ user, password }, context) => {
      const login = { name: user, password };
      return (await failing(calls.auth.authenticate(login, settings(context)))).token;
    },
    close: () => {
      calls.close();
      streams.close();
    },
  };
};
