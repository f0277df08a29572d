/**
 * An open stream of grpc-js as a pulled stream with a queue bounded in bytes. Client and server
 * share it: the call objects of both are Node duplex streams of encoded messages.
 */
import type { Duplex as NodeDuplex } from "node:stream";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Codec } from "../api.ts";
import { Pulled } from "../pulled.ts";
import { SendQueue } from "../send-queue.ts";

/** Messages received ahead of the reader. */
export const readAheadMessages = 4;

/** Queued bytes from which `write` returns false. */
export const writeQueueBytesMax = 1024 * 1024;

/** Counts the bytes of a stream, message prefixes included. */
export interface StreamMeter {
  consumed(bytes: number): void;
  queued(bytes: number): void;
  sent(bytes: number): void;
}

const prefixBytes = 5;

export class GrpcDuplex<In, Out> extends Pulled<In> {
  readonly #stream: NodeDuplex;
  readonly #input: Codec<In>;
  readonly #output: Codec<Out>;
  readonly #meter: StreamMeter | undefined;
  readonly #queue = new SendQueue(writeQueueBytesMax);
  bytesRead = 0;
  bytesWritten = 0;

  constructor(stream: NodeDuplex, input: Codec<In>, output: Codec<Out>, meter?: StreamMeter) {
    super();
    this.#stream = stream;
    this.#meter = meter;
    this.#input = input;
    this.#output = output;
    limitReadAhead(stream);
    stream.on("readable", () => this.wakeReaders());
    stream.on("end", () => {
      this.ended = true;
      this.wakeReaders();
    });
  }

  override tryRead(): In | undefined {
    const bytes: Buffer | null = this.#stream.read();
    if (bytes === null) return undefined;
    this.bytesRead += bytes.length;
    this.#meter?.consumed(bytes.length + prefixBytes);
    return this.#input.decode(bytes);
  }

  write(message: Out): boolean {
    if (!this.#queue.open) return false;
    const bytes = asBuffer(this.#output.encode(message));
    this.#queue.add(bytes.length);
    this.bytesWritten += bytes.length;
    this.#meter?.queued(bytes.length);
    this.#stream.write(bytes, () => {
      this.#meter?.sent(bytes.length);
      this.#queue.sent(bytes.length);
    });
    return this.#queue.hasRoom;
  }

  drained(): Promise<void> {
    return this.#queue.drained();
  }

  queuedBytes(): number {
    return this.#queue.bytes;
  }

  /** Half-closes: no more writes. */
  endWrites(): void {
    if (!this.#queue.open) return;
    this.#queue.close();
    this.#stream.end();
  }

  /** Ends the stream with an error. Messages received before can still be read. */
  fail(error: MillraceError): void {
    this.failure ??= error;
    this.#queue.close();
    this.wakeReaders();
  }

  /** Ends the stream without an error. */
  finish(): void {
    this.#queue.close();
  }
}

/** A Buffer over the same bytes. */
export const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** For grpc-js, which gets encoded messages: only then their sizes are known. */
export const identity = (bytes: Buffer): Buffer => bytes;

/**
 * grpc-js makes its streams with Node's default of 16 messages of read-ahead, whatever their size.
 * The bound lives in the stream's state, which has no setter; a contract test fails when this stops
 * working.
 */
const limitReadAhead = (stream: NodeDuplex): void => {
  const state: unknown = Reflect.get(stream, "_readableState");
  if (typeof state === "object" && state !== null && "highWaterMark" in state) {
    state.highWaterMark = readAheadMessages;
  }
};

/** The reason of a call's signal after its peer went away. */
export const cancelledError = (): MillraceError =>
  MillraceError.refusal(
    ErrorCode.CANCELLED,
    "the peer cancelled the call, or its connection broke",
  );

export const deadlineError = (): MillraceError =>
  MillraceError.refusal(ErrorCode.DEADLINE_EXCEEDED, "the call's deadline passed: allow more time");
