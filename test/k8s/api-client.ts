/** A real API server for tests, asked without a client in between, and by kubectl. */
import { execFile } from "node:child_process";
import { Agent, request } from "node:https";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { KubeConfig } from "@kubernetes/client-node";
import { kubernetesPrograms, whyNot } from "../../tools/k8s/build.ts";
import { type ApiServer, startApiServer } from "../../tools/k8s/control-plane.ts";

/** Why tests that need an API server are skipped, or false where they run. */
export const skipped: string | false = whyNot(["kube-apiserver", "kubectl"]) ?? false;

/** An API server with an etcd of its own. */
export const apiServerIn = (directory: string): Promise<ApiServer> => startApiServer({ directory });

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
    const { kubectl } = kubernetesPrograms(["kubectl"]);
    const all = ["--kubeconfig", this.#server.kubeconfig, ...args];
    const { stdout } = await promisify(execFile)(kubectl, all, { timeout: answerMs * 2 });
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
