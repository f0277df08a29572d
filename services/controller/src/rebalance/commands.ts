/** What commands make of the plans that are stored. Pure. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { RebalanceState } from "@millrace/proto/common";
import { isRunning, type StoredPlan, type StoredPlans } from "./plans.ts";

const { ABORTED, ABORTING, PROPOSED, REBALANCING } = RebalanceState;

const refuse = (code: ErrorCode, message: string): MillraceError =>
  MillraceError.refusal(code, message);

const stateName = (state: RebalanceState): string => RebalanceState[state].toLowerCase();

const noneRunning = (): MillraceError =>
  refuse(
    ErrorCode.NO_REASSIGNMENT_IN_PROGRESS,
    "no rebalance is being carried out: see millrace rebalance status",
  );

/** The plan with this id. Throws INVALID_REQUEST. */
export const planWith = ({ plans }: StoredPlans, id: number): StoredPlan => {
  const found = plans.find(({ record }) => record.rebalanceId === id);
  if (found !== undefined) return found;
  const why = `no rebalance ${id} is remembered: see millrace rebalance status`;
  throw refuse(ErrorCode.INVALID_REQUEST, why);
};

/** What a command makes of a plan; undefined: it is so already. Throws the refusal. */
export type Change = (stored: StoredPlans) => {
  readonly plan: StoredPlan;
  readonly to?: RebalanceState;
};

/** Throws INVALID_REQUEST, REASSIGNMENT_IN_PROGRESS. */
export const start =
  (id: number): Change =>
  (stored) => {
    const { runningId } = stored.index.record;
    const proposed = stored.plans.find(({ record }) => record.state === PROPOSED);
    // Started again it is the plan that is carried out.
    const meant = id === 0 && proposed === undefined ? runningId : id;
    const plan = meant === 0 ? proposed : planWith(stored, meant);
    if (plan === undefined) {
      const why = "no plan waits to be started: make one with millrace rebalance plan";
      throw refuse(ErrorCode.INVALID_REQUEST, why);
    }
    const { rebalanceId, state } = plan.record;
    if (isRunning(plan.record)) return { plan };
    if (runningId !== 0) {
      const why = `rebalance ${runningId} is being carried out: wait until it is over, or abort it`;
      throw refuse(ErrorCode.REASSIGNMENT_IN_PROGRESS, why);
    }
    if (state === PROPOSED) return { plan, to: REBALANCING };
    const why = `rebalance ${rebalanceId} is ${stateName(state)}: make another plan`;
    throw refuse(ErrorCode.INVALID_REQUEST, why);
  };

/** The plan that is carried out, if it is the one that is meant. */
const runningPlan = (stored: StoredPlans, id: number): StoredPlan => {
  const { runningId } = stored.index.record;
  if (runningId === 0 || (id !== 0 && id !== runningId)) throw noneRunning();
  return planWith(stored, runningId);
};

/** Throws NO_REASSIGNMENT_IN_PROGRESS, INVALID_REQUEST while the plan is being ended. */
export const setPaused =
  (id: number, to: RebalanceState): Change =>
  (stored) => {
    const plan = runningPlan(stored, id);
    const { rebalanceId, state } = plan.record;
    if (state === to) return { plan };
    if (state !== ABORTING) return { plan, to };
    const why = `rebalance ${rebalanceId} is being aborted: wait until it is over`;
    throw refuse(ErrorCode.INVALID_REQUEST, why);
  };

/** Throws NO_REASSIGNMENT_IN_PROGRESS, INVALID_REQUEST. */
export const abort =
  (id: number): Change =>
  (stored) => {
    const proposed = stored.plans.find(({ record }) => record.state === PROPOSED);
    const meant = id === 0 ? stored.index.record.runningId : id;
    if (meant === 0 && proposed === undefined) throw noneRunning();
    const plan = meant === 0 && proposed !== undefined ? proposed : planWith(stored, meant);
    const { state } = plan.record;
    if (state === PROPOSED) return { plan, to: ABORTED };
    if (!isRunning(plan.record)) throw noneRunning();
    return state === ABORTING ? { plan } : { plan, to: ABORTING };
  };
