/** Asks an API server as its administrator, with the certificates it was started with. */
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";

export interface Answer {
  /** 0 where nobody answered. */
  readonly status: number;
  /** Whatever the server says. */
  readonly body: string;
}

const answerMsMax = 5000;

export class AdminApi {
  readonly #url: string;
  readonly #tls: { readonly ca: Buffer; readonly cert: Buffer; readonly key: Buffer };

  constructor(url: string, pki: string) {
    const read = (file: string): Buffer => readFileSync(join(pki, file));
    this.#url = url;
    this.#tls = { ca: read("ca.crt"), cert: read("admin.crt"), key: read("admin.key") };
  }

  send(method: string, path: string, body?: unknown): Promise<Answer> {
    return new Promise((resolve) => {
      const headers = { accept: "application/json", "content-type": "application/json" };
      const options = { ...this.#tls, agent: false, headers, method, timeout: answerMsMax };
      const call = request(`${this.#url}${path}`, options, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", () => resolve({ status: 0, body: "" }));
        response.on("end", () => {
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() });
        });
      });
      call.on("timeout", () => call.destroy());
      call.on("error", ({ message }) => resolve({ status: 0, body: message }));
      call.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  async isReady(): Promise<boolean> {
    return (await this.send("GET", "/readyz")).status === 200;
  }

  /** Makes an object, or throws with what the server says. */
  async create(path: string, object: unknown): Promise<void> {
    const { body, status } = await this.send("POST", path, object);
    if (status !== 201) throw new Error(`POST ${path}: ${status}: ${body}`);
  }

  async exists(path: string): Promise<boolean> {
    return (await this.send("GET", path)).status === 200;
  }
}
