/** Serving over grpc-js. */

import type { EventEmitter } from "node:events";
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { Duplex as NodeDuplex } from "node:stream";
import {
  type handleBidiStreamingCall,
  type MethodDefinition,
  Server,
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
} from "../../api.ts";
import { asBuffer, cancelledError, deadlineError, GrpcDuplex, identity } from "../duplex.ts";
import { statusOf, toMap } from "../metadata.ts";
import { setSessionOptions } from "../windows.ts";
import { Admission } from "./admission/admission.ts";
import type { CallShape } from "./admission/admitted-stream.ts";
import {
  type AdmissionGauges,
  type AdmissionLimits,
  type AdmissionObserver,
  transportLimits,
} from "./admission/limits.ts";
import { ConnectionListener, type PendingCall } from "./connection-listener.ts";
import { Http2Duplex } from "./http2/duplex.ts";
import { streamContext } from "./http2/stream-context.ts";
import { type CallObserver, noObserver, observed } from "./observer.ts";

type BidiBinding = Extract<Binding, { kind: "bidi_streaming" }>;

export interface GrpcServerOptions {
  readonly observer?: CallObserver;
  /** Limits that differ from `admissionDefaults`. */
  readonly limits?: Partial<AdmissionLimits>;
  readonly admissionObserver?: AdmissionObserver;
  /** Called once per server with a function that reads current usage. */
  readonly onAdmission?: (gauges: () => AdmissionGauges) => void;
  /** Called when the number of connections changes. */
  readonly onConnections?: (open: number) => void;
}

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
  readonly #admission: Admission;
  readonly #shapes = new Map<string, CallShape>();
  readonly #streams = new Map<string, BidiBinding>();
  #listener: ConnectionListener | undefined;
  #open = 0;
  #idle: (() => void) | undefined;
  endpoint = "";

  constructor(options: GrpcServerOptions, services: readonly ServiceBinding[]) {
    this.#options = options;
    this.#admission = new Admission(options.limits, options.admissionObserver, performance.now());
    const { limits } = this.#admission;
    this.#server = new Server({
      "grpc.max_receive_message_length": limits.messageBytesMax,
      "grpc.max_send_message_length": transportLimits.sentMessageBytesMax,
      "grpc.max_concurrent_streams": limits.streamsPerConnectionMax,
      "grpc.max_metadata_size": limits.headerBytesMax,
      "grpc-node.max_session_memory": transportLimits.sessionMemoryMib,
      "grpc.enable_channelz": 0,
      "grpc.keepalive_time_ms": transportLimits.keepaliveIntervalMs,
      "grpc.keepalive_timeout_ms": transportLimits.keepaliveTimeoutMs,
      "grpc.keepalive_permit_without_calls": 1,
    });
    for (const service of services) this.#add(service);
  }

  async bind(endpoint: string): Promise<void> {
    const { controlMessageBytesMax, streamsPerConnectionMax } = this.#admission.limits;
    if (!setSessionOptions(this.#server, streamsPerConnectionMax))
      throw new InvariantError("grpc-js hides its settings");
    const listener = new ConnectionListener(this.#server, {
      admission: this.#admission,
      // grpc-js itself refuses unknown methods.
      shapeOf: (path) =>
        this.#shapes.get(path) ?? { bytesMax: controlMessageBytesMax, single: false },
      onConnections: (open) => this.#options.onConnections?.(open),
      serve: (path, stream, headers, call) => this.#serve(path, stream, headers, call),
    });
    this.#listener = listener;
    const colon = endpoint.lastIndexOf(":");
    const host = endpoint.slice(0, colon);
    try {
      const bare = host.replace(/^\[|\]$/g, "");
      const port = await listener.listen(bare, Number(endpoint.slice(colon + 1)));
      this.endpoint = `${host}:${port}`;
    } catch (thrown) {
      listener.close();
      throw listenError(endpoint, thrown);
    }
    this.#options.onAdmission?.(() => this.#admission.gauges());
  }

  async shutdown(graceMs: number): Promise<void> {
    this.#draining.abort();
    this.#listener?.drain(drainingError());
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
    // Handlers have ended; their output may still wait for a slow reader.
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, endMs - performance.now()));
      // The callback of grpc-js does not wait for injected connections.
      this.#server.tryShutdown(() => {});
      void this.#listener?.idle().then(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    this.#server.forceShutdown();
    this.#listener?.close();
  }

  #add(service: ServiceBinding): void {
    const definition: Record<string, MethodDefinition<Buffer, Buffer>> = {};
    const implementation: Record<string, UntypedHandleCall> = {};
    for (const binding of service.bindings) {
      const { path, kind, desc, inputBytesMax } = binding.method;
      const { messageBytesMax, controlMessageBytesMax } = this.#admission.limits;
      const bytesMax = Math.min(inputBytesMax ?? controlMessageBytesMax, messageBytesMax);
      this.#shapes.set(path, { bytesMax, single: kind === "unary" || kind === "server_streaming" });
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
      if (binding.kind === "bidi_streaming") this.#streams.set(path, binding);
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
      // grpc-js gets only streams with a wrong content type, which it refuses itself.
      case "bidi_streaming": {
        const handler: handleBidiStreamingCall<Buffer, Buffer> = (call) =>
          void call.emit("error", statusOf(new InvariantError("a stream came through grpc-js")));
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
    const pending = this.#listener?.callOf(call.metadata);
    this.#open += 1;
    try {
      const context = this.#contextOf(call);
      this.#refuseWhenDraining();
      refuseCut(pending);
      const request = (method.input as Codec<never>).decode(call.request);
      const reply = await binding.handler(request, context);
      const bytes = asBuffer((method.output as Codec<unknown>).encode(reply));
      // Counts until the stream closes: the client may not read the reply.
      pending?.admitted?.queued(bytes.length);
      done(null, bytes);
      ended(undefined, call.request.length, bytes.length);
    } catch (thrown) {
      done(statusOf(thrown));
      ended(thrown, call.request.length, 0);
    } finally {
      pending?.admitted?.finished();
      this.#end();
    }
  }

  async #serverStream(
    binding: Extract<Binding, { kind: "server_streaming" }>,
    call: ServerWritableStream<Buffer, Buffer>,
  ): Promise<void> {
    const { method } = binding;
    const ended = observed(this.#options.observer ?? noObserver, method.path);
    const pending = this.#listener?.callOf(call.metadata);
    const { input, output } = method as { input: Codec<never>; output: Codec<unknown> };
    const stream = call as unknown as NodeDuplex;
    const duplex = new GrpcDuplex(stream, input, output, pending?.admitted);
    if (pending !== undefined) pending.onFail = (error) => duplex.fail(error);
    this.#open += 1;
    let failure: unknown;
    try {
      const context = this.#contextOf(call);
      const onAbort = (): void => duplex.fail(MillraceError.from(context.signal.reason));
      context.signal.addEventListener("abort", onAbort, { once: true });
      this.#refuseWhenDraining();
      refuseCut(pending);
      const request = input.decode(call.request);
      const writer: unknown = Object.assign(duplex, { context });
      await binding.handler(request, writer as ServerStream<never, never>);
      duplex.endWrites();
    } catch (thrown) {
      failure = thrown;
      duplex.finish();
      // A client that has left takes no status, and a connection may leave with a hundred calls.
      if (!call.cancelled) call.emit("error", statusOf(thrown));
    } finally {
      pending?.admitted?.finished();
      ended(failure, call.request.length, duplex.bytesWritten);
      this.#end();
    }
  }

  /**
   * Serves bidirectional calls on their HTTP/2 streams. Calls that grpc-js would refuse are left to
   * it.
   */
  #serve(
    path: string,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    pending: PendingCall,
  ): boolean {
    const binding = this.#streams.get(path);
    if (binding === undefined) return false;
    if (!String(headers["content-type"]).startsWith("application/grpc")) return false;
    void this.#bidi(binding, stream, headers, pending);
    return true;
  }

  async #bidi(
    binding: BidiBinding,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    pending: PendingCall,
  ): Promise<void> {
    const { method } = binding;
    const ended = observed(this.#options.observer ?? noObserver, method.path);
    const { input, output } = method as { input: Codec<unknown>; output: Codec<unknown> };
    const duplex = new Http2Duplex(stream, input, output, pending.admitted);
    pending.onFail = (error) => duplex.fail(error);
    this.#open += 1;
    let failure: unknown;
    const { context, done } = streamContext(stream, headers, this.#draining.signal, (error) => {
      duplex.fail(error);
      // At once: the handler may wait for something else.
      if (error.code === ErrorCode.DEADLINE_EXCEEDED) duplex.finish(error);
    });
    try {
      this.#refuseWhenDraining();
      refuseCut(pending);
      const call: unknown = Object.assign(duplex, { context });
      await binding.handler(call as ServerStream<never, never>);
    } catch (thrown) {
      failure = thrown;
    } finally {
      done();
      duplex.finish(failure);
      // Drop further input; without a reader, its window would fill.
      stream.resume();
      pending.admitted?.finished();
      ended(failure, duplex.bytesRead, duplex.bytesWritten);
      this.#end();
    }
  }

  #contextOf(
    call: ServerUnaryCall<Buffer, Buffer> | ServerWritableStream<Buffer, Buffer>,
  ): CallContext {
    const controller = new AbortController();
    const deadline = call.getDeadline();
    const deadlineMs = typeof deadline === "number" ? deadline : deadline.getTime();
    const leftMs = deadlineMs - Date.now();
    const cancelled: EventEmitter = call;
    cancelled.on("cancelled", () => {
      // The clock of the client may run a little faster.
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
    if (this.#draining.signal.aborted) throw drainingError();
  }
}

const drainingError = (): MillraceError =>
  MillraceError.refusal(ErrorCode.SHUTTING_DOWN, "the server is stopping: retry elsewhere");

/** The admission may have ended the call while grpc-js decoded its request. */
const refuseCut = (pending: PendingCall | undefined): void => {
  const failure = pending?.admitted?.failure;
  if (failure !== undefined) throw failure;
};

const listenError = (endpoint: string, thrown: unknown): MillraceError => {
  const why = thrown instanceof Error ? thrown.message : String(thrown);
  const text = `cannot listen on ${endpoint}: ${why}: free the port, or choose another`;
  return new MillraceError(ErrorCode.UNAVAILABLE, text, { cause: thrown });
};
