/**
 * A bidirectional call on an HTTP/2 stream of a connection that grpc-js keeps (ADR 21): the
 * headers, messages and status of gRPC. It may begin before there is a connection; what is written
 * waits.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import type { MillraceError } from "@millrace/errors";
import type { Codec } from "../../api.ts";
import { tooLarge } from "../http2/framing.ts";
import { MessageStream, type QueuedMessage } from "../http2/message-stream.ts";
import { statusOf } from "../metadata.ts";

/** How a call ended, in the words of grpc-js. */
export type Failure = Pick<ServiceError, "code" | "details" | "metadata">;

export interface Http2CallOptions {
  /** Largest message received, bytes. */
  readonly messageBytesMax: number;
  /** Largest message sent, bytes. */
  readonly sentBytesMax: number;
  /** Made when the call begins: it may tell the time that is left. */
  readonly headers: () => OutgoingHttpHeaders;
  /** The server answered. */
  readonly onAnswer: () => void;
  /** The call is over: once, and not after `fail`. */
  readonly onEnd: (failure: Failure | undefined) => void;
}

export class Http2Call<In, Out> extends MessageStream<In, Out> {
  readonly #options: Http2CallOptions;
  #stream: ClientHttp2Stream | undefined;
  /** Written before there was a stream. */
  #waiting: QueuedMessage[] = [];
  #isHalfClosed = false;
  #isOver = false;
  #httpStatus = 200;
  /** What the server said at the end: delivered behind the messages. */
  #status: Failure | undefined;
  #error: NodeJS.ErrnoException | undefined;

  constructor(input: Codec<In>, output: Codec<Out>, options: Http2CallOptions) {
    super(input, output, options.messageBytesMax);
    this.#options = options;
  }

  /** Begins on a connection. */
  begin(session: ClientHttp2Session): void {
    if (this.#isOver) return;
    let stream: ClientHttp2Stream;
    try {
      stream = session.request(this.#options.headers(), { endStream: false });
    } catch (thrown) {
      const isGone = session.closed || session.destroyed;
      const text = `the call cannot begin: ${String(thrown)}`;
      this.ends(failure(isGone ? status.UNAVAILABLE : status.INTERNAL, text));
      return;
    }
    this.#stream = stream;
    stream.on("response", (headers, flags) => {
      this.#httpStatus = headers[":status"] ?? 0;
      if ((flags & constants.NGHTTP2_FLAG_END_STREAM) === 0) this.#options.onAnswer();
      else this.#told(headers);
    });
    stream.on("trailers", (headers) => this.#told(headers));
    stream.on("error", (error: NodeJS.ErrnoException) => {
      // Others are about a reset, which `close` tells.
      if (error.code !== "ERR_HTTP2_STREAM_ERROR") this.#error = error;
    });
    stream.on("end", () => {
      if (this.#status !== undefined) this.#endsAsTold(this.#status);
    });
    stream.on("close", () => {
      const isGone = session.destroyed;
      // An `error` about the same may follow in this turn.
      setImmediate(() => this.#closed(stream.rstCode, isGone));
    });
    this.receiveFrom(stream);
    for (const queued of this.#waiting) this.send(stream, queued);
    this.#waiting = [];
    if (this.#isHalfClosed) stream.end();
  }

  write(message: Out): boolean {
    const stream = this.#stream;
    if (!this.queue.open || stream?.destroyed === true || stream?.closed === true) return false;
    const queued = this.queued(message);
    if (queued.bytes > this.#options.sentBytesMax) {
      this.broken(tooLarge(queued.bytes, this.#options.sentBytesMax));
      return false;
    }
    if (stream === undefined) this.#waiting.push(queued);
    else this.send(stream, queued);
    return this.queue.hasRoom;
  }

  /** Half-closes: no more writes. */
  end(): void {
    if (!this.queue.open) return;
    this.queue.close();
    this.#isHalfClosed = true;
    this.#stream?.end();
  }

  override fail(error: MillraceError): void {
    this.#over(false);
    super.fail(error);
  }

  /** It ends by a failure, before the server said how, or instead. */
  ends(failed: Failure): void {
    if (this.#isOver) return;
    this.#over(false);
    this.#options.onEnd(failed);
  }

  protected override get isOver(): boolean {
    return this.#isOver;
  }

  protected override broken(thrown: unknown): void {
    // A page that says why there is no service is no message either.
    if (this.#httpStatus !== 200) {
      this.ends(httpFailure(this.#httpStatus));
      return;
    }
    const { code, details = "", metadata = new Metadata() } = statusOf(thrown);
    this.ends({ code, details, metadata });
  }

  /** `told`: the server has ended the call. */
  #over(told: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#waiting = [];
    this.queue.close();
    const stream = this.#stream;
    if (stream === undefined || stream.closed) return;
    // A reset would count among those that a server bounds.
    if (told && stream.writableLength === 0) stream.end();
    else stream.close(told ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_CANCEL);
    // What comes until then is nobody's.
    stream.resume();
  }

  /** The server ends the call: nothing more is written, and what has come is read first. */
  #told(headers: IncomingHttpHeaders): void {
    this.#status = toldBy(headers, this.#httpStatus);
    this.queue.close();
  }

  #endsAsTold(told: Failure): void {
    if (this.#isOver) return;
    this.#over(true);
    if (told.code !== status.OK) {
      this.#options.onEnd(told);
      return;
    }
    this.ended = true;
    this.#options.onEnd(undefined);
    this.wakeReaders();
  }

  #closed(rstCode: number, isGone: boolean): void {
    const told = this.#status;
    // Of what came before the end, some was not read yet, and is gone.
    if (told === undefined || told.code === status.OK) this.ends(this.#failureOf(rstCode, isGone));
    else this.#endsAsTold(told);
  }

  /** Why the stream closed without a status. `isGone`: so is its connection. */
  #failureOf(rstCode: number, isGone: boolean): Failure {
    const error = this.#error;
    const byCode = statusOfReset.get(rstCode);
    // Node says CANCEL of all streams of a connection that broke.
    if (byCode !== undefined && !(isGone && byCode === status.CANCELLED)) {
      return failure(byCode, `the server reset the stream with code ${rstCode}`);
    }
    if (isGone) return failure(status.UNAVAILABLE, error?.message ?? "the connection broke");
    if (rstCode === constants.NGHTTP2_NO_ERROR) return httpFailure(this.#httpStatus);
    const lost = error?.code === "ECONNRESET" || error?.code === "ETIMEDOUT";
    const text = error?.message ?? `the server reset the stream with code ${rstCode}`;
    return failure(lost ? status.UNAVAILABLE : status.INTERNAL, text);
  }
}

/** By gRPC's `PROTOCOL-HTTP2`; others are INTERNAL. */
const statusOfReset: ReadonlyMap<number, status> = new Map([
  [constants.NGHTTP2_REFUSED_STREAM, status.UNAVAILABLE],
  [constants.NGHTTP2_CANCEL, status.CANCELLED],
  [constants.NGHTTP2_ENHANCE_YOUR_CALM, status.RESOURCE_EXHAUSTED],
  [constants.NGHTTP2_INADEQUATE_SECURITY, status.PERMISSION_DENIED],
]);

/** By gRPC's `http-grpc-status-mapping`; others are UNKNOWN. */
const statusOfHttp: ReadonlyMap<number, status> = new Map([
  [200, status.INTERNAL],
  [400, status.INTERNAL],
  [401, status.UNAUTHENTICATED],
  [403, status.PERMISSION_DENIED],
  [404, status.UNIMPLEMENTED],
  [429, status.UNAVAILABLE],
  [502, status.UNAVAILABLE],
  [503, status.UNAVAILABLE],
  [504, status.UNAVAILABLE],
]);

const failure = (code: status, details: string): Failure => ({
  code,
  details,
  metadata: new Metadata(),
});

/** The call ended without a status of gRPC. */
const httpFailure = (httpStatus: number): Failure =>
  failure(
    statusOfHttp.get(httpStatus) ?? status.UNKNOWN,
    `the server ended the call with HTTP status ${httpStatus} and none of gRPC: is it Millrace's?`,
  );

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/** The status in trailers. */
const toldBy = (headers: IncomingHttpHeaders, httpStatus: number): Failure => {
  const { "grpc-status": code, "grpc-message": message } = headers;
  if (typeof code !== "string" || !/^\d+$/.test(code)) return httpFailure(httpStatus);
  const details = typeof message === "string" ? decoded(message) : "";
  try {
    return { code: Number(code), details, metadata: Metadata.fromHttp2Headers(headers) };
  } catch {
    return failure(Number(code), details);
  }
};
