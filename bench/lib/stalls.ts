/** How long acknowledgements stood still. */

/** A stretch of time, on the clock of `performance`. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * The longest time between neighbouring acknowledgements (ascending) that reaches into the span,
 * ms. What is still open at the end of the span counts up to there; without any acknowledgement
 * before the span, the wait counts from its beginning.
 */
export const longestStall = (acksMs: readonly number[], { fromMs, toMs }: Span): number => {
  let lastMs = fromMs;
  let longest = 0;
  for (const ackMs of acksMs) {
    if (ackMs > toMs) break;
    if (ackMs > fromMs) longest = Math.max(longest, ackMs - lastMs);
    lastMs = ackMs;
  }
  return Math.max(longest, toMs - lastMs);
};
