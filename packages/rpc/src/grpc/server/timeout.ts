/** The time that a client gives a call, from its request headers. */
import type { IncomingHttpHeaders } from "node:http2";

const timeoutUnitMs: Readonly<Record<string, number>> = {
  ...{ H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000001 },
};
/** Longest delay of a Node timer, ms. */
const timerMsMax = 2 ** 31 - 1;

/**
 * Timeout of a call, ms: Infinity without one, NaN if malformed (grpc-js would answer INTERNAL).
 */
export const timeoutMsOf = (headers: IncomingHttpHeaders): number => {
  const timeout = headers["grpc-timeout"];
  if (timeout === undefined) return Number.POSITIVE_INFINITY;
  const [, digits, unit = ""] = /^(\d{1,8})\s*([HMSmun])$/.exec(String(timeout)) ?? [];
  return digits === undefined ? Number.NaN : Number(digits) * (timeoutUnitMs[unit] ?? 1);
};

/**
 * False if malformed. A timeout that no timer can hold is removed; grpc-js would let it overflow.
 */
export const takeTimeout = (headers: IncomingHttpHeaders): boolean => {
  const ms = timeoutMsOf(headers);
  if (ms > timerMsMax) delete headers["grpc-timeout"];
  return !Number.isNaN(ms);
};
