/**
 * Work in a thread of its own, for tests. node:test follows every promise of its own thread, to
 * know which test it belongs to; a simulation makes millions, and takes half the time where nobody
 * looks.
 */
import { Worker } from "node:worker_threads";

/** What a thread is asked, and what it answers. Both are copied. */
export interface Call {
  readonly id: number;
  readonly name: string;
  readonly args: readonly unknown[];
}
export type Answer = { readonly id: number } & (
  | { readonly result: unknown }
  | { readonly error: unknown }
);

type Functions = Readonly<Record<string, unknown>>;
type Arguments<F> = F extends (...args: infer A) => unknown ? A : never;
type Result<F> = F extends (...args: never[]) => infer R ? Awaited<R> : never;

/** The functions that a module exports, called in a thread. Calls run side by side there. */
export class Apart<Module extends Functions> {
  readonly #thread: Worker;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #failed: unknown;
  #calls = 0;

  constructor(module: URL) {
    this.#thread = new Worker(new URL("thread.ts", import.meta.url), { workerData: module.href });
    this.#thread.on("message", (answer: Answer) => this.#settle(answer));
    this.#thread.on("error", (error) => this.#fail(error));
    this.#thread.on("exit", (code) => this.#fail(new Error(`the thread has ended with ${code}`)));
    this.#thread.unref();
  }

  #settle(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (this.#waiting.size === 0) this.#thread.unref();
    if ("error" in answer) waiting?.reject(answer.error);
    else waiting?.resolve(answer.result);
  }

  #fail(error: unknown): void {
    this.#failed ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  /**
   * What the function returns. Arguments and result are copied (structured clone); what it throws
   * is thrown with its message and stack.
   */
  async call<Name extends keyof Module & string>(
    name: Name,
    ...args: Arguments<Module[Name]>
  ): Promise<Result<Module[Name]>> {
    if (this.#failed !== undefined) throw this.#failed;
    this.#calls += 1;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(this.#calls, waiting);
    // The process stays for the answer, and for nothing else.
    this.#thread.ref();
    this.#thread.postMessage({ id: this.#calls, name, args } satisfies Call);
    return (await waiting.promise) as Result<Module[Name]>;
  }
}
