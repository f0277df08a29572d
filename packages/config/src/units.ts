/** Sizes and durations as people write them. */
import { digitsText } from "@millrace/errors";

const byteUnits: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["b", 1],
  ["k", 1024],
  ["kib", 1024],
  ["kb", 1000],
  ["m", 1024 ** 2],
  ["mib", 1024 ** 2],
  ["mb", 1000 ** 2],
  ["g", 1024 ** 3],
  ["gib", 1024 ** 3],
  ["gb", 1000 ** 3],
  ["t", 1024 ** 4],
  ["tib", 1024 ** 4],
  ["tb", 1000 ** 4],
]);

const durationUnits: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["min", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);

const parse = (text: string, units: ReadonlyMap<string, number>): number | undefined => {
  const match = /^(-?\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  const unit = units.get(match?.[2]?.toLowerCase() ?? "?");
  if (match?.[1] === undefined || unit === undefined) return undefined;
  const value = Number(match[1]) * unit;
  return Number.isSafeInteger(value) ? value : undefined;
};

/** Bytes of `4096`, `64KiB`, `1.5 GiB`, `10MB`; undefined if malformed. */
export const parseBytes = (text: string): number | undefined => parse(text, byteUnits);

/** Milliseconds of `500`, `500ms`, `10s`, `7d`; undefined if malformed. */
export const parseDurationMs = (text: string): number | undefined => parse(text, durationUnits);

/** Largest first. */
const shownUnits = ["d", "h", "min", "s"];

/** A duration in the largest unit that says exactly as much: `7 d`, `90 s`, `100 ms`. */
export const durationText = (ms: number): string => {
  for (const unit of shownUnits) {
    const unitMs = durationUnits.get(unit) ?? 1;
    if (ms > 0 && ms % unitMs === 0) return `${digitsText(ms / unitMs)} ${unit}`;
  }
  return `${digitsText(ms)} ms`;
};
