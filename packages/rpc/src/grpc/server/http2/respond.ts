/** Statuses of calls that grpc-js does not end. */
import { constants, type ServerHttp2Stream } from "node:http2";
import { toWireStatus } from "../../../status.ts";
import { asBuffer } from "../../duplex.ts";

/** An ended call whose status can not be sent is reset after this. */
const statusTimeoutMs = 5_000;

/** The peer gets some time to take its status and to stop. */
export const resetLater = (stream: ServerHttp2Stream): void => {
  const timer = setTimeout(() => {
    if (!stream.closed) stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }, statusTimeoutMs);
  timer.unref();
  stream.once("close", () => clearTimeout(timer));
};

/** What ends a call: OK, or the status of what was thrown. */
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

/** Ends a call that nothing was answered to yet. */
export const respond = (stream: ServerHttp2Stream, thrown?: unknown): void => {
  stream.on("error", () => {});
  // Refusing the call may have ended its connection, too; a response would be thrown out of the event handlers.
  if (stream.closed || stream.destroyed) return;
  const headers = {
    [constants.HTTP2_HEADER_STATUS]: 200,
    [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc+proto",
    ...trailersOf(thrown),
  };
  stream.respond(headers, { endStream: true });
  // Who does not know yet answers in its turn: a second response would be thrown out of its event handlers.
  stream.respond = () => {};
  if (thrown !== undefined) resetLater(stream);
};
