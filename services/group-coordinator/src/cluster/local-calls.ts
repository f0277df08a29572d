/** Calls to the broker of the same process, which leads every partition. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { CallContext, Method, ServiceBinding, UnaryHandler } from "@millrace/rpc";
import type { OfPartition, PartitionCalls } from "./partition-calls.ts";

const never = new AbortController().signal;

export class LocalCalls implements PartitionCalls {
  readonly #services: readonly ServiceBinding[];
  readonly #abort = new AbortController();

  constructor(services: readonly ServiceBinding[]) {
    this.#services = services;
  }

  isLed(): boolean {
    return true;
  }

  call<I, O>(_: OfPartition, method: Method<I, O>, request: I): Promise<O> {
    return this.unary(method, request);
  }

  /** Any unary call of the services. */
  async unary<I, O>(method: Method<I, O>, request: I): Promise<O> {
    for (const { bindings } of this.#services) {
      for (const binding of bindings) {
        if (binding.kind !== "unary" || binding.method.path !== method.path) continue;
        const handler = binding.handler as unknown as UnaryHandler<I, O>;
        return handler(request, this.#context());
      }
    }
    throw MillraceError.refusal(ErrorCode.UNSUPPORTED_OPERATION, `nothing serves ${method.path}`);
  }

  close(): void {
    const message = "this process is being stopped";
    this.#abort.abort(MillraceError.refusal(ErrorCode.SHUTTING_DOWN, message));
  }

  #context(): CallContext {
    return {
      ...{ signal: this.#abort.signal, draining: never, timeoutMs: 5000, peer: "local" },
      metadata: new Map(),
    };
  }
}
