/** Measures cases, one after the other: rounds go through the contenders in turn. */
import type { Case } from "../cases/case.ts";
import type { CaseResult, Sample } from "./report.ts";

export interface RunnerOptions {
  readonly rounds: number;
  /** Longest time for one contender's turn, or for what is before or after a case, ms. */
  readonly partMs: number;
}

/** Rejects after `ms`. What was waited for goes on: its processes have deadlines of their own. */
const inTime = async <T>(work: Promise<T>, ms: number): Promise<T> => {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`not over after ${ms / 1000} s`)), ms);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
};

export class Runner {
  readonly #options: RunnerOptions;
  /** What went wrong: it fails the run at its end, but does not end it. */
  readonly failures: string[] = [];

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** Does a part of a run. False when it failed. */
  async attempt(what: string, part: () => Promise<void> | undefined): Promise<boolean> {
    try {
      await inTime(Promise.resolve(part()), this.#options.partMs);
      return true;
    } catch (thrown) {
      const failure = `${what}: ${thrown instanceof Error ? thrown.message : thrown}`;
      this.failures.push(failure);
      console.error(failure);
      return false;
    }
  }

  async measure<P>(of: Case<P>, peers: P): Promise<CaseResult> {
    const { id, title, claims, rounds = this.#options.rounds } = of;
    const startedMs = performance.now();
    const samples: Record<string, Sample[]> = {};
    const result = (skipped?: string): CaseResult => {
      const seconds = (performance.now() - startedMs) / 1000;
      return { id, title, claims, samples, seconds, ...(skipped === undefined ? {} : { skipped }) };
    };
    const obstacle = of.obstacle?.(peers);
    if (obstacle !== undefined) return result(obstacle);
    const isPrepared = await this.attempt(`${id} before`, () => of.before?.(peers));
    for (let round = 0; isPrepared && round < rounds; round += 1) {
      for (const [name, run] of Object.entries(of.contenders)) {
        await this.attempt(`${id} ${name}`, async () => {
          const sample = await run(peers);
          const list = samples[name] ?? [];
          list.push(sample);
          samples[name] = list;
        });
      }
    }
    await this.attempt(`${id} after`, () => of.after?.(peers));
    return result();
  }
}
