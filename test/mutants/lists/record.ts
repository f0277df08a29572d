import type { Mutant } from "../mutant.ts";

export const recordMutants: readonly Mutant[] = [];
