/**
 * Valid data directories to damage, made by the real engine on a simulated disk, and what is true
 * of each.
 */
import { type Env, type Logger, silentLogger } from "@millrace/env";
import {
  defaultLogConfig,
  defaultManagerConfig,
  type LogConfig,
  type LogManager,
  type LogManagerOptions,
  openLogManager,
  type PartitionLog,
} from "@millrace/log";
import { BatchBuilder, crcOf, parseBody, type TopicId } from "@millrace/record";
import { syncCompressor } from "@millrace/record/node";
import { type DiskImage, Incarnation, Kernel, SeededRandom, SimDisk } from "@millrace/sim";

const topicIds = ["11".repeat(16), "ab".repeat(16)] as TopicId[];
/** Partitions of every directory: two of each topic. */
export const places = topicIds.flatMap((topicId) =>
  [0, 1].map((partition) => ({ topicId, partition, key: `${topicId}#${partition}` })),
);

const logConfig: LogConfig = {
  ...defaultLogConfig,
  segmentBytes: 1500,
  indexIntervalBytes: 200,
  retentionMs: -1,
  fileDeleteDelayMs: 20,
};

const managerConfig = {
  ...defaultManagerConfig,
  journalFileBytes: 16 * 1024,
  journalBytesMax: 64 * 1024,
  tailCacheBytesMax: 0,
  indexCacheBytesMax: 2_000,
  openFilesMax: 4,
  diskReserveBytes: 0,
};

/** Opens the directory as a new process on the disk. */
export const openOn = (
  disk: SimDisk,
  process: Incarnation,
  random: SeededRandom,
  logger: Logger = silentLogger,
): Promise<LogManager> => {
  const env: Env = {
    clock: process.clock(),
    random,
    disk: disk.mount(process),
    compressor: syncCompressor,
    logger,
  };
  const options: LogManagerOptions = {
    env,
    identity: { clusterId: "fuzz", brokerId: 1 },
    config: managerConfig,
    configFor: () => logConfig,
  };
  return openLogManager(options);
};

/**
 * How the directory was left. "killed": some time after the last append, when its segment had been
 * written.
 */
export const stops = ["clean", "killed", "killed at once", "power cut"] as const;
export type Stop = (typeof stops)[number];

/** What is true of one partition. */
export interface Truth {
  /** Values that were ever written at an offset: more than one where a truncation came between. */
  readonly written: Map<number, Set<string>>;
  /** The acknowledged log, from its start to its end. */
  logStart: number;
  end: number;
}

/** A valid directory. */
export interface Directory {
  readonly seed: number;
  readonly stop: Stop;
  readonly image: DiskImage;
  readonly truths: ReadonlyMap<string, Truth>;
}

/** Appends a batch and waits for its acknowledgement. */
export const append = (
  log: PartitionLog,
  values: readonly string[],
  producer?: { producerId: number; producerEpoch: number; baseSequence: number },
): Promise<number> => {
  const builder = new BatchBuilder(256);
  for (const [i, value] of values.entries())
    builder.append({ value: Buffer.from(value), timestampMs: 1_000 + i * 7 });
  const body = builder.finishPlain(producer);
  const batch = { body, bodyCrc: crcOf(body), info: parseBody(body) };
  return new Promise((resolve, reject) => {
    const { baseOffset } = log.append(batch, log.leaderEpoch, (error) => {
      if (error === undefined) resolve(baseOffset);
      else reject(error);
    });
  });
};

class Workload {
  readonly truths = new Map<string, Truth>();
  readonly #dice: SeededRandom;
  readonly #sequences = new Map<number, number>();
  #nextValue = 0;

  constructor(dice: SeededRandom) {
    this.#dice = dice;
  }

  async run(manager: LogManager): Promise<void> {
    const logs: { log: PartitionLog; truth: Truth }[] = [];
    for (const { topicId, partition, key } of places) {
      const log = await manager.create(topicId, `t${topicId.slice(0, 2)}`, partition, logConfig);
      await log.becomeLeader(1);
      const truth = { written: new Map(), logStart: 0, end: 0 };
      this.truths.set(key, truth);
      logs.push({ log, truth });
    }
    for (let i = 0; i < 90; i += 1) {
      const { log, truth } = this.#dice.pick(logs);
      await this.#operation(log, truth);
    }
    for (const { log, truth } of logs) Object.assign(truth, { end: log.logEndOffset });
  }

  async #operation(log: PartitionLog, truth: Truth): Promise<void> {
    const dice = this.#dice;
    const kind = dice.below(100);
    if (kind < 84) await this.#append(log, truth);
    else if (kind < 88) await log.flush();
    else if (kind < 92) await log.becomeLeader(log.leaderEpoch + 1);
    else if (kind < 96) {
      const offset = log.logStartOffset + dice.below(log.highWatermark - log.logStartOffset + 1);
      await log.advanceLogStart(offset);
      truth.logStart = log.logStartOffset;
    } else {
      await log.truncateTo(Math.max(log.logStartOffset, log.logEndOffset - dice.between(1, 6)));
      await log.becomeLeader(log.leaderEpoch + 1);
    }
  }

  async #append(log: PartitionLog, truth: Truth): Promise<void> {
    const dice = this.#dice;
    const values = Array.from({ length: dice.between(1, 4) }, () => {
      this.#nextValue += 1;
      return `v${this.#nextValue}:${"x".repeat(dice.below(dice.chance(0.1) ? 900 : 90))}`;
    });
    const producerId = dice.below(12);
    const baseSequence = this.#sequences.get(producerId) ?? 0;
    const producer = { producerId, producerEpoch: 0, baseSequence };
    // A truncation takes sequences back, so each producer writes to a log of its own only once.
    const idempotent = dice.chance(0.3) && baseSequence === 0;
    if (idempotent) this.#sequences.set(producerId, values.length);
    const base = await append(log, values, idempotent ? producer : undefined);
    for (const [i, value] of values.entries()) {
      const known = truth.written.get(base + i) ?? new Set();
      truth.written.set(base + i, known.add(value));
    }
    // Sometimes the high watermark stays behind.
    if (dice.chance(0.8)) log.updateHighWatermark(log.ackedEndOffset);
  }
}

/** The directory of a seed, left in one of the ways. */
export const directoryOf = async (seed: number, stop: Stop): Promise<Directory> => {
  const kernel = new Kernel(seed);
  const disk = new SimDisk(kernel.random);
  const dice = new SeededRandom(seed ^ 0x2545f491);
  const process = new Incarnation(kernel);
  const workload = new Workload(dice);
  const manager = await kernel.run(openOn(disk, process, dice));
  await kernel.run(workload.run(manager));
  if (stop === "clean") await kernel.run(manager.close(true));
  if (stop === "killed") {
    await kernel.run(process.clock().sleep(managerConfig.writeLingerMs * 2));
  }
  process.kill();
  disk.crash(stop === "power cut" ? "power" : "process");
  return { seed, stop, image: disk.image(), truths: workload.truths };
};
