/**
 * How many moves a broker may take part in at the moment: one more while records are committed in
 * time, half as many once they are not. Pure; time comes in as an argument.
 */
import { rebalanceLimits } from "../limits.ts";

export class Pace {
  #moves = 1;
  #changedMs: number | undefined;

  /** `lagMs`: the longest that records of any broker have waited to be committed. */
  look(lagMs: number, movesMax: number, nowMs: number): number {
    const { paceFastMsMax, paceIntervalMs, paceSlowMs } = rebalanceLimits;
    this.#changedMs ??= nowMs;
    // What the last change has done shows only after a while.
    if (nowMs - this.#changedMs < paceIntervalMs) return this.#moves;
    if (lagMs >= paceSlowMs) this.#set(Math.max(1, this.#moves >> 1), nowMs);
    else if (lagMs <= paceFastMsMax) this.#set(Math.min(movesMax, this.#moves + 1), nowMs);
    return this.#moves;
  }

  #set(moves: number, nowMs: number): void {
    this.#moves = moves;
    this.#changedMs = nowMs;
  }
}
