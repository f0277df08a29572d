/**
 * The admission of one call: follows its message prefixes, counts its bytes, times its silences.
 */
import { ErrorCode, MillraceError, sizeText } from "@millrace/errors";
import { MessageFraming } from "./framing.ts";
import type { AdmissionLimits, LimitName } from "./limits.ts";

/** A call begins with its first whole message, its end, or this many bytes of a message. */
export const beginBytes = 16 * 1024;
/** An answered call is reset if its peer has not ended it by then, ms. */
export const endTimeoutMs = 5_000;

/** The connection of a call: clock, limits and budgets that the calls of it share. */
export interface StreamOwner {
  readonly nowMs: number;
  readonly limits: Pick<AdmissionLimits, "begunBytesPerConnectionMax">;
  /** Bytes of messages came. */
  receivedPayload(bytes: number): void;
  /** A handler took messages of this size. */
  took(bytes: number): void;
  /** Adds to the lengths of messages that have begun and are not complete; returns their sum. */
  addBegun(bytes: number): number;
  /** Takes bytes from the budget. May end calls, this one among them. */
  buffer(bytes: number): void;
  /** Gives bytes back to the budget. */
  release(bytes: number): void;
  /** The call was ended for a limit. */
  terminated(limit: LimitName): void;
  forget(stream: AdmittedStream): void;
}

export interface StreamHandle {
  /**
   * Ends the call with this status where that is still possible, or resets it; `atOnce` frees its
   * memory first.
   */
  refuse(error: MillraceError, atOnce: boolean): void;
  /** Received bytes that no handler has taken yet: the peer is waiting for the server. */
  unreadBytes(): number;
}

/** The error for compressed messages, announced by a header or by the flag of a message. */
export const compressed = (): MillraceError =>
  MillraceError.refusal(
    ErrorCode.UNSUPPORTED_OPERATION,
    "messages may not be compressed: compress the records of a batch, see its codec",
  );

/** The requests that a method takes. */
export interface CallShape {
  /** Largest message, bytes. */
  readonly bytesMax: number;
  /** The request is exactly one message. */
  readonly single: boolean;
}

/** One call. Its buffered bytes are given back when it closes, or earlier. */
export class AdmittedStream {
  readonly #owner: StreamOwner;
  readonly path: string;
  readonly #handle: StreamHandle;
  readonly #framing: MessageFraming;
  readonly #shape: CallShape;
  /** Why the admission ended it. */
  failure: MillraceError | undefined;
  #buffered = 0;
  #queued = 0;
  #begun = 0;
  #over = false;
  #ended = false;
  #finishedMs: number | undefined;
  #messagesSeen = 0;
  #heardMs: number;
  #messageMs: number;
  #sentMs: number;

  constructor(owner: StreamOwner, path: string, shape: CallShape, handle: StreamHandle) {
    this.#owner = owner;
    this.path = path;
    this.#handle = handle;
    this.#shape = shape;
    this.#framing = new MessageFraming(shape.bytesMax);
    const { nowMs } = owner;
    this.#heardMs = nowMs;
    this.#messageMs = nowMs;
    this.#sentMs = nowMs;
  }

  /** Bytes that it takes of the budgets. */
  get buffered(): number {
    return this.#buffered;
  }

  /**
   * Whether a handler may start. Until then a call is only its headers, at a fraction of the cost.
   */
  get ready(): boolean {
    return this.#ended || this.#framing.messages > 0 || this.#buffered >= beginBytes;
  }

  /** Bytes from the peer. False: drop them, the call is over. */
  received(chunk: Uint8Array): boolean {
    if (this.#over) return false;
    this.#owner.receivedPayload(chunk.length);
    this.#heardMs = this.#owner.nowMs;
    const tooLarge = this.#framing.follow(chunk);
    if (this.#framing.messages > this.#messagesSeen) {
      this.#messagesSeen = this.#framing.messages;
      this.#messageMs = this.#owner.nowMs;
      if (this.#shape.single && this.#messagesSeen > 1) {
        this.#malformed("the request has more than one message: send them in calls of their own");
        return false;
      }
    }
    if (this.#framing.flagged) {
      this.terminate("encoding", compressed());
      return false;
    }
    if (tooLarge !== undefined) {
      const most = sizeText(this.#shape.bytesMax);
      const text = `a message of ${sizeText(tooLarge)}, ${this.path} takes at most ${most}: split it`;
      this.terminate("message_bytes", MillraceError.refusal(ErrorCode.MESSAGE_TOO_LARGE, text));
      return false;
    }
    this.#buffer(chunk.length);
    if (this.#framing.begunBytes !== this.#begun) this.#begin();
    return !this.#over;
  }

  /** The peer has half-closed. */
  endOfInput(): void {
    this.#ended = true;
    if (this.#framing.unfinished) {
      this.#malformed("the request ends inside a message: send it whole");
    } else if (this.#shape.single && this.#framing.messages === 0) {
      this.#malformed("the request has no message: send one, if only an empty one");
    }
  }

  /** The handler took a message of this size, prefix included. */
  consumed(bytes: number): void {
    this.#owner.took(bytes);
    this.#release(Math.min(bytes, this.#buffered - this.#queued));
  }

  /** Bytes were written and are not sent yet. */
  queued(bytes: number): void {
    if (this.#over) return;
    if (this.#queued === 0) this.#sentMs = this.#owner.nowMs;
    this.#queued += bytes;
    this.#buffer(bytes);
  }

  sent(bytes: number): void {
    if (this.#over) return;
    this.#sentMs = this.#owner.nowMs;
    this.#queued -= bytes;
    this.#release(bytes);
  }

  /** The handler has answered; the peer still has to take the answer and to end its side. */
  finished(): void {
    if (this.#shape.single) this.#owner.took(this.#buffered - this.#queued);
    this.#finishedMs = this.#owner.nowMs;
  }

  /** The stream is closed, for whatever reason. */
  closed(): void {
    this.#end();
    this.#owner.forget(this);
  }

  /** Ends the call for a limit. */
  terminate(limit: LimitName, error: MillraceError): void {
    if (this.#over) return;
    this.#end();
    this.failure = error;
    this.#handle.refuse(error, error.code === ErrorCode.ADMISSION_REJECTED);
    this.#owner.terminated(limit);
  }

  /** Ends the call for silence, or for a peer that does not read. */
  check(nowMs: number, limits: AdmissionLimits): void {
    if (this.#over) return;
    if (this.#queued > 0 && nowMs - this.#sentMs > limits.slowReaderTimeoutMs) {
      const text =
        `nothing of ${sizeText(this.#queued)} was taken in ${limits.slowReaderTimeoutMs} ms: ` +
        "read faster, or ask for less";
      this.terminate("slow_reader", MillraceError.refusal(ErrorCode.ADMISSION_REJECTED, text));
      return;
    }
    if (this.#finishedMs !== undefined) {
      if (this.#queued > 0 || nowMs - this.#finishedMs < endTimeoutMs) return;
      const text = "the call is over: end its request, too";
      this.terminate("request_timeout", MillraceError.refusal(ErrorCode.ADMISSION_REJECTED, text));
      return;
    }
    const waits = !this.#ended && (this.#framing.unfinished || this.#framing.messages === 0);
    if (!waits) return;
    if (this.#handle.unreadBytes() > 0) {
      this.#heardMs = nowMs;
      this.#messageMs = nowMs;
      return;
    }
    if (!this.#framing.unfinished) {
      const openMs = Math.min(limits.firstMessageTimeoutMs, limits.requestTimeoutMs);
      if (nowMs - this.#heardMs <= openMs) return;
      this.#silent(`no opening message within ${openMs} ms: send one with the call`);
      return;
    }
    const silent = nowMs - this.#heardMs > limits.requestTimeoutMs;
    const trickles = nowMs - this.#messageMs > 4 * limits.requestTimeoutMs;
    if (!silent && !trickles) return;
    this.#silent(
      `no whole message within ${limits.requestTimeoutMs} ms: send it at once, or later`,
    );
  }

  #silent(text: string): void {
    this.terminate(
      "request_timeout",
      MillraceError.refusal(ErrorCode.STREAM_PROTOCOL_VIOLATION, text),
    );
  }

  #malformed(text: string): void {
    this.terminate("framing", MillraceError.refusal(ErrorCode.INVALID_REQUEST, text));
  }

  /** Counts the length of the message that has begun, before its bytes arrive. */
  #begin(): void {
    if (this.#over) return;
    const { begunBytesPerConnectionMax } = this.#owner.limits;
    const more = this.#framing.begunBytes - this.#begun;
    this.#begun += more;
    const begunBytes = this.#owner.addBegun(more);
    if (more <= 0 || begunBytes <= begunBytesPerConnectionMax) return;
    const text =
      `messages of ${sizeText(begunBytes)} have begun on this connection, at most ` +
      `${sizeText(begunBytesPerConnectionMax)}: end some before the next`;
    const limit = "begun_bytes_per_connection";
    const details = { retryAfterMs: 1000, facts: { limit } };
    this.terminate(limit, MillraceError.refusal(ErrorCode.ADMISSION_REJECTED, text, details));
  }

  #buffer(bytes: number): void {
    this.#buffered += bytes;
    this.#owner.buffer(bytes);
  }

  #release(bytes: number): void {
    if (this.#over) return;
    this.#buffered -= bytes;
    this.#owner.release(bytes);
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#owner.release(this.#buffered);
    this.#buffered = 0;
    this.#owner.addBegun(-this.#begun);
    this.#begun = 0;
  }
}
