/** Calls about rebalances, to the active controller. */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  AbortRebalanceRequestSchema,
  DescribeRebalanceRequestSchema,
  type DescribeRebalanceResponse,
  ListRebalancesRequestSchema,
  PauseRebalanceRequestSchema,
  PlanRebalanceRequestSchema,
  type PlanRebalanceResponse,
  type Rebalance,
  ResumeRebalanceRequestSchema,
  StartRebalanceRequestSchema,
} from "@millrace/proto/controller";
import type { Method } from "@millrace/rpc";
import * as check from "./admin-checks.ts";
import type { RebalancePlanOptions, RebalanceQuery } from "./admin-types.ts";
import { methods } from "./methods.ts";

/** Calls the active controller; `isRead`: whatever it has done, it may be called again. */
type Call = <I, O>(method: Method<I, O>, request: I, isRead?: boolean) => Promise<O>;

/** The plan of an answer. Throws INTERNAL without one. */
const planIn = ({ rebalance }: { readonly rebalance?: Rebalance | undefined }): Rebalance => {
  if (rebalance !== undefined) return rebalance;
  throw new MillraceError(ErrorCode.INTERNAL, "the controller answered without a rebalance");
};

/** Plans that give every broker its share: made, begun, paused, ended, told. */
export class RebalanceAdmin {
  readonly #call: Call;

  constructor(call: Call) {
    this.#call = call;
  }

  /** Makes a plan, which waits until it is started. Without a move its id is 0. */
  plan(options: RebalancePlanOptions = {}): Promise<PlanRebalanceResponse> {
    check.planRebalance(options);
    const { excludedTopics = [], movesPerBroker = 0, validateOnly = false } = options;
    const request = create(PlanRebalanceRequestSchema, {
      ...{ excludedTopics: [...excludedTopics], movesPerBrokerMax: movesPerBroker, validateOnly },
    });
    return this.#call(methods.planRebalance, request);
  }

  /** Begins a plan; by default the one that waits. */
  async start(query: RebalanceQuery = {}): Promise<Rebalance> {
    check.rebalanceQuery("rebalances.start", query);
    const request = create(StartRebalanceRequestSchema, query);
    return planIn(await this.#call(methods.startRebalance, request, true));
  }

  /** Begins no more moves; those under way go on. */
  async pause(query: RebalanceQuery = {}): Promise<Rebalance> {
    check.rebalanceQuery("rebalances.pause", query);
    const request = create(PauseRebalanceRequestSchema, query);
    return planIn(await this.#call(methods.pauseRebalance, request, true));
  }

  async resume(query: RebalanceQuery = {}): Promise<Rebalance> {
    check.rebalanceQuery("rebalances.resume", query);
    const request = create(ResumeRebalanceRequestSchema, query);
    return planIn(await this.#call(methods.resumeRebalance, request, true));
  }

  /** Ends a plan before its end: moves under way are taken back, those that were made stay. */
  async abort(query: RebalanceQuery = {}): Promise<Rebalance> {
    check.rebalanceQuery("rebalances.abort", query);
    const request = create(AbortRebalanceRequestSchema, query);
    return planIn(await this.#call(methods.abortRebalance, request));
  }

  /** How far a plan has come; by default the one that is carried out, else the newest. */
  describe(query: RebalanceQuery = {}): Promise<DescribeRebalanceResponse> {
    check.rebalanceQuery("rebalances.describe", query);
    const request = create(DescribeRebalanceRequestSchema, query);
    return this.#call(methods.describeRebalance, request, true);
  }

  /** Plans that are remembered, the newest first. */
  async list(): Promise<Rebalance[]> {
    const request = create(ListRebalancesRequestSchema);
    return (await this.#call(methods.listRebalances, request, true)).rebalances;
  }
}
