/** One end of a stream of the in-memory carrier: a `Duplex` over the frames of a connection. */
import { ErrorCode, MillraceError, sizeText } from "@millrace/errors";
import type { Codec } from "../api.ts";
import { Pulled } from "../pulled.ts";
import { SendQueue } from "../send-queue.ts";
import { fromWireStatus } from "../status.ts";
import { type Frame, forever } from "./transport.ts";

/** Flow-control window of a stream, bytes. */
export const windowBytes = 256 * 1024;
/** Queued bytes from which `write` returns false. */
const queueBytesMax = 1024 * 1024;
/** Largest message received, bytes. */
const messageBytesMax = 16 * 1024 * 1024 + 64 * 1024;

/** How an end reaches the other one. */
export interface EndOptions<In, Out> {
  readonly stream: number;
  readonly input: Codec<In>;
  readonly output: Codec<Out>;
  /** False once the process is dead. */
  readonly isAlive: () => boolean;
  /** Sends a frame. */
  readonly send: (frame: Frame) => void;
  /** Nothing more comes from, or goes to, the other end. Once. */
  readonly onOver: () => void;
  /** A message above the limit arrived. */
  readonly onTooLarge: (error: MillraceError) => void;
}

export class LocalEnd<In, Out> extends Pulled<In> {
  readonly #options: EndOptions<In, Out>;
  readonly #inbox: Uint8Array[] = [];
  readonly #outbox: Uint8Array[] = [];
  readonly #queue = new SendQueue(queueBytesMax);
  /** False until the connection is made. */
  #connected: boolean;
  /** Bytes sent that the other end has not read. */
  #inFlight = 0;
  /** Bytes read that the other end has not been told of. */
  #readBytes = 0;
  #last: Frame | undefined;
  #over = false;

  constructor(options: EndOptions<In, Out>, connected: boolean) {
    super();
    this.#options = options;
    this.#connected = connected;
  }

  get stream(): number {
    return this.#options.stream;
  }

  override tryRead(): In | undefined {
    if (!this.#options.isAlive()) return undefined;
    const bytes = this.#inbox.shift();
    if (bytes === undefined) return undefined;
    this.#readBytes += bytes.length;
    if (this.#readBytes >= windowBytes / 2 && !this.#over) {
      this.#options.send({ kind: "window", stream: this.stream, bytes: this.#readBytes });
      this.#readBytes = 0;
    }
    return this.#options.input.decode(bytes);
  }

  override read(): Promise<In | undefined> {
    return this.#options.isAlive() ? super.read() : forever();
  }

  write(message: Out): boolean {
    if (!this.#queue.open || !this.#options.isAlive()) return false;
    // Copied, as by a real network.
    const bytes = Uint8Array.from(this.#options.output.encode(message));
    this.#outbox.push(bytes);
    this.#queue.add(bytes.length);
    this.#pump();
    return this.#queue.hasRoom;
  }

  drained(): Promise<void> {
    return this.#options.isAlive() ? this.#queue.drained() : forever();
  }

  queuedBytes(): number {
    return this.#queue.bytes;
  }

  /** The connection is made: `first` goes out, and what was written meanwhile. */
  connected(first: Frame): void {
    if (this.#over) return;
    this.#connected = true;
    this.#options.send(first);
    this.#pump();
  }

  /** Sends a last frame once the queue is empty; no more writes. */
  finishWith(last: Frame): void {
    if (!this.#queue.open) return;
    this.#queue.close();
    this.#last = last;
    this.#pump();
  }

  /** Sends a last frame at once, ahead of the queue. Reads fail with `error`. */
  breakOff(last: Frame, error: MillraceError): void {
    if (this.#over) return;
    if (this.#connected) this.#options.send(last);
    this.fail(error);
  }

  /** A frame from the other end. */
  take(frame: Frame): void {
    if (this.#over) return;
    if (frame.kind === "message") this.#receive(frame.bytes);
    else if (frame.kind === "end") this.ended = true;
    else if (frame.kind === "status") {
      if (frame.status === undefined) this.ended = true;
      else this.failure ??= fromWireStatus(frame.status);
      this.#finish();
    } else if (frame.kind === "window") {
      this.#inFlight -= frame.bytes;
      this.#pump();
    }
    this.wakeReaders();
  }

  /** The stream broke: what was received can be read, then reads fail. */
  fail(error: MillraceError): void {
    if (this.failure === undefined && !this.ended) this.failure = error;
    this.#finish();
    this.wakeReaders();
  }

  #receive(bytes: Uint8Array): void {
    if (bytes.length <= messageBytesMax) {
      this.#inbox.push(bytes);
      return;
    }
    this.#options.onTooLarge(
      new MillraceError(
        ErrorCode.MESSAGE_TOO_LARGE,
        `a message of ${sizeText(bytes.length)}: send at most ${sizeText(messageBytesMax)}`,
      ),
    );
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#outbox.length = 0;
    this.#last = undefined;
    this.#queue.close();
    this.#queue.clear();
    this.#options.onOver();
  }

  #pump(): void {
    if (!this.#connected) return;
    while (this.#inFlight < windowBytes) {
      const bytes = this.#outbox.shift();
      if (bytes === undefined) break;
      this.#inFlight += bytes.length;
      this.#options.send({ kind: "message", stream: this.stream, bytes });
      this.#queue.sent(bytes.length);
    }
    const last = this.#last;
    if (this.#outbox.length > 0 || last === undefined) return;
    this.#last = undefined;
    this.#options.send(last);
    // A client that has ended its requests still waits for the answers.
    if (last.kind === "status") this.#finish();
  }
}
