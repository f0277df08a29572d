/** Checks of options. */
import { ErrorCode, MillraceError, parseEndpoint } from "@millrace/errors";

/** The whole number if it is in range. Throws INVALID_REQUEST. */
export const inRange = (name: string, value: number, min: number, max: number): number => {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new MillraceError(
    ErrorCode.INVALID_REQUEST,
    `${name} is ${value}: use a whole number from ${min} to ${max}`,
  );
};

/** The value if it is one of `allowed`. Throws INVALID_REQUEST. */
export const oneOf = <T extends string>(name: string, value: T, allowed: readonly T[]): T => {
  if (allowed.includes(value)) return value;
  throw new MillraceError(
    ErrorCode.INVALID_REQUEST,
    `${name} is ${JSON.stringify(value)}: use one of ${allowed.join(", ")}`,
  );
};

/** True for `host:port`, with an IPv6 address in brackets. */
export const isEndpoint = (text: string): boolean => parseEndpoint(text) !== undefined;
