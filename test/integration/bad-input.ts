/**
 * What the tests of bad input share: a server with a little data, and how to send what no client
 * library would.
 */
import assert from "node:assert/strict";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { after, before } from "node:test";
import { create } from "@bufbuild/protobuf";
import { connect } from "@millrace/client";
import { ErrorCode, errorSpec, MillraceError } from "@millrace/errors";
import { DescribeLogsRequestSchema, LogService } from "@millrace/proto/broker";
import { BatchBuilder, blankProduceRequest, type WireProduceRequest } from "@millrace/record";
import {
  type Channel,
  fetchMethod as fetch,
  fromWireStatus,
  methodOf,
  produceMethod as produce,
} from "@millrace/rpc";
import { grpcDialer } from "@millrace/rpc/grpc";
import { ServerProcess, withDirectory } from "./server.ts";

export { fetch, produce };

const describeLogs = methodOf(LogService.method.describeLogs);

/**
 * A server with topic `t` of two partitions: offsets 4 to 9 in partition 0, nothing in partition 1.
 */
export interface Site {
  channel: Channel;
  endpoint: string;
  http: string;
  /** End offsets by partition, as the server tells them. */
  ends(): Promise<Record<string, bigint>>;
}

/**
 * Starts one for the tests of a file, with more topics, of one partition, if asked. When they are
 * over it must be alive, and have just what `expected` says.
 */
export const badInputSite = (
  expected: Readonly<Record<string, bigint>>,
  {
    flags = [],
    prepare = async () => {},
    topics = [],
  }: {
    readonly flags?: readonly string[];
    readonly topics?: readonly string[];
    /** What else the tests need of a server, at its address. */
    readonly prepare?: (endpoint: string) => Promise<void>;
  } = {},
): Site => {
  const site = { endpoint: "", http: "" } as Site;
  let finish: () => void = () => {};
  let over: Promise<void> = Promise.resolve();
  site.ends = async () => {
    const { logs } = await site.channel.unary(describeLogs, create(DescribeLogsRequestSchema));
    return Object.fromEntries(
      logs
        .map((log) => [`${log.topic}-${log.partition}`, log.highWatermark] as const)
        .toSorted(([a], [b]) => (a < b ? -1 : 1)),
    );
  };
  before(async () => {
    const started = Promise.withResolvers<void>();
    over = withDirectory(async (directory) => {
      const server = new ServerProcess(directory, flags);
      const { client: endpoint, http } = await server.ready();
      await fill(endpoint, topics);
      await prepare(endpoint);
      site.channel = grpcDialer().dial(endpoint);
      site.endpoint = endpoint;
      site.http = http;
      started.resolve();
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      site.channel.close();
      await server.kill("SIGKILL");
    });
    await Promise.race([started.promise, over]);
  });
  after(async () => {
    try {
      assert.deepEqual(await site.ends(), expected, "nothing was lost, and nothing bad appended");
    } finally {
      finish();
      await over;
    }
  });
  return site;
};

const fill = async (endpoint: string, topics: readonly string[]): Promise<void> => {
  const client = await connect({ bootstrap: [endpoint] });
  for (const name of topics) await client.admin.createTopic({ name });
  const configs = { "max.message.bytes": "2000" };
  await client.admin.createTopic({ name: "t", partitions: 2, configs });
  for (let i = 0; i < 10; i += 1)
    await client.producer().send({ topic: "t", partition: 0, value: `v${i}` });
  await client.admin.deleteRecords({ topic: "t", partition: 0, beforeOffset: 4n });
  await client.close();
};

export const blank: WireProduceRequest = { ...blankProduceRequest, topic: "t" };
export const open = { clientId: "x", acks: 0, windowBytes: 0, clusterId: "", requiredFeatures: [] };

/** A batch of one good record. */
export const bodyOf = (value: string, timestampMs = Date.now()): Buffer => {
  const builder = new BatchBuilder();
  builder.append({ value: Buffer.from(value), timestampMs });
  return builder.finishPlain();
};

/**
 * An error is clear when it has the code expected, and its text says what to do, in a line that
 * fits a terminal.
 */
export const isClear =
  (code: ErrorCode, text?: RegExp) =>
  (thrown: unknown): true => {
    assert.ok(thrown instanceof MillraceError, String(thrown));
    checkClear(thrown, code, text);
    return true;
  };

export const checkClear = (
  error: { readonly code: number; readonly message: string } | undefined,
  expected: ErrorCode,
  text: RegExp = /: ./,
): void => {
  const message = error?.message ?? "";
  const name = errorSpec(error?.code ?? ErrorCode.UNSPECIFIED).name;
  assert.equal(name, errorSpec(expected).name, message);
  assert.match(message, /: ./, "the text says what to do");
  assert.match(message, text);
  assert.ok(message.length <= 400, `a text of ${message.length} characters`);
  assert.doesNotMatch(message, /NaN|undefined|\[object|unexpected/);
};

/**
 * A protobuf field: numbers and bigints as varints (negative ones in two's complement), the rest
 * with its length.
 */
export const field = (number: number, value: bigint | number | string | Uint8Array): Buffer => {
  if (typeof value === "bigint" || typeof value === "number") {
    return Buffer.concat([varint(number * 8), varint(BigInt.asUintN(64, BigInt(value)))]);
  }
  const bytes = Buffer.from(value);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
};

const varint = (value: bigint | number): Buffer => {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
};

/** A message behind its gRPC prefix; `length` and `flag` may lie. */
export const framed = (body: Uint8Array, length = body.length, flag = 0): Buffer => {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flag, 0);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, body]);
};

/** How a call by hand ended: with a status, or without one. */
export interface RawEnd {
  readonly status: number | undefined;
  readonly error: MillraceError | undefined;
  readonly reset: number;
}

/** One call with these bytes, by hand. `end: false` leaves the request open. */
export const rawCall = async (
  { endpoint }: Site,
  path: string,
  bytes: Uint8Array,
  options: { readonly end?: boolean; readonly headers?: Readonly<Record<string, string>> } = {},
): Promise<RawEnd> => {
  const session = connectHttp2(`http://${endpoint}`);
  session.on("error", () => {});
  try {
    return await rawOn(session, path, bytes, options);
  } finally {
    session.destroy();
  }
};

/** The same on a connection that is there already. */
export const rawOn = (
  session: ClientHttp2Session,
  path: string,
  bytes: Uint8Array,
  {
    end = true,
    headers = {},
  }: { readonly end?: boolean; readonly headers?: Readonly<Record<string, string>> },
): Promise<RawEnd> =>
  new Promise((resolve) => {
    const stream = session.request(
      {
        ":method": "POST",
        ":path": path,
        "content-type": "application/grpc",
        te: "trailers",
        ...headers,
      },
      { endStream: false },
    );
    let status: number | undefined;
    let error: MillraceError | undefined;
    const seen = (got: Readonly<Record<string, unknown>>): void => {
      if (got["grpc-status"] === undefined) return;
      status = Number(got["grpc-status"]);
      const details = got["grpc-status-details-bin"];
      error = fromWireStatus({
        code: status,
        message: decodeURIComponent(String(got["grpc-message"] ?? "")),
        details: typeof details === "string" ? Buffer.from(details, "base64") : undefined,
      });
      // Not only once it is closed: the server leaves a client that has not ended its side some
      // seconds for that.
      resolve({ status, error, reset: stream.rstCode });
    };
    stream.on("response", seen);
    stream.on("trailers", seen);
    stream.on("error", () => {});
    stream.on("close", () => resolve({ status, error, reset: stream.rstCode }));
    stream.resume();
    if (end) stream.end(bytes);
    else stream.write(bytes);
  });
