/** Appends: plain ones and those of idempotent producers, retries, and what must be refused. */
import { ErrorCode, hasCode } from "@millrace/errors";
import type { AppendBatch, Appended, PartitionLog } from "@millrace/log";
import { iterateRecords, type ProducerStamp } from "@millrace/record";
import { type ModelBatch, makeBatch, type RecordToMake } from "./batches.ts";
import type { Life } from "./life.ts";
import { tookEffect } from "./lost-producers.ts";
import type { PartitionModel } from "./model.ts";
import type { Verdict } from "./producer-model.ts";
import type { Slot } from "./run.ts";
import { Violation } from "./violation.ts";

const day = 86_400_000;

const recordsOf = (life: Life, { compacted }: Slot): RecordToMake[] => {
  const { random, run } = life;
  const nowMs = 1_700_000_000_000 + Math.floor(run.kernel.nowMs);
  return Array.from({ length: random.between(1, 4) }, () => {
    const size = random.below(random.chance(0.1) ? 3000 : 200);
    const ageMs = random.chance(0.05) ? random.below(10 * day) : random.below(3000);
    const value = `v${run.nextValue++}:${"x".repeat(size)}`;
    const record = { value, timestampMs: nowMs - ageMs };
    if (!compacted) return record;
    const key = `k${random.below(6)}`;
    return { ...record, key, value: random.chance(0.15) ? null : value };
  });
};

/** One batch or a burst, by one producer, plain or idempotent. */
export const appendSomething = (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): void => {
  const { random, run } = life;
  const epochs = latestEpoch(log, model);
  const dice = random.below(100);
  if (dice < 4 && epochs > 0) {
    append(life, slot, log, model, makeBatch(recordsOf(life, slot)), epochs - 1);
    return;
  }
  const epoch = dice < 7 ? slot.lastEpoch + 1 : epochs;
  slot.lastEpoch = Math.max(slot.lastEpoch, epoch);
  if (!run.on.producers || run.plain || random.chance(0.4)) {
    append(life, slot, log, model, makeBatch(recordsOf(life, slot)), epoch);
    return;
  }
  const known = model.producers.ids();
  const isNew = known.length === 0 || random.chance(0.08);
  const id = isNew ? run.nextProducer++ : random.pick(known.slice(-3));
  for (let i = random.pick([1, 1, 3, 5]); i > 0; i -= 1) {
    const batch = nextBatch(life, slot, model, id);
    if (batch !== undefined) append(life, slot, log, model, batch, epoch);
  }
};

/**
 * What a producer sends next: mostly the next batch, sometimes one again, or one that must be
 * refused.
 */
const nextBatch = (
  life: Life,
  slot: Slot,
  model: PartitionModel,
  id: number,
): AppendBatch | undefined => {
  const { random } = life;
  const known = model.producers.get(id);
  const make = (stamp: ProducerStamp): AppendBatch => makeBatch(recordsOf(life, slot), stamp);
  if (known === undefined) {
    const baseSequence = random.chance(0.2) ? 2 ** 31 - random.between(1, 6) : 0;
    return make({ producerId: id, producerEpoch: random.below(3), baseSequence });
  }
  const stamp = {
    producerId: id,
    producerEpoch: known.epoch,
    baseSequence: model.producers.next(id),
  };
  const dice = random.below(100);
  if (dice < 15) return random.pick(known.batches).batch;
  if (dice < 18) return make({ ...stamp, producerEpoch: known.epoch + 1, baseSequence: 0 });
  if (dice < 20) return make({ ...stamp, producerEpoch: known.epoch + 1, baseSequence: 3 });
  if (dice < 23) return make({ ...stamp, baseSequence: (stamp.baseSequence + 11) % 2 ** 31 });
  if (dice < 26 && known.epoch > 0) return make({ ...stamp, producerEpoch: known.epoch - 1 });
  return make(stamp);
};

/** Appends, and holds the answer against what the rules say. */
const append = (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
  batch: AppendBatch,
  epoch: number,
): void => {
  const { run } = life;
  const verdict = verdictOf(log, model, batch, epoch);
  if (verdict.kind === "unknown") return;
  const outcome: { appended?: Appended; accepted?: ModelBatch } = {};
  const done = new Promise<void>((resolve, reject) => {
    const settle = (error: Error | undefined): void => {
      const { accepted } = outcome;
      if (error === undefined) {
        if (accepted !== undefined && slot.model === model) {
          life.tell(model, `acknowledged ..${accepted.lastOffset}`);
          model.acknowledge(accepted);
        }
        resolve();
      } else reject(error);
    };
    outcome.appended = log.append(batch, epoch, settle);
    const { baseOffset, lastOffset, appendTimeMs, duplicate } = outcome.appended;
    // It takes appends again: the truncation is over, and whoever waits for it is told later.
    const isOver = model.truncation !== undefined;
    if (isOver) tookEffect(run, slot, model);
    checkAccepted(model, isOver ? verdictOf(log, model, batch, epoch) : verdict, outcome.appended);
    if (duplicate) {
      run.counts.add("appends: duplicates");
      return;
    }
    run.counts.add("appends");
    outcome.accepted = {
      baseOffset,
      lastOffset,
      leaderEpoch: epoch,
      appendTimeMs,
      batch,
      timestampsMs: timestampsOf(batch),
      policy: slot.config.flushPolicy,
      acked: false,
    };
    model.append(outcome.accepted);
    const { producerId, producerEpoch, baseSequence } = batch.info;
    const producer = producerId < 0 ? "" : ` of ${producerId}/${producerEpoch}/${baseSequence}`;
    life.tell(model, `append ${baseOffset}..${lastOffset}, epoch ${epoch}${producer}`);
  });
  life.later(
    done.catch((thrown: unknown) => {
      if (outcome.appended === undefined && isRefusal(verdict, thrown)) {
        run.counts.add(`appends: refused, ${verdict.kind}`);
        return;
      }
      life.judge(slot, model, "append", thrown);
    }),
  );
};

type Expected = Verdict | { readonly kind: "fenced" };

const latestEpoch = (log: PartitionLog, { epochs }: PartitionModel): number =>
  epochs.doubtful ? log.leaderEpoch : epochs.latest;

const verdictOf = (
  log: PartitionLog,
  model: PartitionModel,
  batch: AppendBatch,
  epoch: number,
): Expected => {
  if (epoch < latestEpoch(log, model)) return { kind: "fenced" };
  const { producerId, producerEpoch, baseSequence, recordCount } = batch.info;
  const stamp = producerId < 0 ? undefined : { producerId, producerEpoch, baseSequence };
  return model.producers.judge(stamp, recordCount);
};

const isRefusal = (verdict: Expected, thrown: unknown): boolean =>
  (verdict.kind === "fenced" && hasCode(thrown, ErrorCode.FENCED_LEADER_EPOCH)) ||
  (verdict.kind === "old epoch" && hasCode(thrown, ErrorCode.INVALID_PRODUCER_EPOCH)) ||
  (verdict.kind === "out of order" && hasCode(thrown, ErrorCode.OUT_OF_ORDER_SEQUENCE));

const checkAccepted = (model: PartitionModel, verdict: Expected, appended: Appended): void => {
  const { baseOffset, duplicate } = appended;
  if (verdict.kind === "duplicate") {
    if (duplicate && baseOffset === verdict.of.baseOffset) return;
    throw new Violation(
      `${model.name}: a retry of the batch at ${verdict.of.baseOffset} was taken at ${baseOffset}`,
    );
  }
  if (verdict.kind !== "accept" || duplicate) {
    throw new Violation(
      `${model.name}: an append that is ${verdict.kind} was taken at ${baseOffset}`,
    );
  }
  if (baseOffset !== model.endOffset) {
    throw new Violation(`${model.name}: appended at ${baseOffset}, not ${model.endOffset}`);
  }
};

const timestampsOf = ({ info }: AppendBatch): number[] =>
  [...iterateRecords(info.records, info.baseTimestampMs)].map(({ timestampMs }) => timestampMs);
