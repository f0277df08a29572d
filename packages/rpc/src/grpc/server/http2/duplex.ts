/**
 * A bidirectional call, served directly on its HTTP/2 stream: grpc-js keeps the connection, this
 * class speaks the framing of gRPC over HTTP/2. Through grpc-js, every message costs several
 * queues, turns, promises and a copy. Input has passed the admission: prefixes are well-formed,
 * sizes are bounded.
 */
import { constants, type ServerHttp2Stream } from "node:http2";
import type { Codec } from "../../../api.ts";
import type { StreamMeter } from "../../duplex.ts";
import { MessageStream } from "../../http2/message-stream.ts";
import { respond, trailersOf } from "./respond.ts";

export class Http2Duplex<In, Out> extends MessageStream<In, Out> {
  readonly #stream: ServerHttp2Stream;
  #over = false;

  constructor(
    stream: ServerHttp2Stream,
    input: Codec<In>,
    output: Codec<Out>,
    meter: StreamMeter | undefined,
  ) {
    super(input, output, undefined, meter);
    this.#stream = stream;
    stream.on("end", () => {
      this.ended = true;
      this.wakeReaders();
    });
    this.receiveFrom(stream);
  }

  write(message: Out): boolean {
    const stream = this.#stream;
    if (!this.queue.open || stream.destroyed || stream.closed) return false;
    const queued = this.queued(message);
    if (!stream.headersSent) stream.respond(responseHeaders, { waitForTrailers: true });
    this.send(stream, queued);
    return this.queue.hasRoom;
  }

  /**
   * Ends the call after what was written: OK, or with the status of an error. Later calls do
   * nothing.
   */
  finish(thrown?: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.queue.close();
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

  /** The handler has ended. */
  protected override get isOver(): boolean {
    return this.#over;
  }

  /** Not after the admission, which has looked at every prefix. */
  protected override broken(thrown: unknown): void {
    this.finish(thrown);
  }
}

const responseHeaders = {
  [constants.HTTP2_HEADER_STATUS]: 200,
  [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc+proto",
  "grpc-accept-encoding": "identity",
} as const;
