/** Reads the value of `--from`. */
import type { Position } from "@millrace/client";
import { UsageError } from "./io.ts";

const rfc3339 = /^\d{4}-\d{2}-(\d{2})[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;

/**
 * Milliseconds since the Unix epoch; NaN if malformed, or for a day that its month does not have.
 */
const timeOf = (text: string): number => {
  const day = rfc3339.exec(text)?.[1];
  if (day === undefined) return Number.NaN;
  // Date.parse takes 30 February for 1 or 2 March.
  const date = new Date(`${text.slice(0, 10)}T00:00:00Z`);
  if (Number.isNaN(date.getTime()) || date.getUTCDate() !== Number(day)) return Number.NaN;
  return Date.parse(text.replace(" ", "T"));
};

/** `earliest`, `latest`, an offset, `-N` (the last N records), or a time. Throws UsageError. */
export const parsePosition = (text: string): Position => {
  if (text === "earliest" || text === "latest") return text;
  const number = Number(text);
  if (/^\d{1,16}$/.test(text) && Number.isSafeInteger(number)) return { offset: BigInt(text) };
  if (/^-\d{1,15}$/.test(text)) return { tail: -number };
  const timestampMs = timeOf(text);
  if (Number.isFinite(timestampMs)) return { timestampMs: Math.max(0, timestampMs) };
  throw new UsageError(
    `--from ${text}: use earliest, latest, an offset, -N, or a time such as 2026-01-31T12:00:00Z`,
  );
};
