/** When each controller took itself for the active one. */
import assert from "node:assert/strict";
import { type ControllerMetrics, noMetrics } from "@millrace/controller";
import type { Clock } from "@millrace/env";

interface Belief {
  readonly controllerId: number;
  readonly fromMs: number;
  toMs: number;
}

export class Beliefs {
  readonly #clock: Clock;
  readonly #all: Belief[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Records when a controller begins to believe, and when it gives up. */
  metricsOf(controllerId: number): ControllerMetrics {
    let belief: Belief | undefined;
    const onReign = (active: boolean): void => {
      const nowMs = this.#clock.monoMs();
      if (active) {
        belief = { controllerId, fromMs: nowMs, toMs: Number.POSITIVE_INFINITY };
        this.#all.push(belief);
      } else if (belief !== undefined) belief.toMs = nowMs;
    };
    return { ...noMetrics, onReign };
  }

  /** Times between two reigns, ms; less than 0 where two controllers believed at a time. */
  gapsMs(): number[] {
    const ordered = this.#all.toSorted((a, b) => a.fromMs - b.fromMs);
    return ordered.slice(1).map(({ fromMs }, i) => fromMs - (ordered[i]?.toMs ?? 0));
  }

  checkDisjoint(): void {
    const overlap = this.gapsMs().findIndex((ms) => ms < 0);
    assert.equal(overlap, -1, `two controllers believed at a time: ${JSON.stringify(this.#all)}`);
  }
}
