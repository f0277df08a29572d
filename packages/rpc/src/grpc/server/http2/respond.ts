/** Statuses of calls that grpc-js does not end. */
import { constants, type ServerHttp2Stream } from "node:http2";
import { toWireStatus } from "../../../status.ts";
import { asBuffer } from "../../duplex.ts";

/** A call whose status cannot be delivered is reset after this, ms. */
const statusTimeoutMs = 5_000;

/** Resets the stream later: the peer has some time to take the status and to stop. */
export const resetLater = (stream: ServerHttp2Stream): void => {
  const timer = setTimeout(() => {
    if (!stream.closed) stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }, statusTimeoutMs);
  timer.unref();
  stream.once("close", () => clearTimeout(timer));
};

/** Trailers that end a call: OK, or the status of an error. */
export const trailersOf = (thrown?: unknown): Record<string, string | number> => {
  if (thrown === undefined) return { "grpc-status": 0, "grpc-message": "" };
  const { code, message, details } = toWireStatus(thrown);
  const trailers: Record<string, string | number> = {
    "grpc-status": code,
    "grpc-message": encodeURI(message),
  };
  if (details !== undefined)
    trailers["grpc-status-details-bin"] = asBuffer(details).toString("base64");
  return trailers;
};

/** Ends a call that has no response headers yet. */
export const respond = (stream: ServerHttp2Stream, thrown?: unknown): void => {
  // The peer is gone: nobody is left to be told.
  stream.on("error", () => {});
  // Refusing the call may have ended its connection. A response would then throw in an event
  // handler.
  if (stream.closed || stream.destroyed) return;
  const headers = {
    [constants.HTTP2_HEADER_STATUS]: 200,
    [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc+proto",
    ...trailersOf(thrown),
  };
  stream.respond(headers, { endStream: true });
  // grpc-js may try to respond in its turn: a second response would throw in an event handler.
  stream.respond = () => {};
  if (thrown !== undefined) resetLater(stream);
};
