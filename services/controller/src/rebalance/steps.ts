/**
 * The next step of a plan that is carried out: which moves are over, which begin, which do not fit
 * any more. Pure. A move changes the partition's record as every reassignment does, so its replicas
 * stay until the new ones are in sync, and at least `min.insync.replicas` of the target are.
 */
import { create } from "@bufbuild/protobuf";
import { must } from "@millrace/errors";
import { keys } from "@millrace/metadata";
import { BrokerIntent, RebalanceState, SkippedMoveSchema } from "@millrace/proto/common";
import type { PartitionRecord, RebalanceMove, RebalanceRecord } from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import type { ClusterState, PartitionState, TopicState } from "../cluster-state.ts";
import { rebalanceLimits } from "../limits.ts";
import { intentOf } from "../placement.ts";
import { isBeingReassigned, originalOf, reassigned, targetOf } from "../reassignment.ts";
import { BrokerTraffic, type Measured } from "./traffic.ts";

/** Bytes of `RebalanceRecord.outcomes`. */
export const Outcome = { waiting: 0, moving: 1, done: 2, skipped: 3, cancelled: 4 } as const;

/** A plan that is being carried out. */
export interface RunningPlan {
  readonly record: RebalanceRecord;
  readonly moves: readonly RebalanceMove[];
}

/** A partition that is changed together with the plan's record. */
export interface StepChange {
  readonly key: string;
  readonly modRevision: number;
  readonly record: PartitionRecord;
  readonly topic: TopicState;
}

export interface Step {
  /** The plan's record after the step; undefined: nothing is to be written. */
  readonly record: RebalanceRecord | undefined;
  readonly changes: readonly StepChange[];
  /** For people: why moves wait that could begin but for that. Empty without any. */
  readonly waiting: string;
}

export const keyOfMove = ({ topicId, partition }: RebalanceMove): string =>
  keys.partition(topicIdOf(topicId), partition);

export const addedBy = ({ from, to }: Pick<RebalanceMove, "from" | "to">): number[] =>
  to.filter((id) => !from.includes(id));

const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((id, i) => id === b[i]);

const sameSet = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((id) => b.includes(id));

/** What becomes of a move now. */
type Verdict =
  | { readonly kind: "begins" | "cancelled"; readonly change: StepChange; readonly why?: string }
  | { readonly kind: "done" | "goes on" }
  | { readonly kind: "skipped" | "waits"; readonly why: string };

const skipped = (why: string): Verdict => ({ kind: "skipped", why });
const waits = (why: string): Verdict => ({ kind: "waits", why });

class Stepper {
  readonly outcomes: Uint8Array;
  readonly changes: StepChange[] = [];
  readonly #plan: RunningPlan;
  readonly #state: ClusterState;
  readonly #measured: Measured;
  readonly #traffic: BrokerTraffic;
  readonly #skipped: RebalanceRecord["skipped"];
  readonly #stepMax: number;
  #copiedBytes: bigint;

  constructor(plan: RunningPlan, state: ClusterState, measured: Measured, stepMax: number) {
    this.#plan = plan;
    this.#stepMax = stepMax;
    this.#state = state;
    this.#measured = measured;
    this.outcomes = plan.record.outcomes.slice();
    this.#skipped = [...plan.record.skipped];
    this.#copiedBytes = plan.record.copiedBytes;
    this.#traffic = new BrokerTraffic(state, measured, plan.record.movesPerBrokerMax);
  }

  /** Moves under way: whether they are over, or have to be taken back. */
  follow(isAborting: boolean): void {
    for (const [i, move] of this.#plan.moves.entries()) {
      if (this.outcomes[i] !== Outcome.moving) continue;
      const verdict = this.#followed(move, isAborting);
      this.#take(i, move, verdict);
      if (verdict.kind !== "goes on") continue;
      const { leader } = this.#partition(move)?.record ?? {};
      this.#traffic.add(keyOfMove(move), leader, addedBy(move), Number(move.bytes));
    }
  }

  /** Moves that wait begin as long as the step has room. Why others wait. */
  begin(): string {
    let reason = "";
    let waiting = 0;
    for (const [i, move] of this.#plan.moves.entries()) {
      if (this.outcomes[i] !== Outcome.waiting) continue;
      if (this.#isFull) break;
      const verdict = this.#judged(move);
      this.#take(i, move, verdict);
      if (verdict.kind !== "waits" || verdict.why === "") continue;
      waiting += 1;
      if (reason === "") reason = verdict.why;
    }
    if (waiting === 0) return "";
    return `${waiting === 1 ? "1 move waits" : `${waiting} moves wait`}: ${reason}`;
  }

  get #isFull(): boolean {
    return this.changes.length >= this.#stepMax;
  }

  has(outcome: number): boolean {
    return this.outcomes.includes(outcome);
  }

  /** The record after all of it, in this state. */
  record(state: RebalanceState, nowMs: number): RebalanceRecord | undefined {
    const { record } = this.#plan;
    if (state === record.state && Buffer.compare(this.outcomes, record.outcomes) === 0) {
      return undefined;
    }
    const isOver = state === RebalanceState.COMPLETED || state === RebalanceState.ABORTED;
    return {
      ...{ ...record, state, outcomes: this.outcomes, skipped: this.#skipped },
      copiedBytes: this.#copiedBytes,
      ...(isOver ? { endedAtMs: BigInt(nowMs) } : {}),
    };
  }

  #take(i: number, move: RebalanceMove, verdict: Verdict): void {
    const { topic, partition } = move;
    switch (verdict.kind) {
      case "begins":
      case "cancelled":
        this.changes.push(verdict.change);
        this.outcomes[i] = verdict.kind === "begins" ? Outcome.moving : Outcome.cancelled;
        break;
      case "done":
        this.outcomes[i] = Outcome.done;
        this.#copiedBytes += move.bytes * BigInt(addedBy(move).length);
        break;
      case "skipped":
        this.outcomes[i] = Outcome.skipped;
        break;
      default:
        return;
    }
    const why = "why" in verdict ? verdict.why : undefined;
    if (why === undefined || this.#skipped.length >= rebalanceLimits.skippedMax) return;
    this.#skipped.push(create(SkippedMoveSchema, { topic, partition, why }));
  }

  #partition(move: RebalanceMove): PartitionState | undefined {
    const one = this.#state.partitions.get(keyOfMove(move));
    const topic = one && this.#state.topics.get(one.topicId);
    return topic !== undefined && move.partition < topic.partitionCount ? one : undefined;
  }

  #followed(move: RebalanceMove, isAborting: boolean): Verdict {
    const one = this.#partition(move);
    if (one === undefined) return skipped("the topic was deleted meanwhile");
    const { record } = one;
    const isMoving = isBeingReassigned(record);
    if (!sameSet(targetOf(record), move.to) || (!isMoving && !sameSet(record.replicas, move.to))) {
      return skipped(`it was given other replicas meanwhile, ${targetOf(record)}`);
    }
    if (!isMoving) return { kind: "done" };
    if (isAborting) return this.#cancelled(move, one) ?? { kind: "goes on" };
    const why = record.adding.map((id) => this.#lost(id)).find((lost) => lost !== undefined);
    return (why === undefined ? undefined : this.#cancelled(move, one, why)) ?? { kind: "goes on" };
  }

  /** Why a broker that gets replicas will not have them. */
  #lost(id: number): string | undefined {
    if (this.#measured.gone.has(id)) return `broker ${id} has not been registered for long`;
    const { directories, placement } = this.#state;
    const intent = intentOf(placement, id, directories.get(id));
    const isLeaving = intent === BrokerIntent.DRAINING || intent === BrokerIntent.DECOMMISSIONED;
    return isLeaving ? `broker ${id} is ${BrokerIntent[intent].toLowerCase()}` : undefined;
  }

  /** Back to the replicas of before, unless nobody who is in sync would be left. */
  #cancelled(move: RebalanceMove, one: PartitionState, why?: string): Verdict | undefined {
    const { record } = one;
    const original = originalOf(record);
    const target = sameSet(original, move.from) ? move.from : original;
    const topic = must(this.#state.topics.get(one.topicId), "topic of a partition");
    const next = reassigned(record, topic, this.#state, target);
    if (next.kind !== "changed" || this.#isFull) return undefined;
    const { modRevision } = one;
    const change = { key: keyOfMove(move), modRevision, record: next.record, topic };
    return { kind: "cancelled", change, ...(why === undefined ? {} : { why }) };
  }

  #judged(move: RebalanceMove): Verdict {
    const one = this.#partition(move);
    if (one === undefined) return skipped("the topic was deleted meanwhile");
    const { record } = one;
    if (isBeingReassigned(record)) return waits("it is being moved by hand, or by a drain");
    if (same(record.replicas, move.to)) return { kind: "done" };
    if (!same(record.replicas, move.from)) {
      return skipped(`its replicas are ${record.replicas}, not ${move.from} as planned`);
    }
    const added = addedBy(move);
    return this.#unfit(move, added) ?? this.#held(move, record, added) ?? this.#begun(move, one);
  }

  /** Why it must not be made as planned: the brokers are not as they were. */
  #unfit({ from, to }: RebalanceMove, added: readonly number[]): Verdict | undefined {
    const { brokers, directories, placement, racks } = this.#state;
    for (const id of added) {
      const intent = intentOf(placement, id, directories.get(id));
      if (intent !== BrokerIntent.ACTIVE) {
        return skipped(`broker ${id} is ${BrokerIntent[intent].toLowerCase()}, and gets none`);
      }
      if (this.#measured.gone.has(id)) return skipped(`broker ${id} is not registered`);
      if (!brokers.has(id)) return waits(`broker ${id} is not registered`);
    }
    // A broker in no rack shares one with nobody.
    const count = (ids: readonly number[]): number =>
      new Set(ids.map((id) => racks.get(id) ?? `#${id}`)).size;
    if (added.length > 0 && count(to) < Math.min(to.length, count(from))) {
      return skipped("its replicas would be in fewer racks than now");
    }
    return undefined;
  }

  /** Why it does not begin yet. */
  #held(
    move: RebalanceMove,
    record: PartitionRecord,
    added: readonly number[],
  ): Verdict | undefined {
    // Another order of the same replicas copies nothing.
    if (added.length === 0) return undefined;
    const { isr, leader, replicas } = record;
    const name = `${move.topic}-${move.partition}`;
    if (leader === undefined) return waits(`${name} has no leader`);
    const behind = replicas.find((id) => !isr.includes(id));
    if (behind !== undefined) {
      const why = `${name} is not in sync on broker ${behind}`;
      return this.#measured.gone.has(behind) ? skipped(why) : waits(why);
    }
    const why = this.#traffic.holds(leader, added, Number(move.bytes));
    return why === undefined ? undefined : waits(why);
  }

  #begun(move: RebalanceMove, one: PartitionState): Verdict {
    const topic = must(this.#state.topics.get(one.topicId), "topic of a partition");
    const next = reassigned(one.record, topic, this.#state, move.to);
    if (next.kind !== "changed") return skipped("nobody who is in sync would be left");
    const key = keyOfMove(move);
    this.#traffic.add(key, one.record.leader, addedBy(move), Number(move.bytes));
    const change = { key, modRevision: one.modRevision, record: next.record, topic };
    return { kind: "begins", change };
  }
}

/** Changes at most `stepMax` partitions. */
export const nextStep = (
  plan: RunningPlan,
  state: ClusterState,
  measured: Measured,
  stepMax: number,
  nowMs: number,
): Step => {
  const { record } = plan;
  const isAborting = record.state === RebalanceState.ABORTING;
  const isRunning = record.state === RebalanceState.REBALANCING;
  const stepper = new Stepper(plan, state, measured, stepMax);
  stepper.follow(isAborting);
  const waiting = isRunning ? stepper.begin() : "";
  const isQuiet = !stepper.has(Outcome.moving);
  let next = record.state;
  if (isAborting && isQuiet) next = RebalanceState.ABORTED;
  if (isRunning && isQuiet && !stepper.has(Outcome.waiting)) next = RebalanceState.COMPLETED;
  return { record: stepper.record(next, nowMs), changes: stepper.changes, waiting };
};
