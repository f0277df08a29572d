/** The Millrace client on Node. */
import { type Logger, silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { nodeCompressor } from "@millrace/record/node";
import type { Dialer } from "@millrace/rpc";
import { grpcDialer } from "@millrace/rpc/grpc";
import { endpointsOf } from "./core/bootstrap.ts";
import { checkFields, type Shape } from "./core/checks.ts";
import { type Client, type ClientEnv, createClient } from "./core/index.ts";
import { whatListens } from "./node/wrong-port.ts";

export { type Endpoint, ErrorCode, formatEndpoint, MillraceError } from "@millrace/errors";
export * from "./core/index.ts";

/** How to reach a cluster from Node. */
export interface ConnectOptions {
  /** `host:port` of servers to ask first, in a list, or with commas between them. */
  readonly bootstrap: string | readonly string[];
  /** Makes the connections. Default: plaintext gRPC. */
  readonly dialer?: Dialer;
  /** For the server's logs, metrics and quotas; at most 249 bytes. */
  readonly clientId?: string;
  /** Default: nothing is logged. */
  readonly logger?: Logger;
  /** Deadline of an Admin call, milliseconds. Default 30,000. */
  readonly adminTimeoutMs?: number;
  /** Age at which metadata is asked for again although nothing failed, milliseconds, 100 to
   * 86,400,000. Used only where servers have no WatchMetadata. Default 300,000. */
  readonly metadataMaxAgeMs?: number;
}

/** The process's clock, randomness and compression. */
export const nodeClientEnv = (logger: Logger = silentLogger): ClientEnv => ({
  clock: nodeClock(),
  random: nodeRandom(),
  compressor: nodeCompressor,
  logger,
});

const optionsShape: Shape<ConnectOptions> = {
  bootstrap: "any?",
  dialer: "object?",
  clientId: "string?",
  logger: "object?",
  adminTimeoutMs: "any?",
  metadataMaxAgeMs: "any?",
};

/** Connects to a cluster. Throws UNAVAILABLE when no server answers, INVALID_REQUEST. */
export const connect = async (options: ConnectOptions): Promise<Client> => {
  checkFields("connect", options, optionsShape);
  const { logger, dialer, ...rest } = options;
  const { bootstrap } = rest;
  const env = nodeClientEnv(logger);
  const client = createClient({ ...rest, dialer: dialer ?? grpcDialer(), env });
  try {
    await client.admin.cluster();
    return client;
  } catch (thrown) {
    await client.close();
    throw dialer === undefined ? await explained(thrown, bootstrap) : thrown;
  }
};

/** Says what listens where no client can connect, if that can be seen. */
const explained = async (
  thrown: unknown,
  bootstrap: string | readonly string[],
): Promise<unknown> => {
  if (!hasCode(thrown, ErrorCode.UNAVAILABLE)) return thrown;
  const found = await Promise.all(endpointsOf(bootstrap).map(whatListens));
  const wrong = found.filter((what) => what !== undefined);
  if (wrong.length === 0) return thrown;
  return new MillraceError(
    ErrorCode.UNAVAILABLE,
    `no server answers (${wrong.join("; ")}): set bootstrap to the port for clients (7400 by default)`,
    { cause: thrown },
  );
};
