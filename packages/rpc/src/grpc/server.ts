/** Serving over grpc-js. */

import type { EventEmitter } from "node:events";
import type { Duplex as NodeDuplex } from "node:stream";
import {
  type handleBidiStreamingCall,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  type UntypedHandleCall,
} from "@grpc/grpc-js";
import { ErrorCode, InvariantError, MillraceError } from "@millrace/errors";
import type {
  Binding,
  CallContext,
  Codec,
  Listener,
  RpcServer,
  ServerStream,
  ServiceBinding,
} from "../api.ts";
import { asBuffer, cancelledError, deadlineError, GrpcDuplex, identity } from "./duplex.ts";
import { statusOf, toMap } from "./metadata.ts";
import { type CallObserver, noObserver, observed } from "./observer.ts";
import { onSession, raiseStreamWindow } from "./windows.ts";

export interface GrpcServerOptions {
  readonly observer?: CallObserver;
  /** Largest message received, bytes. Default 16 MiB. */
  readonly messageBytesMax?: number;
  /** Open streams per connection. Default 1,000. */
  readonly streamsPerConnectionMax?: number;
  /** Called when the number of connections changes. */
  readonly onConnections?: (open: number) => void;
}

const mib = 1024 * 1024;

/** A listener on plaintext HTTP/2. */
export const grpcListener = (options: GrpcServerOptions = {}): Listener => ({
  listen: async (endpoint, services) => {
    const server = new GrpcServer(options, services);
    await server.bind(endpoint);
    return server;
  },
});

class GrpcServer implements RpcServer {
  readonly #server: Server;
  readonly #options: GrpcServerOptions;
  readonly #draining = new AbortController();
  #open = 0;
  #connections = 0;
  #idle: (() => void) | undefined;
  endpoint = "";

  constructor(options: GrpcServerOptions, services: readonly ServiceBinding[]) {
    this.#options = options;
    this.#server = new Server({
      "grpc.max_receive_message_length": (options.messageBytesMax ?? 16 * mib) + 64 * 1024,
      "grpc.max_send_message_length": 64 * mib,
      "grpc.max_concurrent_streams": options.streamsPerConnectionMax ?? 1000,
      "grpc.max_metadata_size": 16 * 1024,
      "grpc.keepalive_time_ms": 30_000,
      "grpc.keepalive_timeout_ms": 10_000,
      "grpc.keepalive_permit_without_calls": 1,
    });
    for (const service of services) this.#add(service);
  }

  async bind(endpoint: string): Promise<void> {
    if (!raiseStreamWindow(this.#server)) throw new InvariantError("grpc-js hides its settings");
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(endpoint, ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(listenError(endpoint, error));
      });
    });
    const hooked = onSession(this.#server, (session) => {
      this.#connections += 1;
      this.#options.onConnections?.(this.#connections);
      session.once("close", () => {
        this.#connections -= 1;
        this.#options.onConnections?.(this.#connections);
      });
    });
    if (!hooked) throw new InvariantError("grpc-js hides its sessions");
    this.endpoint = `${endpoint.slice(0, endpoint.lastIndexOf(":"))}:${port}`;
  }

  async shutdown(graceMs: number): Promise<void> {
    this.#draining.abort();
    const endMs = performance.now() + graceMs;
    if (this.#open > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, graceMs);
        this.#idle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    // Handlers have ended; what they wrote may still wait for a slow reader.
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, endMs - performance.now()));
      this.#server.tryShutdown(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    this.#server.forceShutdown();
  }

  #add(service: ServiceBinding): void {
    const definition: Record<string, MethodDefinition<Buffer, Buffer>> = {};
    const implementation: Record<string, UntypedHandleCall> = {};
    for (const binding of service.bindings) {
      const { path, kind, desc } = binding.method;
      definition[desc.localName] = {
        path,
        requestStream: kind === "client_streaming" || kind === "bidi_streaming",
        responseStream: kind === "server_streaming" || kind === "bidi_streaming",
        requestSerialize: identity,
        requestDeserialize: identity,
        responseSerialize: identity,
        responseDeserialize: identity,
      };
      implementation[desc.localName] = this.#handler(binding);
    }
    this.#server.addService(definition, implementation);
  }

  #handler(binding: Binding): UntypedHandleCall {
    switch (binding.kind) {
      case "unary":
        return (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) =>
          void this.#unary(binding, call, done);
      case "server_streaming":
        return (call: ServerWritableStream<Buffer, Buffer>) =>
          void this.#serverStream(binding, call);
      case "bidi_streaming": {
        const handler: handleBidiStreamingCall<Buffer, Buffer> = (call) =>
          void this.#bidi(binding, call);
        return handler;
      }
    }
  }

  async #unary(
    binding: Extract<Binding, { kind: "unary" }>,
    call: ServerUnaryCall<Buffer, Buffer>,
    done: sendUnaryData<Buffer>,
  ): Promise<void> {
    const { method } = binding;
    const ended = observed(this.#options.observer ?? noObserver, method.path);
    const context = this.#begin(call);
    try {
      this.#refuseWhenDraining();
      const request = (method.input as Codec<never>).decode(call.request);
      const reply = await binding.handler(request, context);
      const bytes = asBuffer((method.output as Codec<unknown>).encode(reply));
      done(null, bytes);
      ended(undefined, call.request.length, bytes.length);
    } catch (thrown) {
      done(statusOf(thrown));
      ended(thrown, call.request.length, 0);
    } finally {
      this.#end();
    }
  }

  async #serverStream(
    binding: Extract<Binding, { kind: "server_streaming" }>,
    call: ServerWritableStream<Buffer, Buffer>,
  ): Promise<void> {
    const { method } = binding;
    await this.#stream(binding, call as unknown as NodeDuplex, call, (stream) =>
      binding.handler(
        (method.input as Codec<never>).decode(call.request),
        stream as ServerStream<never, never>,
      ),
    );
  }

  async #bidi(
    binding: Extract<Binding, { kind: "bidi_streaming" }>,
    call: ServerDuplexStream<Buffer, Buffer>,
  ): Promise<void> {
    await this.#stream(binding, call as unknown as NodeDuplex, call, (stream) =>
      binding.handler(stream as ServerStream<never, never>),
    );
  }

  async #stream(
    binding: Binding,
    stream: NodeDuplex,
    call: ServerDuplexStream<Buffer, Buffer> | ServerWritableStream<Buffer, Buffer>,
    run: (stream: ServerStream<unknown, unknown>) => Promise<void>,
  ): Promise<void> {
    const { method } = binding;
    const ended = observed(this.#options.observer ?? noObserver, method.path);
    const context = this.#begin(call);
    const { input, output } = method as { input: Codec<unknown>; output: Codec<unknown> };
    const duplex = new GrpcDuplex(stream, input, output);
    const onAbort = (): void => duplex.fail(MillraceError.from(context.signal.reason));
    context.signal.addEventListener("abort", onAbort, { once: true });
    let failure: unknown;
    try {
      this.#refuseWhenDraining();
      await run(Object.assign(duplex, { context }));
      duplex.endWrites();
    } catch (thrown) {
      failure = thrown;
      duplex.finish();
      call.emit("error", statusOf(thrown));
    } finally {
      context.signal.removeEventListener("abort", onAbort);
      // What the client still sends is of no interest; without a reader its window would fill.
      if ("resume" in stream) stream.resume();
      ended(failure, duplex.bytesRead, duplex.bytesWritten);
      this.#end();
    }
  }

  #begin(
    call:
      | ServerUnaryCall<Buffer, Buffer>
      | ServerDuplexStream<Buffer, Buffer>
      | ServerWritableStream<Buffer, Buffer>,
  ): CallContext {
    this.#open += 1;
    const controller = new AbortController();
    const deadline = call.getDeadline();
    const deadlineMs = typeof deadline === "number" ? deadline : deadline.getTime();
    const leftMs = deadlineMs - Date.now();
    const cancelled: EventEmitter = call;
    cancelled.on("cancelled", () => {
      // The client's reset may be a little faster than our clock.
      controller.abort(Date.now() >= deadlineMs - 10 ? deadlineError() : cancelledError());
    });
    return {
      signal: controller.signal,
      draining: this.#draining.signal,
      timeoutMs: Number.isFinite(leftMs) ? Math.max(0, leftMs) : Number.POSITIVE_INFINITY,
      peer: call.getPeer(),
      metadata: toMap(call.metadata),
    };
  }

  #end(): void {
    this.#open -= 1;
    if (this.#open === 0) this.#idle?.();
  }

  #refuseWhenDraining(): void {
    if (!this.#draining.signal.aborted) return;
    throw new MillraceError(ErrorCode.SHUTTING_DOWN, "the server is stopping: retry elsewhere");
  }
}

const listenError = (endpoint: string, error: Error): MillraceError =>
  new MillraceError(
    ErrorCode.UNAVAILABLE,
    `can not listen on ${endpoint}: ${error.message}: free the port, or choose another`,
    { cause: error },
  );
