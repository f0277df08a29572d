import type { Mutant } from "../mutant.ts";

export const clientMutants: readonly Mutant[] = [];
