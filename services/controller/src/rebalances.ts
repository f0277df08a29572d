/** RebalanceService: plans are made, begun, paused, ended, and told. */
import { create } from "@bufbuild/protobuf";
import type { Clock } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { MetadataStore } from "@millrace/metadata";
import { RebalanceState } from "@millrace/proto/common";
import {
  AbortRebalanceResponseSchema,
  type DescribeRebalanceRequest,
  type DescribeRebalanceResponse,
  DescribeRebalanceResponseSchema,
  ListRebalancesResponseSchema,
  OngoingMoveSchema,
  PauseRebalanceResponseSchema,
  type PlanRebalanceRequest,
  type PlanRebalanceResponse,
  PlanRebalanceResponseSchema,
  type Rebalance,
  RebalanceService,
  ResumeRebalanceResponseSchema,
  StartRebalanceResponseSchema,
} from "@millrace/proto/controller";
import { RebalanceMoveSchema, RebalanceRecordSchema } from "@millrace/proto/storage";
import { topicIdBytes } from "@millrace/record";
import { bindService, ofCluster, type ServiceBinding } from "@millrace/rpc";
import type { ClusterState } from "./cluster-state.ts";
import { limits, rebalanceLimits, replicaLimits } from "./limits.ts";
import { abort, type Change, planWith, setPaused, start } from "./rebalance/commands.ts";
import type { Loads } from "./rebalance/loads.ts";
import { loadsOf, plannedOf, rebalanceOf, unmetOf } from "./rebalance/messages.ts";
import { planBetween } from "./rebalance/planning.ts";
import { changePlan, proposePlan, readPlans } from "./rebalance/plans.ts";
import type { Rebalancer } from "./rebalance/rebalancer.ts";
import { planInput } from "./rebalance/request.ts";
import type { Write } from "./reign.ts";

export interface RebalanceHandlersOptions {
  readonly clusterId: string;
  readonly clock: Clock;
  readonly store: MetadataStore;
  /** The process whose reign guards every write, and what its mirror has read. */
  readonly active: {
    /** Throws NOT_CONTROLLER when it is not the active controller. */
    writeOfReign(): Write;
    /** Throws NOT_CONTROLLER as well. */
    rebalancerOfReign(): Pick<Rebalancer, "progressOf" | "askLoads">;
    readonly state: ClusterState;
    waitForRevision(revision: number, timeoutMs: number): Promise<boolean>;
  };
}

const { ABORTED, PAUSED, PROPOSED, REBALANCING } = RebalanceState;

const refuse = (code: ErrorCode, message: string): MillraceError =>
  MillraceError.refusal(code, message);

export class RebalanceHandlers {
  readonly #options: RebalanceHandlersOptions;
  #isPlanning = false;

  constructor(options: RebalanceHandlersOptions) {
    this.#options = options;
  }

  bindings(): ServiceBinding[] {
    const service = bindService(RebalanceService, {
      planRebalance: (request) => this.planRebalance(request),
      startRebalance: async ({ rebalanceId }) =>
        create(StartRebalanceResponseSchema, { rebalance: await this.#change(start(rebalanceId)) }),
      pauseRebalance: async ({ rebalanceId }) =>
        create(PauseRebalanceResponseSchema, {
          rebalance: await this.#change(setPaused(rebalanceId, PAUSED)),
        }),
      resumeRebalance: async ({ rebalanceId }) =>
        create(ResumeRebalanceResponseSchema, {
          rebalance: await this.#change(setPaused(rebalanceId, REBALANCING)),
        }),
      abortRebalance: async ({ rebalanceId }) =>
        create(AbortRebalanceResponseSchema, { rebalance: await this.#change(abort(rebalanceId)) }),
      describeRebalance: (request) => this.describeRebalance(request),
      listRebalances: async () => {
        this.#options.active.rebalancerOfReign();
        const { plans } = await readPlans(this.#options.store);
        const rebalances = plans.map(({ record }) => rebalanceOf(record));
        return create(ListRebalancesResponseSchema, { rebalances });
      },
    });
    return [ofCluster(service, () => this.#options.clusterId)];
  }

  /**
   * Throws INVALID_REQUEST, NOT_CONTROLLER; ADMISSION_REJECTED while another plan is made;
   * METADATA_STALE while the mirror is behind; UNAVAILABLE when other plans keep being stored.
   */
  async planRebalance(request: PlanRebalanceRequest): Promise<PlanRebalanceResponse> {
    const write = this.#options.active.writeOfReign();
    checkPlan(request);
    if (this.#isPlanning) {
      const why = "another plan is being made: retry";
      throw new MillraceError(ErrorCode.ADMISSION_REJECTED, why, { retryAfterMs: 1000 });
    }
    this.#isPlanning = true;
    try {
      return await this.#plan(request, write);
    } finally {
      this.#isPlanning = false;
    }
  }

  async #plan(request: PlanRebalanceRequest, write: Write): Promise<PlanRebalanceResponse> {
    const { active, store } = this.#options;
    const { revision } = await readPlans(store);
    if (!(await active.waitForRevision(revision, replicaLimits.mirrorWaitMsMax))) {
      throw refuse(ErrorCode.METADATA_STALE, "this controller is behind the metadata store: retry");
    }
    const loads = await active.rebalancerOfReign().askLoads(active.state.brokers.keys());
    const draft = await this.#draft(request, loads);
    if (draft.moves.length > rebalanceLimits.movesMax) {
      throw refuse(
        ErrorCode.INVALID_REQUEST,
        `a plan of ${draft.moves.length} moves: at most ${rebalanceLimits.movesMax} can be stored; ` +
          "leave out topics, and plan for them afterwards",
      );
    }
    const moves = draft.moves.slice(0, rebalanceLimits.movesPerAnswerMax).map(plannedOf);
    const answer = (record: typeof draft.record): PlanRebalanceResponse =>
      create(PlanRebalanceResponseSchema, { rebalance: rebalanceOf(record), moves });
    if (request.validateOnly || draft.moves.length === 0) return answer(draft.record);
    for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
      const stored = await proposePlan(write, await readPlans(store), draft.record, draft.moves);
      if (stored !== undefined) return answer(stored);
    }
    throw conflict();
  }

  async describeRebalance({
    rebalanceId,
  }: DescribeRebalanceRequest): Promise<DescribeRebalanceResponse> {
    const { active, store } = this.#options;
    const rebalancer = active.rebalancerOfReign();
    const stored = await readPlans(store);
    const { runningId } = stored.index.record;
    const [newest] = stored.plans;
    const wanted = rebalanceId || runningId || newest?.record.rebalanceId;
    if (wanted === undefined) {
      const why = "there was no rebalance yet: make a plan with millrace rebalance plan";
      throw refuse(ErrorCode.INVALID_REQUEST, why);
    }
    const { record } = planWith(stored, wanted);
    const { ongoing, waiting } = rebalancer.progressOf(record.rebalanceId);
    return create(DescribeRebalanceResponseSchema, {
      rebalance: rebalanceOf(record),
      ongoing: ongoing.map(({ move, lagBytes }) => {
        const { topic, partition, to, bytes } = move;
        const measured = lagBytes === undefined ? {} : { lagBytes: BigInt(lagBytes) };
        return create(OngoingMoveSchema, { ...{ topic, partition, to, bytes }, ...measured });
      }),
      waiting: record.state === REBALANCING ? waiting : "",
    });
  }

  async #draft({ excludedTopics, movesPerBrokerMax }: PlanRebalanceRequest, loads: Loads) {
    const { active, clock } = this.#options;
    const { state } = active;
    const { request, notes } = planInput(state, loads, new Set(excludedTopics));
    const plan = await planBetween(clock, request);
    const bytesOf = new Map(request.partitions.map(({ key, bytes }) => [key, bytes]));
    const moves = plan.moves.flatMap(({ key, from, to }) => {
      const one = state.partitions.get(key);
      const topic = one && state.topics.get(one.topicId);
      if (one === undefined || topic === undefined) return [];
      return create(RebalanceMoveSchema, {
        ...{ topicId: topicIdBytes(topic.id), topic: topic.name, from: [...from], to: [...to] },
        ...{ partition: one.record.partition, bytes: BigInt(bytesOf.get(key) ?? 0) },
      });
    });
    const record = create(RebalanceRecordSchema, {
      ...{ state: PROPOSED, createdAtMs: BigInt(clock.wallMs()) },
      movesPerBrokerMax: movesPerBrokerMax || rebalanceLimits.movesPerBroker,
      outcomes: new Uint8Array(moves.length),
      ...{ before: loadsOf(plan.before), after: loadsOf(plan.after), unmet: unmetOf(plan.unmet) },
      ...{ notes: [...notes], copyCount: plan.copies, copyBytes: BigInt(plan.copiedBytes) },
    });
    return { record, moves };
  }

  /** Throws the refusal, NOT_CONTROLLER, UNAVAILABLE when plans keep changing. */
  async #change(change: Change): Promise<Rebalance> {
    const { active, clock, store } = this.#options;
    const write = active.writeOfReign();
    for (let attempt = 0; attempt < limits.attemptsMax; attempt += 1) {
      const stored = await readPlans(store);
      const { plan, to } = change(stored);
      if (to === undefined) return rebalanceOf(plan.record);
      const now = BigInt(clock.wallMs());
      const made = await changePlan(write, stored.index, plan, {
        ...{ ...plan.record, state: to },
        ...(plan.record.state === PROPOSED && to === REBALANCING ? { startedAtMs: now } : {}),
        ...(to === ABORTED ? { endedAtMs: now } : {}),
      });
      if (made !== undefined) return rebalanceOf(made);
    }
    throw conflict();
  }
}

const conflict = (): MillraceError =>
  new MillraceError(ErrorCode.UNAVAILABLE, "rebalances keep changing under this request: retry", {
    retryAfterMs: 100,
  });

/** Throws INVALID_REQUEST. */
const checkPlan = ({ excludedTopics, movesPerBrokerMax }: PlanRebalanceRequest): void => {
  const { excludedTopicsMax, movesPerBrokerMax: max } = rebalanceLimits;
  if (movesPerBrokerMax > max) {
    const why = `${movesPerBrokerMax} moves of a broker at the same time: use 1 to ${max}`;
    throw refuse(ErrorCode.INVALID_REQUEST, why);
  }
  if (excludedTopics.length <= excludedTopicsMax) return;
  const why = `${excludedTopics.length} topics to leave out: name at most ${excludedTopicsMax}`;
  throw refuse(ErrorCode.INVALID_REQUEST, why);
};
