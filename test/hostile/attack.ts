/** What an attack is. */
import type { SeededRandom } from "@millrace/sim";
import type { Outcome, Target } from "./wire.ts";

export interface Attack {
  readonly name: string;
  /** How it may end. */
  readonly expected: readonly Outcome[];
  run(target: Target, dice: SeededRandom): Promise<Outcome>;
}
