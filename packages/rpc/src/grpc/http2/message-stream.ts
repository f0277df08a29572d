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
import { MessageSplitter, prefixBytes } from "./framing.ts";

/**
 * Received bytes that no reader has asked for; beyond this the stream is paused and its window
 * fills.
 */
export const readQueueBytesMax = 256 * 1024;

export abstract class MessageStream<In, Out> extends Pulled<In> {
  protected readonly output: Codec<Out>;
  protected readonly queue = new SendQueue(writeQueueBytesMax);
  readonly #input: Codec<In>;
  readonly #meter: StreamMeter | undefined;
  readonly #splitter: MessageSplitter;
  readonly #take = (message: Buffer): void => {
    this.#received.push(message);
    this.#receivedBytes += message.length;
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
    this.output = output;
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
    }
    this.#receivedBytes -= bytes.length;
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

  /** Counts a message that is handed over to the stream. */
  protected counted(bytes: number): void {
    this.queue.add(bytes);
    this.bytesWritten += bytes;
    this.#meter?.queued(bytes);
  }

  protected sent(bytes: number): void {
    this.#meter?.sent(bytes);
    this.queue.sent(bytes);
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
