import type { Mutant } from "../mutant.ts";

export const metadataMutants: readonly Mutant[] = [];
