/**
 * Serves `/metrics`, `/livez`, `/readyz` and `/configz` to scrapers, probes and people. Never data.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Metrics } from "./metrics.ts";

export interface HttpOptions {
  readonly host: string;
  /** 0 picks a free port. */
  readonly port: number;
  readonly metrics: Metrics;
  /** Whether it should not be begun anew. Default: as long as it answers. */
  readonly isAlive?: () => boolean;
  /** Whether the process should get traffic, and why not. */
  readonly ready: () => { readonly ready: boolean; readonly reasons: readonly string[] };
  /** Settings in force; secrets must be redacted already. */
  readonly configz: () => unknown;
  readonly logger: Logger;
  /** A connection was closed because too many are open. */
  readonly onRefused?: () => void;
}

export interface HttpEndpoints {
  /** The bound `host:port`. */
  readonly endpoint: string;
  /** The Node server behind it, for tests of its errors. */
  readonly server: Server;
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

const json = (status: number, value: unknown): Answer => ({
  status,
  contentType: "application/json; charset=utf-8",
  body: `${JSON.stringify(value, undefined, 2)}\n`,
});

const answer = async (options: HttpOptions, request: IncomingMessage): Promise<Answer> => {
  if (request.method !== "GET" && request.method !== "HEAD") {
    return json(405, { error: "only GET" });
  }
  const [path] = (request.url ?? "/").split("?");
  switch (path) {
    case "/metrics": {
      const { contentType, body } = await options.metrics.render(request.headers.accept ?? "");
      return { status: 200, contentType, body };
    }
    case "/livez": {
      const alive = options.isAlive?.() ?? true;
      return json(alive ? 200 : 503, { alive });
    }
    case "/readyz": {
      const state = options.ready();
      return json(state.ready ? 200 : 503, state);
    }
    case "/configz":
      return json(200, options.configz());
    case "/":
      return json(200, { paths: ["/metrics", "/livez", "/readyz", "/configz"] });
    default:
      return json(404, {
        error: "no such path",
        paths: ["/metrics", "/livez", "/readyz", "/configz"],
      });
  }
};

const respond = async (
  options: HttpOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> => {
  let result: Answer;
  try {
    result = await answer(options, request);
  } catch (thrown) {
    options.logger.error({ err: thrown }, "an HTTP request failed");
    result = json(500, { error: "see the server's log" });
  }
  response.writeHead(result.status, { "content-type": result.contentType });
  response.end(request.method === "HEAD" ? undefined : result.body);
};

const listen = (server: Server, { host, port, onRefused }: HttpOptions): Promise<AddressInfo> =>
  new Promise((resolve, reject) => {
    server.once("error", (error) => {
      reject(
        new MillraceError(
          ErrorCode.UNAVAILABLE,
          `cannot listen on ${host}:${port}: ${error.message}: free the port, or choose another`,
        ),
      );
    });
    server.listen(port, host, () => {
      // Such as EMFILE at accept. A failed connection must not end the process.
      server.removeAllListeners("error").on("error", () => onRefused?.());
      const address = server.address();
      if (address !== null && typeof address === "object") resolve(address);
    });
  });

/** Limits of this server; none is a setting. */
export const httpLimits = {
  connectionsMax: 64,
  /** For a whole request, and for its headers alone. */
  requestTimeoutMs: 5000,
  headerBytesMax: 8192,
} as const;

/** Serves until closed, with small limits: nothing here should be a load. */
export const serveHttp = async (options: HttpOptions): Promise<HttpEndpoints> => {
  const server = createServer({
    requestTimeout: httpLimits.requestTimeoutMs,
    headersTimeout: httpLimits.requestTimeoutMs,
    maxHeaderSize: httpLimits.headerBytesMax,
  });
  server.maxConnections = httpLimits.connectionsMax;
  server.on("drop", () => options.onRefused?.());
  server.on("request", (request, response) => void respond(options, request, response));
  const { port } = await listen(server, options);
  const host = options.host.includes(":") ? `[${options.host}]` : options.host;
  return {
    endpoint: `${host}:${port}`,
    server,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
};
