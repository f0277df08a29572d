/** A Kubernetes API server over HTTP. */
import { KubeConfig } from "@kubernetes/client-node";
import type { Clock } from "@millrace/env";
import { keyOf } from "../cache.ts";
import { isRecord } from "../json.ts";
import {
  ApiError,
  type KubernetesApi,
  type KubernetesObject,
  type ListOptions,
  type ListPage,
  type ObjectKey,
  type Preconditions,
  type ResourceType,
  type WatchEvent,
  type WatchOptions,
} from "../kubernetes.ts";
import { answerError, connectionError, isAboutObject, statusError } from "./api-errors.ts";
import { linesOf } from "./lines.ts";
import { collectionPath, objectPath, queryOf } from "./paths.ts";
import { type Answer, type Request, Transport } from "./transport.ts";

export interface ClientOptions {
  readonly config: KubeConfig;
  readonly clock: Clock;
  /** Of plain writes; those of server-side apply say their own. */
  readonly fieldManager: string;
  /** By when a read ends. */
  readonly readMs?: number;
  /** By when a write ends, here and on the server. */
  readonly writeMs?: number;
  /** Longest event of a watch. */
  readonly lineBytesMax?: number;
}

export const clientDefaults = {
  readMs: 30_000,
  writeMs: 4000,
  lineBytesMax: 16 * 1024 * 1024,
} as const;

const applyPatch = "application/apply-patch+yaml";

/** The cluster that this pod runs in; that of a file where one is named. */
export const loadConfig = (kubeconfig: string | undefined): KubeConfig => {
  const config = new KubeConfig();
  if (kubeconfig !== undefined) config.loadFromFile(kubeconfig);
  else if (process.env["KUBERNETES_SERVICE_HOST"] === undefined) {
    // client-node would go on with http://localhost:8080.
    throw new Error("this process runs in no cluster: name a kubeconfig");
  } else config.loadFromCluster();
  return config;
};

export class KubernetesClient implements KubernetesApi {
  readonly #options: ClientOptions & Required<Pick<ClientOptions, keyof typeof clientDefaults>>;
  readonly #transport: Transport;

  constructor(options: ClientOptions) {
    this.#options = { ...clientDefaults, ...options };
    this.#transport = new Transport(options.config, options.clock);
  }

  close(): void {
    this.#transport.close();
  }

  async get<T extends KubernetesObject>(
    type: ResourceType<T>,
    key: ObjectKey,
  ): Promise<T | undefined> {
    const path = objectPath(type, key);
    const request = { method: "GET", path, about: `get ${path}` } as const;
    const answer = await this.#transport.ask(request, this.#options.readMs);
    if (answer.status === 404 && isAboutObject(answer.text, key.name)) return undefined;
    return this.#objectOf<T>(answer, request);
  }

  async list<T extends KubernetesObject>(
    type: ResourceType<T>,
    options: ListOptions,
  ): Promise<ListPage<T>> {
    const { namespace, labelSelector, limit, continueToken } = options;
    const parameters = { labelSelector, limit: limit?.toString(), continue: continueToken };
    const path = collectionPath(type, namespace);
    const request = {
      method: "GET",
      path: path + queryOf(parameters),
      about: `list ${path}`,
    } as const;
    const answer = await this.#transport.ask(request, this.#options.readMs);
    const body = this.#objectOf<KubernetesObject & { items?: T[] | null }>(answer, request);
    const { resourceVersion = "", continue: next = "" } = body.metadata as {
      resourceVersion?: string;
      continue?: string;
    };
    // Elements of a list do not say what they are.
    const apiVersion = type.group === "" ? type.version : `${type.group}/${type.version}`;
    const items = (body.items ?? []).map((one) => ({ ...one, apiVersion, kind: type.kind }));
    return { items, resourceVersion, continueToken: next };
  }

  async *watch<T extends KubernetesObject>(
    type: ResourceType<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<T>> {
    const { namespace, labelSelector, resourceVersion, timeoutSeconds } = options;
    const path = collectionPath(type, namespace);
    const query = queryOf({
      ...{ watch: "true", allowWatchBookmarks: "true", resourceVersion, labelSelector },
      timeoutSeconds: String(timeoutSeconds),
    });
    const request = { method: "GET", path: path + query, about: `watch ${path}` } as const;
    const ending = new AbortController();
    const end = (): void => ending.abort(signal.reason);
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
    const { clock, readMs, lineBytesMax } = this.#options;
    const late = (ms: number) =>
      clock.timer(ms, () => ending.abort(new Error(`the watch did not answer within ${ms} ms`)));
    let cancel = late(readMs);
    try {
      const answer = await this.#transport.open(request, ending.signal);
      if (answer.statusCode !== 200) {
        throw this.#refusal(await this.#transport.rest(answer, request), request);
      }
      cancel();
      cancel = late(timeoutSeconds * 1000 + readMs);
      for await (const line of linesOf(answer, lineBytesMax)) yield eventOf<T>(line, request.about);
      if (!answer.complete) throw new Error("the stream was cut off");
    } catch (error) {
      throw connectionError(ending.signal.aborted ? ending.signal.reason : error, request.about);
    } finally {
      cancel();
      signal.removeEventListener("abort", end);
      ending.abort(new Error("the watch has ended"));
    }
  }

  create<T extends KubernetesObject>(type: ResourceType<T>, object: T): Promise<T> {
    const path = collectionPath(type, object.metadata.namespace);
    const { fieldManager } = this.#options;
    return this.#write<T>("POST", path, { fieldManager }, object);
  }

  apply<T extends KubernetesObject>(
    type: ResourceType<T>,
    object: T,
    { fieldManager, force }: { readonly fieldManager: string; readonly force: boolean },
  ): Promise<T> {
    const path = objectPath(type, keyOf(object));
    return this.#write<T>(
      "PATCH",
      path,
      { fieldManager, force: String(force) },
      object,
      applyPatch,
    );
  }

  applyStatus<T extends KubernetesObject>(
    type: ResourceType<T>,
    object: T,
    { fieldManager, force }: { readonly fieldManager: string; readonly force: boolean },
  ): Promise<T> {
    const path = `${objectPath(type, keyOf(object))}/status`;
    return this.#write<T>(
      "PATCH",
      path,
      { fieldManager, force: String(force) },
      object,
      applyPatch,
    );
  }

  replace<T extends KubernetesObject>(type: ResourceType<T>, object: T): Promise<T> {
    const { fieldManager } = this.#options;
    return this.#write<T>("PUT", objectPath(type, keyOf(object)), { fieldManager }, object);
  }

  async delete(type: ResourceType, key: ObjectKey, preconditions: Preconditions): Promise<boolean> {
    const path = objectPath(type, key);
    const body = {
      ...{ apiVersion: "v1", kind: "DeleteOptions", preconditions },
      propagationPolicy: "Background",
    };
    const request = this.#writing("DELETE", path, {}, body);
    const answer = await this.#transport.ask(request, this.#options.writeMs);
    if (answer.status === 404 && isAboutObject(answer.text, key.name)) return false;
    if (answer.status >= 300) throw this.#refusal(answer, request);
    return true;
  }

  async #write<T>(
    method: "POST" | "PUT" | "PATCH",
    path: string,
    query: Readonly<Record<string, string>>,
    object: unknown,
    contentType?: string,
  ): Promise<T> {
    const request = this.#writing(method, path, query, object, contentType);
    return this.#objectOf<T>(await this.#transport.ask(request, this.#options.writeMs), request);
  }

  #writing(
    method: Request["method"],
    path: string,
    query: Readonly<Record<string, string>>,
    body: unknown,
    contentType?: string,
  ): Request {
    // The server gives up as well: a write does not land after its caller has.
    const timeout = `${this.#options.writeMs}ms`;
    return {
      ...{ method, path: path + queryOf({ ...query, timeout }), body },
      about: `${method.toLowerCase()} ${path}`,
      ...(contentType === undefined ? {} : { contentType }),
    };
  }

  #objectOf<T>(answer: Answer, request: Request): T {
    if (answer.status < 200 || answer.status >= 300) throw this.#refusal(answer, request);
    try {
      return JSON.parse(answer.text) as T;
    } catch (cause) {
      const message = `${request.about}: the answer is no JSON: check what answers at this address`;
      throw new ApiError(message, { status: 0, cause });
    }
  }

  #refusal(answer: Answer, request: Request): ApiError {
    return answerError(answer, request.about, this.#options.clock.wallMs());
  }
}

const eventOf = <T extends KubernetesObject>(line: string, about: string): WatchEvent<T> => {
  const event: unknown = JSON.parse(line);
  if (!isRecord(event)) throw new Error("an event is no object");
  const { type, object } = event;
  switch (type) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      return { type, object: object as T };
    case "BOOKMARK":
      return { type, resourceVersion: (object as T).metadata.resourceVersion ?? "" };
    case "ERROR":
      throw statusError(object, 500, about);
    default:
      throw new Error(`an event is of the unknown type ${String(type)}`);
  }
};
