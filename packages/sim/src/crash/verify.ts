/** Compares a recovered partition with what it promised. */
import { ErrorCode, hasCode } from "@millrace/errors";
import type { PartitionLog } from "@millrace/log";
import type { SeededRandom } from "../random.ts";
import { batchesIn, describe, type FoundBatch, isSame, type ModelBatch } from "./batches.ts";
import { type EpochModel, endOffsetFor } from "./epoch-model.ts";
import type { PartitionModel } from "./model.ts";
import type { ProducerModel } from "./producer-model.ts";
import { Violation } from "./violation.ts";

/** What was found in a recovered partition. */
interface Found {
  readonly logStart: number;
  readonly end: number;
  readonly highWatermark: number;
  readonly batches: readonly FoundBatch[];
}

export interface VerifyInput {
  readonly log: PartitionLog;
  readonly model: PartitionModel;
  readonly random: SeededRandom;
  /** True when retention may have moved the log start as far as this. */
  readonly retentionAllows: (model: PartitionModel, start: number) => boolean;
}

/** Reads the whole log. Retention may go on meanwhile. */
const observe = async (log: PartitionLog): Promise<Found> => {
  for (;;) {
    const { logStartOffset: logStart, logEndOffset: end } = log;
    try {
      const batches: FoundBatch[] = [];
      for (let offset = logStart; offset < end; ) {
        const result = await log.read(offset, 4000, "log_end");
        const read = batchesIn(Buffer.concat(result.chunks));
        if (read.length === 0) throw new Violation(`a read at ${offset} of ${end} finds nothing`);
        if (result.nextOffset !== (read.at(-1)?.lastOffset ?? -1) + 1) {
          throw new Violation(`a read at ${offset} says that ${result.nextOffset} follows`);
        }
        batches.push(...read);
        offset = result.nextOffset;
      }
      if (log.logStartOffset > logStart) continue;
      return { logStart, end, highWatermark: log.highWatermark, batches };
    } catch (thrown) {
      const moved = log.logStartOffset > logStart;
      if (!moved || !hasCode(thrown, ErrorCode.OFFSET_OUT_OF_RANGE)) throw thrown;
    }
  }
};

/**
 * Checks a partition that is online after a recovery, and returns what it is from now on. Throws a
 * Violation for a broken promise, and the log's own errors.
 */
export const verifyPartition = async (input: VerifyInput): Promise<PartitionModel> => {
  const { log, model } = input;
  const found = await observe(log);
  const worlds = worldsOf(input, found);
  const problems: string[] = [];
  for (const world of worlds) {
    const problem = problemOf(input, world, found);
    if (problem === undefined) {
      const next = adopt(input, world, found);
      await verifyAnswers(input, next);
      return next;
    }
    problems.push(problem);
  }
  throw new Violation(`${model.name}: ${problems.join("; or else: ")}`);
};

/** What may have happened, the likeliest first: a truncation under way took effect, or did not. */
const worldsOf = ({ log, model }: VerifyInput, found: Found): PartitionModel[] => {
  if (model.truncation === undefined) return [model];
  const cut = model.copy();
  cut.truncated();
  const { isReset, offset } = model.truncation;
  // Retention can empty a log as well, and rot can take its epochs. Then nothing tells them apart.
  const isAnew = found.logStart === offset && found.end === offset && log.leaderEpoch === 0;
  return isReset && isAnew ? [cut, model] : [model, cut];
};

/** The first broken promise, or undefined. */
const problemOf = (input: VerifyInput, world: PartitionModel, found: Found): string | undefined =>
  problemOfOffsets(input, world, found) ??
  problemOfBatches(world, found) ??
  problemOfEpochs(input, world, found);

const problemOfOffsets = (
  { log, retentionAllows }: VerifyInput,
  world: PartitionModel,
  found: Found,
): string | undefined => {
  const { logStart, end, highWatermark } = found;
  if (log.ackedEndOffset !== end) return `ends at ${end}, but ${log.ackedEndOffset} counts`;
  if (logStart < world.logStartConfirmed) {
    return `log start ${logStart} fell below ${world.logStartConfirmed}`;
  }
  if (logStart > world.logStartAsked && !retentionAllows(world, logStart)) {
    return `log start ${logStart} was never asked for (${world.logStartAsked} was)`;
  }
  if (highWatermark > end || highWatermark < logStart) {
    return `high watermark ${highWatermark} is not between ${logStart} and ${end}`;
  }
  if (highWatermark < Math.min(world.highWatermarkDurable, end)) {
    return `high watermark ${highWatermark} fell below ${world.highWatermarkDurable}`;
  }
  if (highWatermark > Math.max(world.highWatermark, logStart)) {
    return `high watermark ${highWatermark} rose above ${world.highWatermark}`;
  }
  return undefined;
};

const problemOfWhole = (
  expected: readonly ModelBatch[],
  batches: readonly FoundBatch[],
): string | undefined => {
  for (const [i, batch] of batches.entries()) {
    const other = expected[i];
    if (other === undefined || !isSame(batch, other)) {
      return `has ${describe(batch)} where ${describe(other)} should be`;
    }
  }
  return undefined;
};

/** Of a log that may have been compacted: what is left, and what it says of its keys. */
const problemOfCleaned = (
  world: PartitionModel,
  { logStart, end, batches }: Pick<Found, "batches" | "end" | "logStart">,
): string | undefined => {
  let next = batches[0]?.baseOffset ?? end;
  for (const batch of batches) {
    if (batch.baseOffset !== next) return `has ${describe(batch)} where ${next} should be`;
    next = batch.lastOffset + 1;
    const problem = world.problemOfCleaned(batch);
    if (problem !== undefined) return `has in ${describe(batch)} ${problem}`;
  }
  return world.problemOfKeys(logStart, end, batches);
};

const problemOfBatches = (
  world: PartitionModel,
  { logStart, end, batches }: Found,
): string | undefined => {
  const expected = world.batches.filter(({ lastOffset }) => lastOffset >= logStart);
  const problem = world.compacted
    ? problemOfCleaned(world, { logStart, end, batches })
    : problemOfWhole(expected, batches);
  if (problem !== undefined) return problem;
  const must = world.mustEnd();
  if (end < must) return `promised up to ${must}, the log ends at ${end}`;
  const last = batches.at(-1);
  const endsRight = last === undefined ? end === logStart : last.lastOffset + 1 === end;
  if (!endsRight) return `reads end after ${describe(last)}, the log at ${end}`;
  if (last === undefined && expected.some((batch) => batch.lastOffset < must)) {
    return `nothing is left of ${describe(expected[0])} and what follows`;
  }
  return undefined;
};

const problemOfEpochs = (
  { log }: VerifyInput,
  world: PartitionModel,
  found: Found,
): string | undefined => {
  const { epochs } = world;
  const confirmed = epochs.damaged
    ? (found.batches.at(-1)?.leaderEpoch ?? 0)
    : (epochs.epochs.findLast((entry) => entry.confirmed)?.epoch ?? 0);
  if (log.leaderEpoch < confirmed) return `knows epoch ${log.leaderEpoch}, it had ${confirmed}`;
  if (epochs.doubtful) return undefined;
  if (matchingEpochs(log, epochs, found).length === 0) {
    const known = JSON.stringify(epochs.epochs);
    const answers = Array.from({ length: log.leaderEpoch + 1 }, (_, epoch) =>
      JSON.stringify(log.endOffsetForEpoch(epoch)),
    );
    return `epochs ${known} from ${found.logStart} to ${found.end}, answers ${answers.join()}`;
  }
  for (const { baseOffset, leaderEpoch } of found.batches) {
    const told = log.epochOfOffset(Math.max(baseOffset, found.logStart));
    if (told !== leaderEpoch) return `offset ${baseOffset} has epoch ${leaderEpoch}, not ${told}`;
  }
  return undefined;
};

/** The epochs that the log's answers agree with. */
const matchingEpochs = (
  log: PartitionLog,
  epochs: EpochModel,
  { logStart, end, batches }: Found,
) => {
  const surviving = new Set(batches.map(({ leaderEpoch }) => leaderEpoch));
  return epochs.possible(end, logStart, surviving).filter(({ answering }) => {
    const latest = answering.at(-1)?.epoch ?? 0;
    if (log.leaderEpoch !== latest) return false;
    for (let epoch = 0; epoch <= latest + 1; epoch += 1) {
      const expected = endOffsetFor(answering, epoch, end);
      const told = log.endOffsetForEpoch(epoch);
      if (told?.endOffset !== expected?.endOffset) return false;
      if (told?.leaderEpoch !== expected?.leaderEpoch) return false;
    }
    return true;
  });
};

/** What was found is what counts from now on, and all of it is durable. */
const adopt = (input: VerifyInput, world: PartitionModel, found: Found): PartitionModel => {
  const next = world.copy();
  const { logStart, end } = found;
  const epochs = matchingEpochs(input.log, world.epochs, found);
  const must = world.mustEnd();
  next.cutTo(end);
  next.epochs.adopt(epochs);
  next.removed.splice(0);
  if (next.endOffset < end) next.lostBelow = end;
  // What lay below the log start was promised to survive as little as what followed it.
  if (must < logStart) next.producers.doubtWindows(logStart);
  for (const batch of next.batches) batch.acked = true;
  next.created = true;
  next.truncation = undefined;
  next.durableEnd = end;
  next.logStartConfirmed = logStart;
  next.logStartAsked = logStart;
  next.highWatermark = found.highWatermark;
  next.highWatermarkDurable = found.highWatermark;
  next.cacheBetrayed = false;
  next.loss = "process";
  next.offline = false;
  next.deleting = false;
  return next;
};

/** Asks the log what it must know besides its batches. */
export const verifyAnswers = async (input: VerifyInput, model: PartitionModel): Promise<void> => {
  const { log, random } = input;
  const fail = (what: string): never => {
    throw new Violation(`${model.name}: ${what}`);
  };
  verifyFencing(log, model, fail);
  verifyProducers(log, model, random, fail);
  if (random.chance(0.5)) {
    log.updateHighWatermark(log.logEndOffset);
    model.highWatermark = Math.max(model.highWatermark, log.highWatermark);
    model.highWatermarkMax = Math.max(model.highWatermarkMax, log.highWatermark);
  }
  await verifyReads(log, model, random, fail);
  await verifyTimes(log, model, random, fail);
};

type Fail = (what: string) => never;

const codeOf = (run: () => unknown): unknown => {
  try {
    return run();
  } catch (thrown) {
    return thrown;
  }
};

/** A batch that is appended only to be refused. */
const refusedBatch = (model: PartitionModel): ModelBatch["batch"] | undefined =>
  model.batches.find(({ batch }) => batch.info.producerId < 0)?.batch;

const verifyFencing = (log: PartitionLog, model: PartitionModel, fail: Fail): void => {
  const batch = refusedBatch(model);
  const epoch = log.leaderEpoch - 1;
  if (batch === undefined || epoch < 0) return;
  const outcome = codeOf(() => log.append(batch, epoch, () => {}));
  if (!hasCode(outcome, ErrorCode.FENCED_LEADER_EPOCH)) {
    fail(`an append of epoch ${epoch} after ${log.leaderEpoch} was not fenced: ${String(outcome)}`);
  }
};

const verifyProducers = (
  log: PartitionLog,
  model: PartitionModel,
  random: SeededRandom,
  fail: Fail,
): void => {
  const { producers } = model;
  const ids = producers.ids();
  const from = random.below(Math.max(1, ids.length - 4));
  for (const id of ids.slice(from, from + 4)) {
    for (const { batch, baseOffset } of producers.get(id)?.batches ?? []) {
      const outcome = codeOf(() => log.append(batch, log.leaderEpoch, () => {}));
      const again = outcome as { readonly duplicate?: boolean; readonly baseOffset?: number };
      if (again.duplicate !== true || again.baseOffset !== baseOffset) {
        const { producerEpoch, baseSequence } = batch.info;
        const what = outcome instanceof Error ? outcome.message : JSON.stringify(outcome);
        fail(
          `a retry of producer ${id} (epoch ${producerEpoch}, sequence ${baseSequence}) of the batch at ` +
            `${baseOffset} is no duplicate: ${what}`,
        );
      }
    }
    verifyRefusals(log, producers, id, fail);
  }
};

const verifyRefusals = (
  log: PartitionLog,
  producers: ProducerModel,
  id: number,
  fail: Fail,
): void => {
  const known = producers.get(id);
  const last = known?.batches.at(-1);
  if (known === undefined || last === undefined) return;
  const attempt = (producerEpoch: number, baseSequence: number): unknown => {
    const info = { ...last.batch.info, producerEpoch, baseSequence };
    return codeOf(() => log.append({ ...last.batch, info }, log.leaderEpoch, () => {}));
  };
  const gap = attempt(known.epoch, (producers.next(id) + 7) % 2 ** 31);
  if (!hasCode(gap, ErrorCode.OUT_OF_ORDER_SEQUENCE)) {
    fail(`a gap of producer ${id} was not refused: ${JSON.stringify(gap)}`);
  }
  if (known.epoch === 0) return;
  const zombie = attempt(known.epoch - 1, 0);
  if (!hasCode(zombie, ErrorCode.INVALID_PRODUCER_EPOCH)) {
    fail(
      `producer ${id} has epoch ${known.epoch}, epoch ${known.epoch - 1} was not refused: ${JSON.stringify(zombie)}`,
    );
  }
};

const verifyReads = async (
  log: PartitionLog,
  model: PartitionModel,
  random: SeededRandom,
  fail: Fail,
): Promise<void> => {
  for (let i = 0; i < 4; i += 1) {
    const { logStartOffset: start, highWatermark: end } = log;
    if (start === end) return;
    const offset = random.between(start, end - 1);
    const result = await log
      .read(offset, random.pick([1, 300, 2000]), "high_watermark")
      .catch((thrown: unknown) => {
        if (log.logStartOffset > offset) return undefined;
        throw thrown;
      });
    if (result === undefined) continue;
    const batches = batchesIn(Buffer.concat(result.chunks));
    const [first] = batches;
    if (first === undefined || first.baseOffset > offset || first.lastOffset < offset) {
      fail(`a read at ${offset} of ${start} to ${end} begins with ${describe(first)}`);
    }
    for (const batch of batches) {
      if (batch.lastOffset >= end) fail(`a read returned ${describe(batch)}, past ${end}`);
      if (!model.accounts(batch, 0, isSame)) fail(`a read returned a wrong ${describe(batch)}`);
    }
  }
};

/** Of a log that may be compacted meanwhile: a record that must be there is not passed over. */
const verifyCompactedTimes = async (
  log: PartitionLog,
  model: PartitionModel,
  timestampMs: number,
  fail: Fail,
): Promise<void> => {
  const { logStartOffset: start, highWatermark: end } = log;
  const told = await log.offsetForTimestamp(timestampMs);
  const largest = await log.maxTimestamp();
  const readable = model.times.filter(({ offset }) => offset >= start && offset < end);
  for (const one of [told, largest]) {
    const isThere = readable.some(
      (other) => other.offset === one?.offset && other.timestampMs === one.timestampMs,
    );
    if (one !== undefined && !isThere) fail(`a lookup by time tells ${JSON.stringify(one)}`);
  }
  for (const one of readable.filter((record) => !record.mayBeGone)) {
    const passed = one.timestampMs >= timestampMs && one.offset < (told?.offset ?? end);
    if (passed || one.timestampMs > (largest?.timestampMs ?? -1)) {
      const both = JSON.stringify([told, largest]);
      fail(`lookups of time ${timestampMs} tell ${both}, and pass over ${one.offset}`);
    }
  }
};

/** Lookups by time are what a scan of the readable records says. */
export const verifyTimes = async (
  log: PartitionLog,
  model: PartitionModel,
  random: SeededRandom,
  fail: Fail,
): Promise<void> => {
  const times = model.batches
    .filter(({ lastOffset }) => lastOffset >= log.logStartOffset)
    .flatMap(({ timestampsMs }) => timestampsMs);
  if (times.length === 0) return;
  if (model.compacted) return verifyCompactedTimes(log, model, random.pick(times), fail);
  const asked = [random.pick(times), random.pick(times) + 1, Math.max(...times) + 1];
  const lookUp = async (ask: () => Promise<unknown>, answer: (start: number) => unknown) => {
    const starts = [log.logStartOffset];
    const told = await ask().catch((thrown: unknown) => {
      // Retention may have taken the segment that it was looking at.
      if (log.logStartOffset > (starts[0] ?? 0)) return "moved";
      throw thrown;
    });
    if (told === "moved") return;
    starts.push(log.logStartOffset);
    // The record with the largest timestamp may have gone before its offset was found.
    if (told === undefined && starts[0] !== starts[1]) return;
    const expected = starts.map((start) => JSON.stringify(answer(start)));
    if (!expected.includes(JSON.stringify(told))) {
      fail(`a lookup by time tells ${JSON.stringify(told)}, not ${expected[0]}`);
    }
  };
  for (const timestampMs of asked) {
    await lookUp(
      () => log.offsetForTimestamp(timestampMs),
      (start) => model.offsetForTimestamp(timestampMs, start),
    );
  }
  await lookUp(
    () => log.maxTimestamp(),
    (start) => model.maxTimestamp(start),
  );
};
