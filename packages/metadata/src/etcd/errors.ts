/** What an error of etcd means: for the server that gave it, for the call, for the caller. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { notDone, unknownOutcome } from "../outcome.ts";
import { EtcdError, etcdSays } from "./raw-api.ts";

/** gRPC codes by name. */
const grpc = {
  invalidArgument: 3,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  unauthenticated: 16,
} as const;

/** Codes that a server gives before it does anything. */
const refusals: ReadonlySet<number> = new Set(Object.values(grpc));

/**
 * Whether etcd itself has refused the call, and nothing was done. All else may be the connection's
 * end, after which the outcome of a write is unknown.
 */
export const isRefusal = ({ code, message }: EtcdError): boolean =>
  // gRPC ends a connection that it finds too busy with the code of etcd's quotas.
  code === grpc.resourceExhausted ? message.includes(etcdSays) : refusals.has(code);

/** The login has ended: users or roles have changed, or nobody used it for minutes. */
export const isLoginOver = ({ code, message }: EtcdError): boolean =>
  code === grpc.unauthenticated || message.includes("auth store is old");

/** The lease is gone, or was never granted. */
export const isLeaseGone = (thrown: unknown): boolean =>
  thrown instanceof EtcdError && thrown.code === grpc.notFound;

/** The revision is compacted away, or in the future. */
export const isOutOfRange = (thrown: unknown): boolean =>
  thrown instanceof EtcdError && thrown.code === grpc.outOfRange;

/** For the caller, of a call that etcd has refused. */
export const refusalOf = (error: EtcdError): MillraceError => {
  const cause = { cause: error };
  const say = (code: ErrorCode, advice: string): MillraceError =>
    new MillraceError(code, `etcd refuses: ${error.message}: ${advice}`, cause);
  if (/user name is empty|authentication failed/.test(error.message)) {
    return notDone(`etcd refuses: ${error.message}: set its user and password`, error);
  }
  switch (error.code) {
    case grpc.resourceExhausted:
      return say(ErrorCode.ADMISSION_REJECTED, "look at its alarms, its quota and its load");
    case grpc.permissionDenied:
    case grpc.unauthenticated:
      return notDone(
        `etcd refuses: ${error.message}: check user, password, and the role's right to the root`,
        error,
      );
    case grpc.unimplemented:
      return say(ErrorCode.UNSUPPORTED_OPERATION, "use etcd 3.6.9 or newer");
    case grpc.notFound:
      return say(ErrorCode.INVALID_REQUEST, "grant a new lease");
    case grpc.outOfRange:
      return say(ErrorCode.INVALID_REQUEST, "list again");
    default:
      return say(ErrorCode.INVALID_REQUEST, "this is a bug: report it");
  }
};

/** For the caller, of a call that no server has answered. */
export const failureOf = (isWrite: boolean, error: unknown): MillraceError => {
  const text = error instanceof Error ? error.message : String(error);
  return isWrite
    ? unknownOutcome(`etcd has not answered a write, which may have happened: ${text}`, error)
    : notDone(`etcd does not answer: ${text}: check its endpoints and its health`, error);
};
