/** What the tests of pools and brokers run in a thread of their own. */
import {
  crashAtEveryWrite,
  runScenario,
  survivesFaults,
} from "../../../runtime/testing/crash-points.ts";
import { manyFaults } from "../../../runtime/testing/fake-api/faults.ts";
import type { Write } from "../../../runtime/testing/fake-api/server.ts";
import { type Play, plays } from "./plays.ts";

export interface Peace {
  readonly steadyWrites: readonly Write[];
  /** Kinds and names of what there is in the end. */
  readonly objects: readonly string[];
}

/** Half an hour after everything was done. */
export const inPeace = async (name: Play): Promise<Peace> => {
  const { state, steadyWrites } = await runScenario(plays[name], { seed: 1, steadyMs: 1_800_000 });
  return { steadyWrites, objects: (state as { readonly id: string }[]).map(({ id }) => id) };
};

/** Returns how many writes there were. */
export const killedAtWrites = (name: Play, every: number): Promise<number> =>
  crashAtEveryWrite(plays[name], 3, every);

export const withFaults = async (name: Play, seeds: readonly number[]): Promise<void> => {
  await survivesFaults(plays[name], manyFaults, seeds);
};
