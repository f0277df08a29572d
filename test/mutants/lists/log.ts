/** Mutants of the log engine. */
import type { Mutant } from "../mutant.ts";
import { compaction } from "./log-compaction.ts";
import { decisions } from "./log-decisions.ts";
import { deletions } from "./log-deleted.ts";
import { durability } from "./log-durability.ts";
import { foreignIndexes } from "./log-foreign-index.ts";
import { journalFiles } from "./log-journal-files.ts";
import { known } from "./log-known.ts";
import { remembered } from "./log-memory.ts";
import { names } from "./log-names.ts";
import { numbers } from "./log-numbers.ts";
import { recovery } from "./log-recovery.ts";
import { resets } from "./log-reset.ts";
import { retained } from "./log-retention.ts";
import { starting } from "./log-start.ts";
import { tailCache } from "./log-tail-cache.ts";
import { times } from "./log-times.ts";
import { shortTurns } from "./log-turns.ts";
import { upkeep } from "./log-upkeep.ts";
import { verified } from "./log-verify.ts";

export const logMutants: readonly Mutant[] = [
  ...durability,
  ...compaction,
  ...foreignIndexes,
  ...journalFiles,
  ...remembered,
  ...decisions,
  ...known,
  ...numbers,
  ...names,
  ...recovery,
  ...deletions,
  ...retained,
  ...resets,
  ...starting,
  ...tailCache,
  ...times,
  ...shortTurns,
  ...upkeep,
  ...verified,
];
