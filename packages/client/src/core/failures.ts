/** Errors inside messages, and what the client does about errors. */
import {
  dialable,
  type Endpoint,
  type ErrorCode,
  errorSpec,
  type LeaderHint,
  MillraceError,
} from "@millrace/errors";

interface WireError {
  readonly code: number;
  readonly message: string;
  readonly leaderHint?:
    | {
        readonly brokerId: number;
        readonly leaderEpoch: number;
        readonly endpoint?: Endpoint | undefined;
        readonly metadataRevision: number | bigint;
      }
    | undefined;
  readonly retryAfterMs?: number | undefined;
}

/** The throwable form of an error inside a message. */
export const fromWire = (wire: WireError): MillraceError => {
  const hint = wire.leaderHint;
  const leaderHint: LeaderHint | undefined =
    hint === undefined
      ? undefined
      : {
          brokerId: hint.brokerId,
          leaderEpoch: hint.leaderEpoch,
          endpoint: dialable(hint.endpoint),
          metadataRevision: BigInt(hint.metadataRevision),
        };
  return new MillraceError(wire.code as ErrorCode, wire.message, {
    ...(leaderHint === undefined ? {} : { leaderHint }),
    ...(wire.retryAfterMs === undefined ? {} : { retryAfterMs: wire.retryAfterMs }),
  });
};

export const isRetriable = (error: MillraceError): boolean => errorSpec(error.code).retriable;

export const wantsRefresh = (error: MillraceError): boolean =>
  errorSpec(error.code).refreshMetadata;
