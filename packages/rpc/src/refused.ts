/** A channel for an endpoint that its carrier cannot reach. */
import type { MillraceError } from "@millrace/errors";
import type { Channel, ClientStream } from "./api.ts";

/** Every call on it fails with `error`, as calls on a broken connection do; none throws at once. */
export const refusedChannel = (endpoint: string, error: MillraceError): Channel => {
  const stream = <I, O>(): ClientStream<I, O> => ({
    tryRead: () => undefined,
    read: () => Promise.reject(error),
    write: () => false,
    drained: () => Promise.resolve(),
    queuedBytes: () => 0,
    end() {},
    cancel() {},
  });
  return {
    endpoint,
    unary: () => Promise.reject(error),
    serverStream: stream,
    bidi: stream,
    close() {},
  };
};
