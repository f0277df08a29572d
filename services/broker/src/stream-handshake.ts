/** The opening message of a stream, which must arrive in time. */
import type { Clock } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { ServerStream } from "@millrace/rpc";
import { limits } from "./limits.ts";

/** Reads the opening message. Throws STREAM_PROTOCOL_VIOLATION for silence or an early end. */
export const readHandshake = async <In, Out>(
  stream: ServerStream<In, Out>,
  clock: Pick<Clock, "timer">,
): Promise<In> => {
  const timeout = Promise.withResolvers<never>();
  const cancel = clock.timer(limits.openTimeoutMs, () => {
    timeout.reject(
      MillraceError.refusal(
        ErrorCode.STREAM_PROTOCOL_VIOLATION,
        `no opening message within ${limits.openTimeoutMs} ms: send one with open first`,
      ),
    );
  });
  try {
    const first = await Promise.race([stream.read(), timeout.promise]);
    if (first !== undefined) return first;
    throw MillraceError.refusal(
      ErrorCode.STREAM_PROTOCOL_VIOLATION,
      "the stream ended before its opening message: send one with open first",
    );
  } finally {
    cancel();
  }
};
