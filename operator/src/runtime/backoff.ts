/** How long to wait after failures. */
import type { Random } from "@millrace/env";

export interface BackoffOptions {
  readonly minMs: number;
  readonly maxMs: number;
}

/**
 * Twice as long after each failure, up to `maxMs`, and then between half of that and all of it, so
 * that those who failed together do not come back together. `failures` counts from 1.
 */
export const backoffMs = (
  { minMs, maxMs }: BackoffOptions,
  failures: number,
  random: Random,
): number => {
  const fullMs = Math.min(maxMs, minMs * 2 ** Math.min(failures - 1, 30));
  return fullMs / 2 + (random.float() * fullMs) / 2;
};
