/**
 * Messages in both directions of one HTTP/2 stream, as server and client of bidirectional calls
 * share it: what has come is delivered in the event that brought its last byte, what is written
 * goes to the stream as it is (ADR 7).
 */
import type { Http2Stream } from "node:http2";
import type { MillraceError } from "@millrace/errors";
import type { Codec } from "../../api.ts";
import { Pulled } from "../../pulled.ts";
import { SendQueue } from "../../send-queue.ts";
import { type StreamMeter, writeQueueBytesMax } from "../duplex.ts";
import { framesOf, MessageSplitter, prefixBytes } from "./framing.ts";

/**
 * Received bytes that no reader has asked for; beyond this the stream is paused and its window
 * fills.
 */
export const readQueueBytesMax = 256 * 1024;
/** What a message costs besides its bytes, about: an empty one is an object, too. */
const messageCostBytes = 128;
/** Read messages are let go once they are this many, and no fewer than those that wait. */
const heldMax = 64;

export interface QueuedMessage {
  readonly frames: readonly Uint8Array[];
  /** Without its prefix. */
  readonly bytes: number;
}

export abstract class MessageStream<In, Out> extends Pulled<In> {
  protected readonly queue = new SendQueue(writeQueueBytesMax);
  readonly #input: Codec<In>;
  readonly #output: Codec<Out>;
  readonly #meter: StreamMeter | undefined;
  readonly #splitter: MessageSplitter;
  readonly #take = (message: Buffer): void => {
    this.#received.push(message);
    this.#receivedBytes += message.length + messageCostBytes;
  };
  #stream: Http2Stream | undefined;
  #received: Buffer[] = [];
  #next = 0;
  #receivedBytes = 0;
  #paused = false;
  bytesRead = 0;
  bytesWritten = 0;

  constructor(input: Codec<In>, output: Codec<Out>, bytesMax?: number, meter?: StreamMeter) {
    super();
    this.#input = input;
    this.#output = output;
    this.#meter = meter;
    this.#splitter = new MessageSplitter(bytesMax);
  }

  override tryRead(): In | undefined {
    const bytes = this.#received[this.#next];
    if (bytes === undefined) return undefined;
    this.#next += 1;
    if (this.#next === this.#received.length) {
      this.#received = [];
      this.#next = 0;
    } else if (this.#next >= heldMax && this.#next * 2 >= this.#received.length) {
      // A reader that is always a little behind never comes to the end of the list.
      this.#received = this.#received.slice(this.#next);
      this.#next = 0;
    }
    this.#receivedBytes -= bytes.length + messageCostBytes;
    if (this.#paused && this.#receivedBytes < readQueueBytesMax) {
      this.#paused = false;
      this.#stream?.resume();
    }
    this.bytesRead += bytes.length;
    this.#meter?.consumed(bytes.length + prefixBytes);
    return this.#input.decode(bytes);
  }

  drained(): Promise<void> {
    return this.queue.drained();
  }

  queuedBytes(): number {
    return this.queue.bytes;
  }

  /** Ends the stream with an error. Messages received before can still be read. */
  fail(error: MillraceError): void {
    this.failure ??= error;
    this.queue.close();
    this.wakeReaders();
  }

  /** What the peer sends comes from here. */
  protected receiveFrom(stream: Http2Stream): void {
    this.#stream = stream;
    stream.on("data", (chunk: Buffer) => this.#onData(chunk));
  }

  /** Its input is dropped from here on. */
  protected abstract get isOver(): boolean;

  /** What comes is no message. */
  protected abstract broken(thrown: unknown): void;

  /** The message in frames, which counts as queued from here on. */
  protected queued(message: Out): QueuedMessage {
    const parts = this.#output.parts?.(message) ?? [this.#output.encode(message)];
    let bytes = 0;
    for (const part of parts) bytes += part.length;
    this.queue.add(bytes);
    this.bytesWritten += bytes;
    this.#meter?.queued(bytes);
    return { frames: framesOf(parts, bytes), bytes };
  }

  protected send(stream: Http2Stream, { bytes, frames }: QueuedMessage): void {
    if (frames.length > 1) stream.cork();
    const last = frames.length - 1;
    for (let i = 0; i < last; i += 1) stream.write(frames[i]);
    stream.write(frames[last], () => {
      this.#meter?.sent(bytes);
      this.queue.sent(bytes);
    });
    if (last > 0) stream.uncork();
  }

  #onData(chunk: Buffer): void {
    if (this.isOver) return;
    try {
      this.#splitter.feed(chunk, this.#take);
    } catch (thrown) {
      this.broken(thrown);
      return;
    }
    if (!this.#paused && this.#receivedBytes >= readQueueBytesMax) {
      this.#paused = true;
      this.#stream?.pause();
    }
    this.wakeReaders();
  }
}
