import type { Random } from "@millrace/env";

/** Shortest and longest nominal pause, milliseconds. */
export const backoffRangeMs = { min: 50, max: 2_000 } as const;

/**
 * Pause before a retry, milliseconds; `attempt` 0 is the first. Doubles from 50 to 2,000, less up
 * to half at random, so that clients do not come back all at once. At least `floorMs`.
 */
export const backoffMs = (attempt: number, random: Random, floorMs = 0): number => {
  const nominalMs = Math.min(backoffRangeMs.max, backoffRangeMs.min * 2 ** Math.min(attempt, 10));
  return Math.max(floorMs, nominalMs * (0.5 + random.float() / 2));
};
