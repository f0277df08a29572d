import type { Random } from "@millrace/env";

/** Shortest and longest nominal pause, milliseconds. */
export const backoffRangeMs = { min: 50, max: 2_000 } as const;

/**
 * Pause before attempt `attempt` (0 is the first retry), milliseconds: doubles from 50 to 2,000, of
 * which a random half is taken off so that many clients do not come back together.
 */
export const backoffMs = (attempt: number, random: Random, floorMs = 0): number => {
  const nominalMs = Math.min(backoffRangeMs.max, backoffRangeMs.min * 2 ** Math.min(attempt, 10));
  return Math.max(floorMs, nominalMs * (0.5 + random.float() / 2));
};
