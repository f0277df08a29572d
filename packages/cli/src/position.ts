/** `--from` and its kin. */
import type { Position } from "@millrace/client";
import { UsageError } from "./io.ts";

/** `earliest`, `latest`, an offset, `-N` (the last N records), or an RFC 3339 time. Throws UsageError. */
export const parsePosition = (text: string): Position => {
  if (text === "earliest" || text === "latest") return text;
  if (/^\d{1,16}$/.test(text)) return { offset: BigInt(text) };
  if (/^-\d{1,15}$/.test(text)) return { tail: Number(text.slice(1)) };
  const rfc3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;
  const timestampMs = rfc3339.test(text) ? Date.parse(text.replace(" ", "T")) : Number.NaN;
  if (Number.isFinite(timestampMs)) return { timestampMs: Math.max(0, timestampMs) };
  throw new UsageError(
    `--from ${text}: use earliest, latest, an offset, -N, or a time such as 2026-01-31T12:00:00Z`,
  );
};
