/** One end of a simulated stream: a `Duplex` over two wires. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Codec } from "../api.ts";
import { Pulled } from "../pulled.ts";
import { SendQueue } from "../send-queue.ts";
import { fromWireStatus, toWireStatus } from "../status.ts";
import type { Frame, Wire } from "./wire.ts";

/** Flow-control window, bytes. */
const windowBytes = 256 * 1024;
/** Queued bytes from which `write` returns false. */
const queueBytesMax = 1024 * 1024;
/** Largest message received, bytes. */
export const messageBytesMax = 16 * 1024 * 1024 + 64 * 1024;

export class LocalEnd<In, Out> extends Pulled<In> {
  readonly #input: Codec<In>;
  readonly #output: Codec<Out>;
  readonly #inbox: Uint8Array[] = [];
  readonly #outbox: Uint8Array[] = [];
  #unreadBytes = 0;
  readonly #queue = new SendQueue(queueBytesMax);
  #inFlight = 0;
  #endAfterQueue: Frame | undefined;
  /** Set by the connection. */
  wire: Wire | undefined;
  /** Tells the other end that bytes were read. */
  onRead: (bytes: number) => void = () => {};
  /** The stream is over on this side. */
  onOver: () => void = () => {};
  /** A message above the limit arrived. */
  onTooLarge: (error: MillraceError) => void = () => {};

  constructor(input: Codec<In>, output: Codec<Out>) {
    super();
    this.#input = input;
    this.#output = output;
  }

  override tryRead(): In | undefined {
    const bytes = this.#inbox.shift();
    if (bytes === undefined) return undefined;
    this.#unreadBytes -= bytes.length;
    this.onRead(bytes.length);
    return this.#input.decode(bytes);
  }

  write(message: Out): boolean {
    if (!this.#queue.open) return false;
    // Copied, as by a real network.
    const bytes = Uint8Array.from(this.#output.encode(message));
    this.#outbox.push(bytes);
    this.#queue.add(bytes.length);
    this.#pump();
    return this.#queue.hasRoom;
  }

  drained(): Promise<void> {
    return this.#queue.drained();
  }

  queuedBytes(): number {
    return this.#queue.bytes;
  }

  /** Sends a last frame once the queue is empty; no more writes. */
  finishWith(frame: Frame): void {
    if (!this.#queue.open) return;
    this.#queue.close();
    this.#endAfterQueue = frame;
    this.#pump();
  }

  /** Sends a frame at once, ahead of the queue, and stops writing. */
  breakOff(frame: Frame): void {
    this.#queue.close();
    this.#outbox.length = 0;
    this.#queue.clear();
    this.wire?.send(frame);
    this.wakeReaders();
  }

  /** A frame from the other end. */
  take(frame: Frame): void {
    if (frame.kind === "message") {
      if (frame.bytes.length > messageBytesMax) {
        this.onTooLarge(
          new MillraceError(
            ErrorCode.MESSAGE_TOO_LARGE,
            `a message of ${frame.bytes.length} bytes: send at most ${messageBytesMax}`,
          ),
        );
        return;
      }
      this.#inbox.push(frame.bytes);
      this.#unreadBytes += frame.bytes.length;
    } else if (frame.kind === "end") this.ended = true;
    else if (frame.kind === "status") {
      if (frame.status === undefined) this.ended = true;
      else this.failure ??= fromWireStatus(frame.status);
      this.#queue.close();
      this.onOver();
    }
    this.wakeReaders();
  }

  /** The other end has read so much. */
  acknowledge(bytes: number): void {
    this.#inFlight -= bytes;
    this.#pump();
  }

  fail(error: MillraceError): void {
    if (this.failure === undefined && !this.ended) this.failure = error;
    this.#queue.close();
    this.wakeReaders();
    this.onOver();
  }

  #pump(): void {
    while (this.#inFlight < windowBytes) {
      const bytes = this.#outbox.shift();
      if (bytes === undefined) break;
      this.#inFlight += bytes.length;
      this.wire?.send({ kind: "message", bytes });
      this.#queue.sent(bytes.length);
    }
    if (this.#outbox.length === 0 && this.#endAfterQueue !== undefined) {
      const last = this.#endAfterQueue;
      this.#endAfterQueue = undefined;
      this.wire?.send(last);
    }
  }
}

/** The status frame of a handler's end. */
export const statusFrame = (thrown?: unknown): Frame => ({
  kind: "status",
  status: thrown === undefined ? undefined : toWireStatus(thrown),
});
