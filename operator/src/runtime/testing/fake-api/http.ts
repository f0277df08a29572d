/** The API server of the tests on a socket: what a client over HTTP meets. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import {
  ApiError,
  type KubernetesObject,
  type ObjectKey,
  type ResourceType,
} from "../../kubernetes.ts";
import { collect } from "../collect.ts";
import type { FakeServer, Recorded } from "./server.ts";

/** What happens to the next request. */
export type Trouble =
  | {
      readonly type: "answer";
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly body: string;
    }
  /** Half an event, and the end of the connection. */
  | { readonly type: "cut-in-line" }
  /** An event, and then 410 in the stream. */
  | { readonly type: "expires-in-stream" }
  /** No answer at all. */
  | { readonly type: "silence" }
  /** Half an answer. */
  | { readonly type: "cut" };

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly contentType: string;
  readonly authorization: string;
}

interface OneRequest {
  readonly method: string;
  readonly part: string | undefined;
  readonly body: unknown;
  readonly query: Readonly<Record<string, string>>;
}

const send = (response: ServerResponse, status: number, body: unknown): void => {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json" }).end(text);
};

const statusOf = (code: number, reason: string, message: string, name?: string) => ({
  ...{ kind: "Status", apiVersion: "v1", status: "Failure", code, reason, message },
  details: name === undefined ? {} : { name },
});

const bodyOf = async (request: IncomingMessage): Promise<unknown> => {
  const chunks = await collect(request as AsyncIterable<Buffer>);
  const text = Buffer.concat(chunks).toString();
  return text === "" ? undefined : JSON.parse(text);
};

export class FakeApiHttp {
  readonly #fake: FakeServer;
  readonly #types: readonly ResourceType[];
  readonly #server: Server;
  readonly seen: Seen[] = [];
  readonly troubles: Trouble[] = [];

  constructor(fake: FakeServer, types: readonly ResourceType[]) {
    this.#fake = fake;
    this.#types = types;
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => {
        const { status, reason, message } = error as ApiError;
        const name = new URL(request.url ?? "", "http://fake").pathname.split("/").at(-1);
        send(response, status || 500, statusOf(status || 500, reason, message, name));
      });
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => void this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    return closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "", "http://fake");
    const { method = "" } = request;
    const query = Object.fromEntries(url.searchParams);
    const { "content-type": contentType = "", authorization = "" } = request.headers;
    this.seen.push({ method, path: url.pathname, query, contentType, authorization });
    const body = await bodyOf(request);
    const trouble = this.troubles.shift();
    if (trouble !== undefined) {
      this.#trouble(trouble, response);
      return;
    }
    const [type, namespace, name, part] = this.#parse(url.pathname);
    if (type === undefined) {
      const message = "the server could not find the requested resource";
      send(response, 404, statusOf(404, "NotFound", message));
      return;
    }
    if (query["watch"] !== undefined) {
      this.#watch(type, query, response);
      return;
    }
    if (name === undefined && method === "GET") {
      this.#list(type, namespace, query, response);
      return;
    }
    const key = { namespace: namespace ?? "", name: name ?? "" };
    const [status, answer] = this.#one(type, key, { method, part, body, query });
    send(response, status, answer);
  }

  #one(
    type: ResourceType,
    key: ObjectKey,
    { method, part, body, query }: OneRequest,
  ): readonly [status: number, answer: unknown] {
    const object = body as KubernetesObject;
    const { fieldManager = "", force } = query;
    const by = { fieldManager, force: force === "true" };
    if (method === "POST") return [201, this.#fake.create(type, object, fieldManager)];
    if (method === "PUT") return [200, this.#fake.replace(type, object, fieldManager)];
    if (method === "PATCH" && part === "status") {
      return [200, this.#fake.applyStatus(type, object, by)];
    }
    if (method === "PATCH") return [200, this.#fake.apply(type, object, by)];
    const { preconditions = {} } = (body ?? {}) as { preconditions?: object };
    const found =
      method === "GET" ? this.#fake.get(type, key) : this.#fake.delete(type, key, preconditions);
    if (found === undefined || found === false) {
      throw new ApiError("not found", { status: 404, reason: "NotFound" });
    }
    return [200, found === true ? { kind: "Status", status: "Success" } : found];
  }

  #parse(path: string): [type: ResourceType | undefined, ...names: (string | undefined)[]] {
    const parts = path.split("/").slice(1);
    const group = parts[0] === "api" ? "" : (parts[1] ?? "");
    const rest = parts.slice(group === "" ? 2 : 3);
    const namespace = rest[0] === "namespaces" ? rest[1] : undefined;
    const [plural, name, part] = namespace === undefined ? rest : rest.slice(2);
    const type = this.#types.find((one) => one.group === group && one.plural === plural);
    return [type, namespace, name, part];
  }

  #list(
    type: ResourceType,
    namespace: string | undefined,
    query: Record<string, string>,
    response: ServerResponse,
  ): void {
    const page = this.#fake.list(type, {
      ...(namespace === undefined ? {} : { namespace }),
      ...{ limit: Number(query["limit"] ?? 0), continueToken: query["continue"] ?? "" },
      labelSelector: query["labelSelector"] ?? "",
    });
    const items = page.items.map(({ apiVersion: _version, kind: _kind, ...rest }) => rest);
    const metadata = { resourceVersion: page.resourceVersion, continue: page.continueToken };
    send(response, 200, { kind: `${type.kind}List`, apiVersion: "v1", metadata, items });
  }

  #watch(type: ResourceType, query: Record<string, string>, response: ServerResponse): void {
    const line = ({ type: what, object }: Recorded): void => {
      response.write(`${JSON.stringify({ type: what, object })}\n`);
    };
    const backlog = this.#fake.since(type, query["resourceVersion"] ?? "");
    response.writeHead(200, { "content-type": "application/json" });
    for (const one of backlog) line(one);
    const metadata = { resourceVersion: String(this.#fake.version) };
    response.write(`${JSON.stringify({ type: "BOOKMARK", object: { metadata } })}\n`);
    const cancel = this.#fake.listen(type, line);
    const over = setTimeout(() => response.end(), Number(query["timeoutSeconds"]) * 1000);
    response.on("close", () => {
      clearTimeout(over);
      cancel();
    });
  }

  #trouble(trouble: Trouble, response: ServerResponse): void {
    const event = '{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}\n';
    switch (trouble.type) {
      case "answer":
        response.writeHead(trouble.status, trouble.headers ?? {}).end(trouble.body);
        return;
      case "cut-in-line":
        response.writeHead(200).write(`${event}{"type":"ADD`, () => response.socket?.destroy());
        return;
      case "expires-in-stream": {
        const object = statusOf(410, "Expired", "too old resource version: 7 (9)");
        response.writeHead(200).end(`${event}${JSON.stringify({ type: "ERROR", object })}\n`);
        return;
      }
      case "cut":
        response.writeHead(200, { "content-length": "100" });
        response.write('{"metadata":', () => response.socket?.destroy());
        return;
      case "silence":
        return;
    }
  }
}
