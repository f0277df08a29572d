/**
 * Asks the controller for changes of in-sync replicas: those of all partitions that this broker
 * leads, many in one call, one call at a time.
 */
import { create } from "@bufbuild/protobuf";
import type { Cancel, Clock, Logger, Random } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import {
  type AlterPartition,
  AlterPartitionSchema,
  AlterPartitionsRequestSchema,
  type AlterPartitionsResponse,
  ReplicaService,
} from "@millrace/proto/controller";
import { type TopicId, topicIdBytes } from "@millrace/record";
import { methodOf } from "@millrace/rpc";
import type { ControllerClient } from "../controller-client.ts";
import { RetryPause } from "../retry-pause.ts";
import type { ChangeOutcome, InSyncChange } from "./in-sync.ts";

/** A change that a leader has decided on, under its leader epoch. */
export interface LeaderChange {
  readonly leaderEpoch: number;
  readonly change: InSyncChange;
  /** Its log is damaged, or the disk has failed: one of the others is to lead. */
  readonly resigns?: boolean;
  /** The log knows this epoch: it leads in a higher one alone. */
  readonly knownLeaderEpoch?: number;
}

/** A partition that this broker leads, or has led. */
export interface ChangingPartition {
  readonly topicId: TopicId;
  readonly partition: number;
  /** What there is to ask for now, or undefined. It is under way from this call on. */
  beginChange(): LeaderChange | undefined;
  /** What became of it. */
  endChange(change: LeaderChange, outcome: ChangeOutcome): void;
}

export interface InSyncChangesOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly brokerId: number;
  /** Epoch of this broker's registration. */
  readonly brokerEpoch: () => number;
  readonly controller: Pick<ControllerClient, "call">;
  /** A follower that has not caught up for this long leaves, ms: `replica.lag.time.max.ms`. */
  readonly lagMaxMs: number;
}

/** Most changes in one call. */
const changesPerCall = 1000;
/** Longest pause after calls that failed, ms. */
const pauseMsMax = 2_000;
/** Pause before a partition is looked at again whose change was refused, ms. */
const refusedMs = 200;

interface Asked extends LeaderChange {
  readonly partition: ChangingPartition;
}

const alterPartitions = methodOf(ReplicaService.method.alterPartitions);

export class InSyncChanges {
  readonly #options: InSyncChangesOptions;
  /** Partitions whose followers may lag: looked at from time to time. */
  readonly #led = new Set<ChangingPartition>();
  /** Those that may have something to ask for; never more than this broker has partitions. */
  readonly #due = new Set<ChangingPartition>();
  /** Those whose change was refused, until they are looked at again. */
  readonly #refused = new Map<ChangingPartition, Cancel>();
  readonly #pause: RetryPause;
  #isAsking = false;
  #isClosed = false;
  #cancelTick: Cancel;

  constructor(options: InSyncChangesOptions) {
    this.#options = options;
    this.#pause = new RetryPause({ ...options, pauseMsMax });
    this.#cancelTick = this.#tickLater();
  }

  /** Followers of this partition may lag, from now on. */
  add(partition: ChangingPartition): void {
    this.#led.add(partition);
    this.look(partition);
  }

  remove(partition: ChangingPartition): void {
    this.#led.delete(partition);
    this.#due.delete(partition);
    this.#refused.get(partition)?.();
    this.#refused.delete(partition);
  }

  /** There may be something to ask for: now, or after the pause that follows a refusal. */
  look(partition: ChangingPartition): void {
    if (this.#isClosed || !this.#led.has(partition) || this.#refused.has(partition)) return;
    this.#due.add(partition);
    if (this.#isAsking) return;
    this.#isAsking = true;
    // At the end of the turn: what one message tells of many partitions is asked for in one call.
    this.#options.clock.defer(() => void this.#askAll());
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelTick();
    for (const partition of this.#led) this.remove(partition);
    this.#pause.end();
  }

  #tickLater(): Cancel {
    const { clock, lagMaxMs, random } = this.#options;
    return clock.timer((lagMaxMs / 4) * (0.5 + random.float()), () => {
      for (const partition of this.#led) this.look(partition);
      this.#cancelTick = this.#tickLater();
    });
  }

  /** Never rejects. */
  async #askAll(): Promise<void> {
    let failures = 0;
    while (!this.#isClosed) {
      const asked = this.#begin();
      if (asked.length === 0) break;
      const err = await this.#ask(asked);
      if (this.#isClosed) break;
      failures = err === undefined ? 0 : failures + 1;
      if (err === undefined) continue;
      const text = "in-sync replicas cannot be changed: trying again";
      if (failures === 1) this.#options.logger.warn({ partitions: asked.length, err }, text);
      await this.#pause.wait(failures);
      for (const { partition } of asked) if (this.#led.has(partition)) this.#due.add(partition);
    }
    this.#isAsking = false;
  }

  #begin(): Asked[] {
    const asked: Asked[] = [];
    for (const partition of this.#due) {
      if (asked.length === changesPerCall) break;
      this.#due.delete(partition);
      const begun = partition.beginChange();
      if (begun !== undefined) asked.push({ ...begun, partition });
    }
    return asked;
  }

  /** One call. Resolves with the error of the whole call, if it failed. */
  async #ask(asked: readonly Asked[]): Promise<MillraceError | undefined> {
    const { brokerEpoch, brokerId, controller } = this.#options;
    const request = create(AlterPartitionsRequestSchema, {
      ...{ brokerId, brokerEpoch: BigInt(brokerEpoch()) },
      partitions: asked.map(messageOf),
    });
    try {
      this.#take(asked, await controller.call(alterPartitions, request));
      return undefined;
    } catch (thrown) {
      const err = MillraceError.from(thrown);
      const outcome = err.spec.sideEffects ? "unknown" : "refused";
      for (const one of asked) one.partition.endChange(one, outcome);
      return err;
    }
  }

  #take(asked: readonly Asked[], { results }: AlterPartitionsResponse): void {
    const { logger } = this.#options;
    for (const [i, one] of asked.entries()) {
      const result = results[i];
      const outcome =
        result === undefined ? "unknown" : result.error === undefined ? "made" : "refused";
      one.partition.endChange(one, outcome);
      if (outcome === "made") continue;
      const { partition, topicId } = one.partition;
      const fields = { topic_id: topicId, partition, why: result?.error?.message };
      logger.debug(fields, "a change of in-sync replicas was refused");
      this.#lookLater(one.partition);
    }
  }

  /** Its record is about to arrive, or the controller has yet to read what this broker has. */
  #lookLater(partition: ChangingPartition): void {
    if (!this.#led.has(partition)) return;
    this.#due.delete(partition);
    const cancel = this.#options.clock.timer(refusedMs, () => {
      this.#refused.delete(partition);
      this.look(partition);
    });
    this.#refused.set(partition, cancel);
  }
}

const messageOf = ({ change, partition, ...asked }: Asked): AlterPartition =>
  create(AlterPartitionSchema, {
    ...{ topicId: topicIdBytes(partition.topicId), partition: partition.partition },
    leaderEpoch: asked.leaderEpoch,
    resigns: asked.resigns ?? false,
    knownLeaderEpoch: asked.knownLeaderEpoch ?? 0,
    modRevision: BigInt(change.modRevision),
    isr: change.isr.map(({ brokerEpoch, brokerId }) => ({
      ...{ brokerId, brokerEpoch: BigInt(brokerEpoch) },
    })),
  });
