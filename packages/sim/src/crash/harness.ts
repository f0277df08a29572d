/** One log engine on a simulated disk, under a random workload, crashed and recovered. */
import { type Env, silentLogger } from "@millrace/env";
import { ErrorCode, hasCode } from "@millrace/errors";
import {
  defaultLogConfig,
  defaultManagerConfig,
  type LogConfig,
  type LogManager,
  openLogManager,
  type PartitionLog,
  type ProducerTable,
  verifyDirectory,
} from "@millrace/log";
import {
  BatchBuilder,
  crcOf,
  decodeRecords,
  parseBody,
  readStored,
  type TopicId,
} from "@millrace/record";
import { syncCompressor } from "@millrace/record/node";
import { type CrashModel, SimDisk } from "../disk.ts";
import { Incarnation, Kernel } from "../kernel.ts";
import { SeededRandom } from "../random.ts";
import { PartitionModel, Violation } from "./model.ts";

const topicId = "0123456789abcdef0123456789abcdef" as TopicId;

/** Everything of one run. */
export class CrashRun {
  readonly kernel: Kernel;
  readonly disk: SimDisk;
  readonly models: PartitionModel[];
  readonly #random: SeededRandom;
  readonly #configs: readonly LogConfig[];
  readonly #managerConfig;
  #process: Incarnation;
  #nextValue = 0;
  #producerSequence = 0;
  recoveries = 0;

  constructor(seed: number) {
    this.kernel = new Kernel(seed);
    this.disk = new SimDisk(this.kernel.random);
    this.#random = new SeededRandom(seed ^ 0x5bd1e995);
    this.#process = new Incarnation(this.kernel);
    const random = this.#random;
    const base: LogConfig = {
      ...defaultLogConfig,
      segmentBytes: random.pick([1024, 2500, 9000]),
      indexIntervalBytes: random.pick([64, 300]),
      retentionMs: -1,
      fileDeleteDelayMs: random.pick([0, 50]),
      flushIntervalMs: 20,
    };
    const weak = random.pick(["commit", "interval", "none"] as const);
    this.#configs = [base, { ...base, segmentBytes: 5000 }, { ...base, flushPolicy: weak }];
    this.models = this.#configs.map(
      (config, i) => new PartitionModel(`partition ${i}`, config.flushPolicy === "commit"),
    );
    this.#managerConfig = {
      ...defaultManagerConfig,
      journalFileBytes: random.pick([32, 64]) * 1024,
      journalBytesMax: 192 * 1024,
      tailCacheBytesMax: random.pick([0, 4000, 1_000_000]),
      indexCacheBytesMax: random.pick([0, 100_000]),
      openFilesMax: random.pick([2, 100]),
      diskReserveBytes: 0,
      unwrittenBytesMax: random.pick([1000, 20_000]),
      syncStepBytes: random.pick([500, 1_000_000]),
      writeLingerMs: random.pick([0, 3, 100]),
      checkpointIntervalMs: random.pick([15, 60, 500]),
    };
  }

  /** A new process on the disk, recovered. */
  async start(): Promise<LogManager> {
    const process = new Incarnation(this.kernel);
    this.#process = process;
    const env: Env = {
      clock: process.clock(),
      random: this.#random,
      disk: this.disk.mount(process),
      compressor: syncCompressor,
      logger: silentLogger,
    };
    const manager = await openLogManager({
      env,
      identity: { clusterId: "sim", brokerId: 1 },
      config: this.#managerConfig,
      configFor: (_id, _topic, partition) => this.#configs[partition] ?? defaultLogConfig,
    });
    this.recoveries += 1;
    return manager;
  }

  /** The process dies; the disk keeps what the model lets it. */
  crash(model: CrashModel): void {
    this.#process.kill();
    this.disk.crash(model);
  }

  get alive(): boolean {
    return this.#process.alive;
  }

  /** A random workload. Ends by itself, or with the process. */
  async work(manager: LogManager, operations: number): Promise<void> {
    const logs: PartitionLog[] = [];
    for (const [i, config] of this.#configs.entries()) {
      const log = await manager.create(topicId, "sim", i, config);
      await log.becomeLeader(log.leaderEpoch + 1);
      logs.push(log);
    }
    const pending: Promise<void>[] = [];
    for (let i = 0; i < operations; i += 1) {
      const at = this.#random.below(logs.length);
      const log = logs[at];
      const model = this.models[at];
      if (log === undefined || model === undefined) continue;
      await this.#operation(log, model, pending);
    }
    await Promise.all(pending);
  }

  async #operation(
    log: PartitionLog,
    model: PartitionModel,
    pending: Promise<void>[],
  ): Promise<void> {
    const random = this.#random;
    const dice = random.below(100);
    if (dice < 62) pending.push(this.#append(log, model));
    else if (dice < 74) await Promise.all(pending.splice(0));
    else if (dice < 82) this.#raiseHighWatermark(log, model);
    else if (dice < 86) await log.flush();
    else if (dice < 90) await this.#truncate(log, model, pending);
    else if (dice < 94) await this.#moveLogStart(log, model);
    else if (dice < 96) await log.becomeLeader(log.leaderEpoch + 1);
    else if (dice < 98) await log.runRetention();
    else await this.#read(log, model);
  }

  #append(log: PartitionLog, model: PartitionModel): Promise<void> {
    const random = this.#random;
    const builder = new BatchBuilder(256);
    const values: string[] = [];
    for (let i = random.between(1, 4); i > 0; i -= 1) {
      const value = `v${this.#nextValue++}:${"x".repeat(random.below(random.chance(0.1) ? 3000 : 200))}`;
      values.push(value);
      builder.append({ value: Buffer.from(value), timestampMs: 1000 + random.below(10_000) });
    }
    const producer = random.chance(0.3)
      ? { producerId: this.#producerSequence++, producerEpoch: 0, baseSequence: 0 }
      : undefined;
    const body = builder.finishPlain(producer);
    const batch = { body, bodyCrc: crcOf(body), info: parseBody(body) };
    return new Promise((resolve, reject) => {
      const appended = log.append(batch, log.leaderEpoch, (error) => {
        if (error === undefined) {
          accepted.acked = true;
          resolve();
        } else reject(error);
      });
      const accepted = model.append(appended.baseOffset, values);
    });
  }

  /** As a broker does it: to what counts, or, for a while, somewhat behind it. */
  #raiseHighWatermark(log: PartitionLog, model: PartitionModel): void {
    const ends = model.batches
      .map((batch) => batch.baseOffset + batch.values.length)
      .filter((end) => end <= log.ackedEndOffset);
    const end = ends[Math.max(0, ends.length - 1 - this.#random.below(4))];
    if (end !== undefined) log.updateHighWatermark(end);
    model.seenHighWatermark = Math.max(model.seenHighWatermark, log.highWatermark);
  }

  async #truncate(
    log: PartitionLog,
    model: PartitionModel,
    pending: Promise<void>[],
  ): Promise<void> {
    await Promise.all(pending.splice(0));
    const cuts = model.batches
      .map((batch) => batch.baseOffset)
      .filter((base) => base >= log.highWatermark && base >= log.logStartOffset);
    const cut = cuts[Math.max(0, cuts.length - 1 - this.#random.below(3))];
    if (cut === undefined || cut >= log.logEndOffset) return;
    model.askTruncation(cut);
    await log.truncateTo(cut);
    model.confirmTruncation();
    await log.becomeLeader(log.leaderEpoch + 1);
  }

  async #moveLogStart(log: PartitionLog, model: PartitionModel): Promise<void> {
    const room = log.highWatermark - log.logStartOffset;
    if (room < 10) return;
    const offset = log.logStartOffset + this.#random.below(room / 2);
    model.logStartAsked = Math.max(model.logStartAsked, offset);
    await log.advanceLogStart(offset);
    model.logStartConfirmed = Math.max(model.logStartConfirmed, offset);
  }

  async #read(log: PartitionLog, model: PartitionModel): Promise<void> {
    const room = log.highWatermark - log.logStartOffset;
    const offset = log.logStartOffset + this.#random.below(room + 1);
    const truth = new Map<number, string>();
    for (const batch of model.batches) {
      for (const [i, value] of batch.values.entries()) truth.set(batch.baseOffset + i, value);
    }
    const result = await log.read(offset, 700, "high_watermark");
    for (const record of recordsIn(Buffer.concat(result.chunks), offset)) {
      if (truth.get(record.offset) !== record.value) {
        throw new Violation(`${model.name}: read ${record.value} at ${record.offset}`);
      }
    }
  }

  /** Checks every partition against its model. With `damaged`, a partition may also refuse to serve. */
  async verify(manager: LogManager, lossy: boolean, damaged = false): Promise<number> {
    let offline = 0;
    for (const [i, model] of this.models.entries()) {
      const log = manager.get(topicId, i);
      if (log === undefined) {
        if (model.batches.some((batch) => batch.acked))
          throw new Violation(`${model.name} is gone`);
        model.batches = [];
        continue;
      }
      if (log.state.kind === "offline") {
        if (!damaged) throw new Violation(`${model.name} is offline: ${log.state.reason}`);
        offline += 1;
        continue;
      }
      const read = await readEverything(log).catch((thrown: unknown) => {
        if (damaged && hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) return undefined;
        throw thrown;
      });
      if (read === undefined) {
        offline += 1;
        continue;
      }
      model.check(read, lossy);
      checkProducers(log, read.producers, model.name);
    }
    return offline;
  }

  /** After a clean stop the files must be beyond reproach. */
  async verifyFiles(): Promise<void> {
    const process = new Incarnation(this.kernel);
    const report = await verifyDirectory(this.disk.mount(process), syncCompressor);
    const first = report.damages[0];
    if (first !== undefined)
      throw new Violation(`${first.path} at ${first.position}: ${first.reason}`);
    if (!report.clean) throw new Violation("a clean stop left no marker");
    if (report.tornBytes > 0) throw new Violation("a clean stop left a torn tail");
  }
}

/** Records of stored batches at or after an offset. */
export const recordsIn = (bytes: Buffer, from: number): { offset: number; value: string }[] => {
  const records: { offset: number; value: string }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const batch = readStored(bytes, at);
    if ("fault" in batch) throw new Violation(`a read returned no batch: ${JSON.stringify(batch)}`);
    const info = parseBody(bytes.subarray(batch.bodyStart, batch.bodyEnd));
    for (const record of decodeRecords(info.records, info.baseTimestampMs)) {
      const offset = batch.baseOffset + record.offsetDelta;
      const value = Buffer.from(record.value ?? []).toString();
      if (offset >= from) records.push({ offset, value });
    }
    at = batch.bodyEnd;
  }
  return records;
};

/** Producers of stored batches: id and base offset. */
const producersIn = (bytes: Buffer): [number, number][] => {
  const producers: [number, number][] = [];
  for (let at = 0; at < bytes.length; ) {
    const batch = readStored(bytes, at);
    if ("fault" in batch) break;
    const { producerId } = parseBody(bytes.subarray(batch.bodyStart, batch.bodyEnd));
    if (producerId >= 0) producers.push([producerId, batch.baseOffset]);
    at = batch.bodyEnd;
  }
  return producers;
};

/** The idempotence table is, above the log start, what the log says (S4); every producer of the workload sends once. */
const checkProducers = (
  log: PartitionLog,
  found: readonly [number, number][],
  name: string,
): void => {
  const table = (log as unknown as { readonly producers: ProducerTable }).producers;
  const known = table
    .snapshot(0)
    .producers.filter(({ batches }) => Number(batches[0]?.baseOffset) >= log.logStartOffset)
    .map(({ producerId, batches }) => `${producerId}@${batches[0]?.baseOffset}`);
  const expected = found
    .filter(([, offset]) => offset >= log.logStartOffset)
    .toSorted(([a], [b]) => a - b)
    .map(([id, offset]) => `${id}@${offset}`);
  if (known.join() !== expected.join()) {
    throw new Violation(`${name}: knows producers ${known.join()}, the log has ${expected.join()}`);
  }
};

const readEverything = async (log: PartitionLog) => {
  const producers: [number, number][] = [];
  const records: { offset: number; value: string }[] = [];
  const { logStartOffset, logEndOffset, highWatermark } = log;
  log.updateHighWatermark(logEndOffset);
  for (let offset = logStartOffset; offset < logEndOffset; ) {
    const result = await log.read(offset, 4000, "high_watermark");
    if (result.bytes === 0) break;
    for (const record of recordsIn(Buffer.concat(result.chunks), offset)) records.push(record);
    producers.push(...producersIn(Buffer.concat(result.chunks)));
    offset = result.nextOffset;
  }
  return { logStartOffset, endOffset: logEndOffset, highWatermark, records, producers };
};
