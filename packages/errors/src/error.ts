import type { Endpoint } from "./endpoint.ts";
import { ErrorCode, type ErrorSpec, errorSpec, isKnownCode } from "./table.ts";

/** The leader of a partition; see `millrace.common.v1.LeaderHint`. */
export interface LeaderHint {
  readonly brokerId: number;
  readonly leaderEpoch: number;
  /** Undefined: the sender knows the leader, but not where clients reach it. */
  readonly endpoint: Endpoint | undefined;
  readonly metadataRevision: bigint;
}

/** What an error carries besides its text. */
export interface ErrorDetails {
  readonly leaderHint?: LeaderHint;
  /** Shortest pause before a retry, ms. */
  readonly retryAfterMs?: number;
  /** With END_OFFSET_MISMATCH: where the log ends. */
  readonly actualEndOffset?: bigint;
  /** With LAST_OFFSET_MISMATCH: offset of the key's last record, -1 where there is none. */
  readonly actualLastOffsetForKey?: bigint;
  /** Machine-readable facts, sent as `ErrorInfo.metadata`. No secrets. */
  readonly facts?: Readonly<Record<string, string>>;
  /**
   * Annotations that came with a code which this version does not know. Known codes have their own.
   */
  readonly spec?: ErrorSpec;
  /** Kept for the log, never sent. */
  readonly cause?: unknown;
}

/**
 * The error type of the system. `message` says what happened, the value, and what to do. Any other
 * thrown value is a bug, and becomes INTERNAL in `MillraceError.from`.
 */
export class MillraceError extends Error {
  // Private, because what prints an error prints its fields, too: `code: 36` helps nobody.
  readonly #code: ErrorCode;
  readonly #details: ErrorDetails;
  readonly #spec: ErrorSpec;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.#code = code;
    this.#details = details;
    const own = errorSpec(code);
    this.#spec = details.spec === undefined || isKnownCode(code) ? own : details.spec;
    // Stack traces begin with the name, also that of an error which nobody catches.
    const value = `MillraceError [${this.#spec.name}]`;
    Object.defineProperty(this, "name", { value, configurable: true, writable: true });
  }

  get code(): ErrorCode {
    return this.#code;
  }

  /** Name of the code, as in `error: CODE: …`. */
  get codeName(): string {
    return this.#spec.name;
  }

  /** What a caller may do; of an unknown code, what its sender said. */
  get spec(): ErrorSpec {
    return this.#spec;
  }

  get leaderHint(): LeaderHint | undefined {
    return this.#details.leaderHint;
  }

  get retryAfterMs(): number | undefined {
    return this.#details.retryAfterMs;
  }

  /** With END_OFFSET_MISMATCH: where the log ends. */
  get actualEndOffset(): bigint | undefined {
    return this.#details.actualEndOffset;
  }

  /** With LAST_OFFSET_MISMATCH: offset of the key's last record, -1 where there is none. */
  get actualLastOffsetForKey(): bigint | undefined {
    return this.#details.actualLastOffsetForKey;
  }

  get facts(): Readonly<Record<string, string>> | undefined {
    return this.#details.facts;
  }

  /** For client mistakes. Skips the stack trace, which is expensive and shows only our code. */
  static refusal(code: ErrorCode, message: string, details: ErrorDetails = {}): MillraceError {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    try {
      return new MillraceError(code, message, details);
    } finally {
      Error.stackTraceLimit = stackTraceLimit;
    }
  }

  /** Turns a caught value into a MillraceError. */
  static from(thrown: unknown): MillraceError {
    if (thrown instanceof MillraceError) return thrown;
    if (thrown instanceof Error && thrown.name === "AbortError") {
      return new MillraceError(ErrorCode.CANCELLED, "cancelled", { cause: thrown });
    }
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    return new MillraceError(ErrorCode.INTERNAL, `unexpected: ${text}`, { cause: thrown });
  }
}

/** True for an error of this code. */
export const hasCode = (thrown: unknown, code: ErrorCode): thrown is MillraceError =>
  thrown instanceof MillraceError && thrown.code === code;
