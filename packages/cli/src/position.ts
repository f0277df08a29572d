/** Reads places in a log: the values of `--from` and `--to`. */
import type { Position } from "@millrace/client";
import { parseDurationMs } from "@millrace/config";
import { UsageError } from "./io.ts";

const dateTime =
  /^(\d{4}-\d{2}-(\d{2}))(?:[Tt ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)([Zz]|[+-]\d{2}:\d{2})?)?$/;

/**
 * Milliseconds since the Unix epoch; NaN if malformed, or for a day that its month does not have.
 * Without a zone it is UTC, as times are printed.
 */
const timeOf = (text: string): number => {
  const [, date, day, time = "00:00", zone = "Z"] = dateTime.exec(text) ?? [];
  if (date === undefined) return Number.NaN;
  // Date.parse takes 30 February for 1 or 2 March.
  const midnight = new Date(`${date}T00:00:00Z`);
  if (Number.isNaN(midnight.getTime()) || midnight.getUTCDate() !== Number(day)) return Number.NaN;
  return Date.parse(`${date}T${time}${zone}`);
};

/** What may be given, for help and for refusals. */
export const positionForms =
  "earliest, latest, an offset (42 or @42), -N (the last N records of each partition), " +
  "-1h (that long ago), a time in UTC (2026-01-31, 2026-01-31T12:00) or with a zone, " +
  "or 1795836527570ms since 1970";

/** Throws UsageError. `flag` names the option in it; `nowMs` is the time of day. */
export const parsePosition = (flag: string, text: string, nowMs: number): Position => {
  if (text === "earliest" || text === "latest") return text;
  const digits = /^@?(\d{1,16})$/.exec(text)?.[1];
  if (digits !== undefined && Number.isSafeInteger(Number(digits)))
    return { offset: BigInt(digits) };
  if (/^-\d{1,15}$/.test(text)) return { tail: -Number(text) };
  const sinceEpoch = /^(\d{1,16})ms$/.exec(text)?.[1];
  const ago = /^-\d.*[a-z]$/i.test(text) ? parseDurationMs(text.slice(1)) : undefined;
  const timestampMs =
    ago === undefined
      ? sinceEpoch === undefined
        ? timeOf(text)
        : Number(sinceEpoch)
      : nowMs - ago;
  if (Number.isFinite(timestampMs)) return { timestampMs: Math.max(0, timestampMs) };
  throw new UsageError(`${flag} ${text}: use ${positionForms}`);
};
