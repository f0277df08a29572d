import type { Mutant } from "../mutant.ts";

export const brokerMutants: readonly Mutant[] = [];
