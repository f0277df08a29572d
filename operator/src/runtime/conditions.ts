/** Conditions of a status, as kstatus and `kubectl wait` read them. */
import type { Clock } from "@millrace/env";
import { timestamp } from "./timestamps.ts";

export interface Condition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  /** CamelCase, for programs. */
  readonly reason: string;
  /** A sentence, for people. */
  readonly message: string;
  /** The generation of the object that the condition is about. */
  readonly observedGeneration: number;
  readonly lastTransitionTime: string;
}

export type WantedCondition = Pick<Condition, "type" | "status" | "reason" | "message">;

/** What a reason looks like: what the API server takes, and the schema of every kind asks for. */
export const conditionReason = /^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/;
/** Characters of a message; what is longer is cut. */
export const conditionMessageMax = 4096;

/**
 * Conditions as they are to be, in order of type. `lastTransitionTime` changes with `status` alone;
 * conditions of other types stay.
 */
export const mergeConditions = (
  before: readonly Condition[],
  wanted: readonly WantedCondition[],
  generation: number,
  clock: Pick<Clock, "wallMs">,
): readonly Condition[] => {
  const merged = new Map(before.map((one) => [one.type, one]));
  for (const { type, status, reason, message } of wanted) {
    if (!conditionReason.test(reason)) throw new Error(`${reason} is no reason of a condition`);
    const known = merged.get(type);
    const isSame = known?.status === status;
    merged.set(type, {
      ...{ type, status, reason, message: message.slice(0, conditionMessageMax) },
      observedGeneration: generation,
      lastTransitionTime: isSame ? known.lastTransitionTime : timestamp(clock.wallMs()),
    });
  }
  return [...merged.values()].sort((a, b) => (a.type < b.type ? -1 : 1));
};
