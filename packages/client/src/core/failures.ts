/** Errors inside messages, and what the client does about errors. */
import {
  dialable,
  type Endpoint,
  type ErrorAdvice,
  ErrorCode,
  errorSpec,
  type LeaderHint,
  MillraceError,
} from "@millrace/errors";

/** A PartitionError, of the generated code or of the hand-written codecs. */
interface WireError extends ErrorAdvice {
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
  readonly actualEndOffset?: number | bigint | undefined;
}

/**
 * The log does not end where a send expected (END_OFFSET_MISMATCH). Nothing was written: read up to
 * `actualEndOffset`, and decide again.
 */
export class EndOffsetMismatchError extends MillraceError {
  readonly #actualEndOffset: bigint;

  constructor(message: string, actualEndOffset: bigint) {
    super(ErrorCode.END_OFFSET_MISMATCH, message);
    this.#actualEndOffset = actualEndOffset;
  }

  /** Where the log ended. Everything before that can be read. */
  override get actualEndOffset(): bigint {
    return this.#actualEndOffset;
  }
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
  const code = wire.code as ErrorCode;
  const { actualEndOffset } = wire;
  if (code === ErrorCode.END_OFFSET_MISMATCH && actualEndOffset !== undefined) {
    return new EndOffsetMismatchError(wire.message, BigInt(actualEndOffset));
  }
  const { retriable, refreshMetadata, sideEffects } = wire;
  const advice = { retriable, refreshMetadata, sideEffects };
  return new MillraceError(code, wire.message, {
    spec: { ...errorSpec(code), ...advice },
    ...(leaderHint === undefined ? {} : { leaderHint }),
    ...(wire.retryAfterMs === undefined ? {} : { retryAfterMs: wire.retryAfterMs }),
  });
};

export const isRetriable = (error: MillraceError): boolean => error.spec.retriable;

export const wantsRefresh = (error: MillraceError): boolean => error.spec.refreshMetadata;

/** True when the server may be dead: the connection broke, or no answer came. */
export const isSilence = ({ code }: MillraceError): boolean =>
  code === ErrorCode.UNAVAILABLE || code === ErrorCode.DEADLINE_EXCEEDED;

/** The error of every call on a closed client, producer or consumer. */
export const closedError = (): MillraceError =>
  new MillraceError(ErrorCode.CANCELLED, "the client is closed: connect again");
