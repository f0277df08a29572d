import type { Mutant } from "../mutant.ts";

export const rpcMutants: readonly Mutant[] = [];
