/** A real API server for tests, asked without a client in between, and by kubectl. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { KubeConfig } from "@kubernetes/client-node";

/** An API server that was started: `kubeconfig` is the path of a file. */
export interface ApiServer {
  readonly url: string;
  readonly kubeconfig: string;
  stop(): Promise<void>;
}

interface Seam {
  startApiServer(options: { readonly directory: string }): Promise<ApiServer>;
}

interface Programs {
  /** The directory with them. */
  kubernetesPrograms(names: readonly string[]): string;
}

const tools = fileURLToPath(new URL("../../tools/k8s/", import.meta.url));

/** Why tests that need an API server are skipped, or false where they run. */
export const skipped: string | false =
  existsSync(join(tools, "control-plane.ts")) && existsSync(join(tools, "build.ts"))
    ? false
    : "there is no tools/k8s/control-plane.ts to start an API server with";

const load = async <T>(name: string): Promise<T> => await import(join(tools, name));

export const startApiServer = async (directory: string): Promise<ApiServer> =>
  (await load<Seam>("control-plane.ts")).startApiServer({ directory });

export interface Answer {
  readonly status: number;
  readonly warnings: readonly string[];
  /** Why the server refuses, or empty. */
  readonly message: string;
  /** Whatever the server says; tests look at parts of it. */
  readonly body: Readonly<Record<string, unknown>>;
}

const answerMs = 30_000;

/** Asks the API server as an administrator. */
export class ApiClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 4 });
  readonly #config = new KubeConfig();
  readonly #server: ApiServer;
  #kubectl = "";

  constructor(server: ApiServer) {
    this.#server = server;
    this.#config.loadFromFile(server.kubeconfig);
  }

  async send(method: string, path: string, body?: unknown, type = "json"): Promise<Answer> {
    const options = { method, agent: this.#agent, headers: { accept: "application/json" } };
    await this.#config.applyToHTTPSOptions(options);
    return await new Promise((resolve, reject) => {
      const call = request(new URL(path, this.#server.url), options, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const warnings = response.headersDistinct["warning"] ?? [];
          const body = JSON.parse(Buffer.concat(chunks).toString() || "{}");
          const { message = "" }: { message?: string } = body;
          resolve({ status: response.statusCode ?? 0, warnings, message, body });
        });
      });
      call.setTimeout(answerMs, () => call.destroy(new Error(`${method} ${path}: no answer`)));
      call.on("error", reject);
      if (body !== undefined) call.setHeader("content-type", `application/${type}`);
      call.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** Runs kubectl; fails with what it printed. */
  async kubectl(...args: readonly string[]): Promise<string> {
    if (this.#kubectl === "") {
      const { kubernetesPrograms } = await load<Programs>("build.ts");
      this.#kubectl = join(kubernetesPrograms(["kubectl"]), "kubectl");
    }
    const all = ["--kubeconfig", this.#server.kubeconfig, ...args];
    const { stdout } = await promisify(execFile)(this.#kubectl, all, { timeout: answerMs * 2 });
    return stdout;
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Waits until something is so. */
export const eventually = async <T>(
  what: string,
  look: () => Promise<T | undefined>,
  deadlineMs = 30_000,
): Promise<T> => {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await pause(200);
  }
};
