/** What the reconcile of an object came to, and the conditions that say so, for every kind. */
import type { ConditionType, ReasonOf } from "../api/index.ts";
import type { Condition, WantedCondition } from "../runtime/conditions.ts";

type Common = ConditionType<"Topic"> & ConditionType<"Broker"> & ConditionType<"Rebalance">;
type Reason<C extends Common> = ReasonOf<"Topic", C>;

/** What `Ready` says while it is not true. */
export interface NotReady {
  readonly ready: Exclude<Reason<"Ready">, "AsSpecified">;
  /** For people: the object that it is about, and what to do. */
  readonly message: string;
}

/**
 * `done`: everything is as the spec says. `working`: the operator goes on by itself. `stalled`: a
 * person has to change something first. `paused`: nothing is done.
 */
export type Outcome =
  | { readonly type: "done"; readonly message: string }
  | (NotReady & {
      readonly type: "working";
      readonly reason: Exclude<Reason<"Reconciling">, "Finished">;
      /** Whether it is not known at the moment if the object is as it should be. */
      readonly isUnknown?: boolean;
    })
  | (NotReady & {
      readonly type: "stalled";
      readonly reason: Exclude<Reason<"Stalled">, "NotStalled">;
    })
  | (NotReady & { readonly type: "paused" });

const condition = <C extends Common>(
  type: C,
  status: WantedCondition["status"],
  reason: Reason<C>,
  message: string,
): WantedCondition => ({ type, status, reason, message });

const readyOf = (outcome: Outcome): WantedCondition => {
  if (outcome.type === "done") {
    return condition("Ready", "True", "AsSpecified", outcome.message);
  }
  const isUnknown = outcome.type === "working" && outcome.isUnknown === true;
  return condition("Ready", isUnknown ? "Unknown" : "False", outcome.ready, outcome.message);
};

const quiescedOf = ({ type }: Outcome): WantedCondition => {
  const status = type === "working" ? "False" : "True";
  const reasons = { done: "Finished", working: "AtWork", stalled: "Stalled", paused: "Paused" };
  return condition("Quiesced", status, reasons[type] as Reason<"Quiesced">, "");
};

const stableOf = ({ type }: Outcome): WantedCondition => {
  if (type === "done") return condition("Stable", "True", "Stable", "");
  return condition("Stable", "False", type === "working" ? "NotQuiesced" : "NotReady", "");
};

/** The conditions of every kind (`conditions` of the kind says what they mean). */
export const commonConditions = (outcome: Outcome): WantedCondition[] => [
  readyOf(outcome),
  outcome.type === "working"
    ? condition("Reconciling", "True", outcome.reason, outcome.message)
    : condition("Reconciling", "False", "Finished", ""),
  outcome.type === "stalled"
    ? condition("Stalled", "True", outcome.reason, outcome.message)
    : condition("Stalled", "False", "NotStalled", ""),
  quiescedOf(outcome),
  stableOf(outcome),
];

/** Whether the generation was acted on completely, as far as it can be without a person. */
export const isObserved = ({ type }: Outcome): boolean => type === "done" || type === "stalled";

interface Conditioned {
  readonly status?: { readonly conditions?: readonly Condition[] | undefined } | undefined;
}

/** A condition of an object, as it was written last. */
export const conditionOf = ({ status }: Conditioned, type: string): Condition | undefined =>
  status?.conditions?.find((one) => one.type === type);
