/** The context of a call that is served on its HTTP/2 stream. */
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Metadata } from "@grpc/grpc-js";
import type { MillraceError } from "@millrace/errors";
import type { CallContext } from "../../../api.ts";
import { cancelledError, deadlineError } from "../../duplex.ts";
import { toMap } from "../../metadata.ts";
import { timeoutMsOf } from "../timeout.ts";

/**
 * A reset this shortly before the deadline comes from a client whose clock runs a little faster,
 * ms.
 */
const clockSlackMs = 10;
/** Headers of the transport itself. */
const transportHeaders = ["grpc-timeout", "grpc-encoding", "grpc-accept-encoding"];
const httpHeaders = ["accept-encoding", "te", "content-type", "millrace-call"];

/**
 * `onAbort` is called at most once, with the reason of the signal; the deadline counts until
 * `done`.
 */
export const streamContext = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  draining: AbortSignal,
  onAbort: (reason: MillraceError) => void,
): { readonly context: CallContext; readonly done: () => void } => {
  const controller = new AbortController();
  const timeoutMs = timeoutMsOf(headers);
  const deadlineMs = performance.now() + timeoutMs;
  let timer: NodeJS.Timeout | undefined;
  const abort = (reason: MillraceError): void => {
    clearTimeout(timer);
    if (controller.signal.aborted) return;
    controller.abort(reason);
    onAbort(reason);
  };
  const closed = (): void => {
    const late = performance.now() >= deadlineMs - clockSlackMs;
    abort(late ? deadlineError() : cancelledError());
  };
  if (Number.isFinite(timeoutMs)) timer = setTimeout(() => abort(deadlineError()), timeoutMs);
  // Also after the handler has answered: a client that resets the call has cancelled it all the
  // same.
  stream.once("aborted", closed);
  stream.once("close", closed);
  if (stream.destroyed || stream.closed) closed();
  const socket = stream.session?.socket;
  let metadata: ReadonlyMap<string, string> | undefined;
  const context: CallContext = {
    signal: controller.signal,
    draining,
    timeoutMs,
    peer: `${socket?.remoteAddress ?? "unknown"}:${socket?.remotePort ?? 0}`,
    get metadata() {
      metadata ??= metadataOf(headers);
      return metadata;
    },
  };
  return { context, done: () => clearTimeout(timer) };
};

const metadataOf = (headers: IncomingHttpHeaders): ReadonlyMap<string, string> => {
  const metadata = Metadata.fromHttp2Headers(headers);
  for (const name of [...transportHeaders, ...httpHeaders]) metadata.remove(name);
  return toMap(metadata);
};
