/**
 * A bidirectional call, served directly on its HTTP/2 stream: grpc-js keeps the connection, this
 * class speaks the framing of gRPC over HTTP/2. Through grpc-js, every message costs several
 * queues, turns, promises and a copy. Here, messages are delivered in the event that brought their
 * last byte, and writes go to the stream as they are. Input has passed the admission: prefixes are
 * well-formed, sizes are bounded.
 */
import { constants, type ServerHttp2Stream } from "node:http2";
import type { MillraceError } from "@millrace/errors";
import type { Codec } from "../../../api.ts";
import { Pulled } from "../../../pulled.ts";
import { SendQueue } from "../../../send-queue.ts";
import { type StreamMeter, writeQueueBytesMax } from "../../duplex.ts";
import { respond, trailersOf } from "./respond.ts";

/**
 * Received bytes that no reader has asked for; beyond this the stream is paused and its window
 * fills.
 */
export const readQueueBytesMax = 256 * 1024;

const prefixBytes = 5;
/** Pieces up to this size are copied together; larger ones are sent without a copy. */
const gatheredBytesMax = 4096;

/** Splits chunks into messages. A message within one chunk is a view of it. */
export class MessageSplitter {
  readonly #prefix = Buffer.alloc(prefixBytes);
  #prefixed = 0;
  /** Length of the current message, -1 before it is known. */
  #length = -1;
  #parts: Buffer[] = [];
  #have = 0;

  /** Calls back with every message that these bytes complete. */
  feed(chunk: Buffer, onMessage: (message: Buffer) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#length < 0) {
        at = this.#readPrefix(chunk, at);
        if (this.#length < 0) return;
      }
      const take = Math.min(this.#length - this.#have, chunk.length - at);
      const part = chunk.subarray(at, at + take);
      at += take;
      if (this.#have + take < this.#length) {
        this.#parts.push(part);
        this.#have += take;
        return;
      }
      const message = this.#have === 0 ? part : Buffer.concat([...this.#parts, part], this.#length);
      this.#length = -1;
      this.#have = 0;
      this.#parts = [];
      onMessage(message);
    }
  }

  #readPrefix(chunk: Buffer, from: number): number {
    if (this.#prefixed === 0 && chunk.length - from >= prefixBytes) {
      this.#length = chunk.readUInt32BE(from + 1);
      return from + prefixBytes;
    }
    const taken = chunk.copy(this.#prefix, this.#prefixed, from);
    this.#prefixed += taken;
    if (this.#prefixed === prefixBytes) {
      this.#length = this.#prefix.readUInt32BE(1);
      this.#prefixed = 0;
    }
    return from + taken;
  }
}

/** The frames of a message: prefix and small pieces gathered, large pieces as they are. */
export const framesOf = (parts: readonly Uint8Array[], bytes: number): readonly Uint8Array[] => {
  let smallBytes = prefixBytes;
  for (const { length } of parts) smallBytes += length <= gatheredBytesMax ? length : 0;
  // One allocation for all small pieces; the runs between large pieces are sent as views of it.
  const small = Buffer.allocUnsafe(smallBytes);
  small[0] = 0;
  small.writeUInt32BE(bytes, 1);
  const frames: Uint8Array[] = [];
  let at = 0;
  let end = prefixBytes;
  for (const part of parts) {
    if (part.length <= gatheredBytesMax) {
      small.set(part, end);
      end += part.length;
      continue;
    }
    if (end > at) frames.push(small.subarray(at, end));
    at = end;
    frames.push(part);
  }
  if (end > at) frames.push(small.subarray(at, end));
  return frames;
};

export class Http2Duplex<In, Out> extends Pulled<In> {
  readonly #stream: ServerHttp2Stream;
  readonly #input: Codec<In>;
  readonly #output: Codec<Out>;
  readonly #meter: StreamMeter | undefined;
  readonly #splitter = new MessageSplitter();
  readonly #take = (message: Buffer): void => {
    this.#received.push(message);
    this.#receivedBytes += message.length;
  };
  #received: Buffer[] = [];
  #next = 0;
  #receivedBytes = 0;
  readonly #queue = new SendQueue(writeQueueBytesMax);
  #over = false;
  #paused = false;
  bytesRead = 0;
  bytesWritten = 0;

  constructor(
    stream: ServerHttp2Stream,
    input: Codec<In>,
    output: Codec<Out>,
    meter: StreamMeter | undefined,
  ) {
    super();
    this.#stream = stream;
    this.#meter = meter;
    this.#input = input;
    this.#output = output;
    stream.on("end", () => {
      this.ended = true;
      this.wakeReaders();
    });
    stream.on("data", (chunk: Buffer) => this.#onData(chunk));
  }

  override tryRead(): In | undefined {
    const bytes = this.#received[this.#next];
    if (bytes === undefined) return undefined;
    this.#next += 1;
    if (this.#next === this.#received.length) {
      this.#received = [];
      this.#next = 0;
    }
    this.#receivedBytes -= bytes.length;
    if (this.#paused && this.#receivedBytes < readQueueBytesMax) {
      this.#paused = false;
      this.#stream.resume();
    }
    this.bytesRead += bytes.length;
    this.#meter?.consumed(bytes.length + prefixBytes);
    return this.#input.decode(bytes);
  }

  write(message: Out): boolean {
    const stream = this.#stream;
    if (!this.#queue.open || stream.destroyed || stream.closed) return false;
    const parts = this.#output.parts?.(message) ?? [this.#output.encode(message)];
    let bytes = 0;
    for (const part of parts) bytes += part.length;
    this.#queue.add(bytes);
    this.bytesWritten += bytes;
    this.#meter?.queued(bytes);
    if (!stream.headersSent) stream.respond(responseHeaders, { waitForTrailers: true });
    const frames = framesOf(parts, bytes);
    if (frames.length > 1) stream.cork();
    const last = frames.length - 1;
    for (let i = 0; i < last; i += 1) stream.write(frames[i]);
    stream.write(frames[last], () => this.#sent(bytes));
    if (last > 0) stream.uncork();
    return this.#queue.hasRoom;
  }

  drained(): Promise<void> {
    return this.#queue.drained();
  }

  queuedBytes(): number {
    return this.#queue.bytes;
  }

  /** Ends the call with an error. Messages received before can still be read. */
  fail(error: MillraceError): void {
    this.failure ??= error;
    this.#queue.close();
    this.wakeReaders();
  }

  /**
   * Ends the call after what was written: OK, or with the status of an error. Later calls do
   * nothing.
   */
  finish(thrown?: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#queue.close();
    const stream = this.#stream;
    // The call was refused, or the peer is gone: there is nobody to take a status.
    if (stream.destroyed || stream.closed || stream.writableEnded) return;
    if (!stream.headersSent) {
      respond(stream, thrown);
      return;
    }
    const trailers = trailersOf(thrown);
    stream.once("wantTrailers", () => stream.sendTrailers(trailers));
    stream.end();
  }

  #onData(chunk: Buffer): void {
    // The handler has ended: drop the input.
    if (this.#over) return;
    this.#splitter.feed(chunk, this.#take);
    if (!this.#paused && this.#receivedBytes >= readQueueBytesMax) {
      this.#paused = true;
      this.#stream.pause();
    }
    this.wakeReaders();
  }

  #sent(bytes: number): void {
    this.#meter?.sent(bytes);
    this.#queue.sent(bytes);
  }
}

const responseHeaders = {
  [constants.HTTP2_HEADER_STATUS]: 200,
  [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc+proto",
  "grpc-accept-encoding": "identity",
} as const;
