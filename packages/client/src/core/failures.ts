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
  readonly actualLastOffsetForKey?: number | bigint | undefined;
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

/**
 * The last record of the key is another one than a send expected (LAST_OFFSET_MISMATCH). Nothing
 * was written: read that record, and decide again.
 */
export class LastOffsetMismatchError extends MillraceError {
  readonly #actual: bigint;

  constructor(message: string, actual: bigint) {
    super(ErrorCode.LAST_OFFSET_MISMATCH, message);
    this.#actual = actual;
  }

  /** Offset of the key's last record, which can be read; -1 where it has none. */
  override get actualLastOffsetForKey(): bigint {
    return this.#actual;
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
  const { actualEndOffset, actualLastOffsetForKey: last } = wire;
  if (code === ErrorCode.END_OFFSET_MISMATCH && actualEndOffset !== undefined) {
    return new EndOffsetMismatchError(wire.message, BigInt(actualEndOffset));
  }
  if (code === ErrorCode.LAST_OFFSET_MISMATCH && last !== undefined) {
    return new LastOffsetMismatchError(wire.message, BigInt(last));
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
