/** What `directories.test.ts` runs in a thread of its own. */
import { fuzzDirectories } from "./campaign.ts";

/** The first inputs of a seed. */
export const fuzzFixedSeed = async (seed: number, inputsMax: number) =>
  await fuzzDirectories({ seed, goOn: (inputs) => inputs < inputsMax });
