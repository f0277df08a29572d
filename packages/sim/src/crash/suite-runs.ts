/** What `crash.test.ts` runs in a thread of its own. */
import { type BugName, bugs } from "@millrace/log";
import { Counts } from "./faults.ts";
import { switchesWithout } from "./kinds.ts";
import { explore, Finding } from "./suite.ts";

const all = new Counts();
const on = switchesWithout([]);
const operations = 60;

/** Runs a seed that is crashed at every n-th of its steps. Throws where a promise is broken. */
export const exploreSeed = async (
  seed: number,
  operations: number,
  every: number,
): Promise<void> => {
  const crashesAt = (step: number): boolean => (step + seed) % every === 0;
  await explore({ seed, on, counts: all, operations, crashesAt });
};

/** What all seeds have met so far. */
export const countsSoFar = (): [string, number][] => all.entries();

/** Everything that one seed does, in words. */
export const traceOf = async (seed: number): Promise<string> => {
  const counts = new Counts();
  const lines: string[] = [];
  const trace = (line: string): void => void lines.push(line);
  const crashesAt = (step: number): boolean => step % 60 === 7;
  await explore({ seed, on, counts, operations, crashesAt, trace });
  return JSON.stringify([lines, counts.entries()]);
};

/** What is found first with a bug switched on, within so many seeds. */
export const findBug = async (name: BugName, seeds: number): Promise<string | undefined> => {
  const counts = new Counts();
  bugs[name] = true;
  try {
    for (let seed = 1; seed <= seeds; seed += 1) {
      const crashesAt = (step: number): boolean => step % 5 === seed % 5;
      try {
        await explore({ seed, on, counts, operations, crashesAt });
      } catch (thrown) {
        if (!(thrown instanceof Finding)) throw thrown;
        return thrown.message;
      }
    }
    return undefined;
  } finally {
    bugs[name] = false;
  }
};
