/** Requests to an API server by way of client-node's configuration: addresses, TLS, credentials. */
import http from "node:http";
import https from "node:https";
import type { KubeConfig } from "@kubernetes/client-node";
import type { Clock } from "@millrace/env";
import { connectionError } from "./api-errors.ts";

export interface Request {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With its query. */
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string;
  /** For errors: what was asked. */
  readonly about: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

/** No answer is larger: 500 objects of the largest size that etcd takes would be, and never are. */
const answerBytesMax = 256 * 1024 * 1024;

/** What work gives, or the signal's reason as soon as it is aborted. */
const unlessAborted = async <T>(work: Promise<T>, signal: AbortSignal): Promise<T> => {
  const aborted = Promise.withResolvers<never>();
  const stop = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
};

export class Transport {
  readonly #config: KubeConfig;
  readonly #clock: Clock;
  // The agents of client-node open a connection for each request, or one agent.
  readonly #agents = {
    "http:": new http.Agent({ keepAlive: true }),
    "https:": new https.Agent({ keepAlive: true }),
  };

  constructor(config: KubeConfig, clock: Clock) {
    this.#config = config;
    this.#clock = clock;
  }

  /** The whole answer, whatever its status, by the deadline. */
  async ask(request: Request, deadlineMs: number): Promise<Answer> {
    const ending = new AbortController();
    const late = new Error(`no answer within ${deadlineMs} ms`);
    const cancel = this.#clock.timer(deadlineMs, () => ending.abort(late));
    try {
      return await this.#whole(await this.open(request, ending.signal));
    } catch (error) {
      throw connectionError(ending.signal.aborted ? late : error, request.about);
    } finally {
      cancel();
    }
  }

  /** The answer as it comes. */
  async open(request: Request, signal: AbortSignal): Promise<http.IncomingMessage> {
    const { method, path, body, contentType = "application/json" } = request;
    const cluster = this.#config.getCurrentCluster();
    if (cluster === null) throw new Error("the kubeconfig has no current cluster: set a context");
    const url = new URL(cluster.server.replace(/\/+$/, "") + path);
    const options: https.RequestOptions = {};
    signal.throwIfAborted();
    // It may run a program of the kubeconfig's for credentials, which may hang.
    await unlessAborted(this.#config.applyToHTTPSOptions(options), signal);
    const secure = url.protocol === "https:";
    if (cluster.proxyUrl === undefined) options.agent = this.#agents[secure ? "https:" : "http:"];
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    options.method = method;
    options.signal = signal;
    options.headers = {
      ...(options.headers as http.OutgoingHttpHeaders | undefined),
      accept: "application/json",
      "user-agent": "millrace-operator",
      ...(bytes && { "content-type": contentType, "content-length": bytes.length }),
    };
    return new Promise((resolve, reject) => {
      const sent = (secure ? https : http).request(url, options, resolve);
      sent.on("error", (error) => reject(signal.aborted ? signal.reason : error));
      sent.end(bytes);
    });
  }

  async #whole(answer: http.IncomingMessage): Promise<Answer> {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > answerBytesMax) throw new Error(`an answer has over ${answerBytesMax} bytes`);
      chunks.push(chunk);
    }
    if (!answer.complete) throw new Error("the answer was cut off");
    const text = Buffer.concat(chunks).toString("utf8");
    return { status: answer.statusCode ?? 0, headers: answer.headers, text };
  }

  /** Reads what is left of an answer that is no stream of events. */
  async rest(answer: http.IncomingMessage, request: Request): Promise<Answer> {
    try {
      return await this.#whole(answer);
    } catch (error) {
      throw connectionError(error, request.about);
    }
  }

  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }
}
