/** One data directory on a simulated disk, through as many lives of processes as it takes. */
import { type Env, silentLogger } from "@millrace/env";
import {
  type LogConfig,
  type LogManager,
  type LogManagerConfig,
  openLogManager,
  type PartitionLog,
  partitionDirectory,
  verifyDirectory,
} from "@millrace/log";
import type { TopicId } from "@millrace/record";
import { syncCompressor } from "@millrace/record/node";
import { type CrashModel, SimDisk } from "../disk.ts";
import { Incarnation, Kernel } from "../kernel.ts";
import { SeededRandom } from "../random.ts";
import { type Counts, FaultPlan, isDamage } from "./faults.ts";
import type { Switches } from "./kinds.ts";
import { doubtLostProducers } from "./lost-producers.ts";
import type { PartitionModel } from "./model.ts";
import type { WallSpan } from "./retention-model.ts";
import { cleanerConfigOf, compactedConfigOf, logConfigOf, managerConfigOf } from "./settings.ts";
import { Violation } from "./violation.ts";

const topicIds = [
  "0123456789abcdef0123456789abcdef" as TopicId,
  "fedcba9876543210fedcba9876543210" as TopicId,
];

/** A place for a partition: its id, and what stands there now. */
export interface Slot {
  readonly topicId: TopicId;
  readonly topic: string;
  readonly partition: number;
  /** Name of its directory. */
  readonly directory: string;
  config: LogConfig;
  /** Records have keys, and the log is compacted. */
  readonly compacted: boolean;
  /** Settings in effect at some time since the last recovery: retention may have followed any. */
  configs: LogConfig[];
  /** Undefined while there is no partition. */
  model: PartitionModel | undefined;
  log: PartitionLog | undefined;
  /** Largest leader epoch ever given to the partition, over all its lives. */
  lastEpoch: number;
  /** Lives of the partition so far. */
  lives: number;
  /**
   * The meta file rotted, so that the log cannot tell which life the directory is of; or the
   * journal, which may have had the deletion.
   */
  lifeUnknown: boolean;
}

export class CrashRun {
  readonly seed: number;
  readonly on: Switches;
  readonly counts: Counts;
  readonly kernel: Kernel;
  readonly disk: SimDisk;
  readonly random: SeededRandom;
  readonly slots: readonly Slot[];
  faults: FaultPlan;
  /** Offsets of the wall clock that lasted. */
  readonly wallOffsetsMs = new Set([0]);
  /** Places of journal rounds in which a bit rotted. */
  readonly rottenRounds = new Set<string>();
  /** Which of the recovery points and their copy rotted. */
  rottenPoints: string | undefined;
  /** The wall clock was wrong at some time. */
  clockWasWrong = false;
  /**
   * Some runs have no idempotent producers: fewer files change, and mistakes show that they hide.
   */
  readonly plain: boolean;
  /** Numbers the values, so that none comes twice. */
  nextValue = 0;
  nextProducer = 1;
  /** The first broken promise that was met where nobody waits. */
  violation: unknown;
  /** Told what happens, for people. */
  trace: (line: string) => void = () => {};
  readonly #managerConfig: LogManagerConfig;
  #process: Incarnation;

  constructor(seed: number, on: Switches, counts: Counts, from?: CrashRun) {
    this.seed = seed;
    this.on = on;
    this.counts = counts;
    this.kernel = new Kernel(seed, from?.kernel);
    this.random = new SeededRandom(seed ^ 0x5bd1e995);
    this.faults = from?.faults.copy(counts) ?? new FaultPlan(counts);
    this.#process = new Incarnation(this.kernel);
    if (from === undefined) {
      this.disk = new SimDisk(this.kernel.random);
      this.disk.stallChance = this.random.pick([0, 0.02]);
      const cleaning = new SeededRandom(seed ^ 0x0c1ea4);
      this.#managerConfig = {
        ...managerConfigOf(this.random),
        ...cleanerConfigOf(cleaning, on),
      };
      this.plain = this.random.chance(0.25);
      // Fewer are sometimes more: where there is one, there may also be none.
      const count = this.random.pick([1, 2, 4, 4]);
      this.slots = [0, 1, 2, 3].slice(0, count).map((i) => this.#slot(i, cleaning));
      return;
    }
    this.disk = from.disk.fork(this.kernel.random);
    this.#managerConfig = from.#managerConfig;
    this.plain = from.plain;
    this.slots = from.slots.map((slot) => ({
      ...slot,
      configs: [...slot.configs],
      model: slot.model?.copy(),
      log: undefined,
    }));
    for (const offsetMs of from.wallOffsetsMs) this.wallOffsetsMs.add(offsetMs);
    for (const place of from.rottenRounds) this.rottenRounds.add(place);
    this.rottenPoints = from.rottenPoints;
    this.clockWasWrong = from.clockWasWrong;
    this.nextValue = from.nextValue + 1_000_000;
    this.nextProducer = from.nextProducer + 1_000_000;
    this.trace = from.trace;
  }

  /** The same at this moment, to go on by itself. */
  fork(seed: number): CrashRun {
    return new CrashRun(seed, this.on, this.counts, this);
  }

  get alive(): boolean {
    return this.#process.alive;
  }

  /** The times that clocks lastingly showed by now. */
  get walls(): readonly WallSpan[] {
    return [...this.wallOffsetsMs].map((offsetMs) => {
      const firstMs = 1_700_000_000_000 + offsetMs;
      return { firstMs, lastMs: firstMs + this.kernel.nowMs };
    });
  }

  /** A new process on the disk, recovered. */
  async start(): Promise<LogManager> {
    const process = new Incarnation(this.kernel);
    this.#process = process;
    this.faults = new FaultPlan(this.counts);
    this.faults.attach(this.disk);
    const env: Env = {
      clock: process.clock(),
      random: this.random,
      disk: this.disk.mount(process),
      compressor: syncCompressor,
      logger: silentLogger,
    };
    this.counts.add("starts");
    this.trace("start");
    return openLogManager({
      env,
      identity: { clusterId: "sim", brokerId: 1 },
      config: this.#managerConfig,
      configFor: (topicId, _topic, partition) => this.#slotOf(topicId, partition).config,
    });
  }

  /** Runs `run` after `ms`, unless the process has died by then. */
  schedule(ms: number, run: () => void): void {
    this.#process.schedule(ms, run);
  }

  /** The process dies; the disk keeps what the model lets it. */
  crash(wanted: CrashModel): void {
    // What a failed fsync left in the page cache may look well, and is lost with the power.
    const survives = !this.faults.syncFailed || this.on.restartAfterFailedSync;
    const model = survives ? wanted : "power";
    this.#process.kill();
    const { mayStop, syncFailed } = this.faults;
    if (syncFailed || (mayStop && !this.on.weakAcksAfterFailure)) this.betrayCaches();
    this.suspectFaulty();
    if (wanted === "process" && !this.on.killedCreation) this.disk.settle("names");
    if (wanted === "process" && !this.on.killedJournal) this.disk.settle(/^journal\//);
    this.disk.fault = () => undefined;
    this.disk.quotaBytes = Number.POSITIVE_INFINITY;
    this.disk.crash(model);
    this.counts.add(`crashes: ${model}`);
    this.trace(`crash: ${model} at step ${this.disk.steps}, ${this.kernel.nowMs.toFixed(1)} ms`);
    for (const slot of this.slots) {
      slot.log = undefined;
      if (slot.model === undefined) continue;
      if (model === "power") slot.model.loss = "power";
      doubtLostProducers(this.disk, slot.directory, slot.model, this.faults.unreadSnapshots);
    }
  }

  /**
   * A partition whose files met a fault may be offline, and stay so. Only what passes by itself,
   * such as EMFILE, is no reason for that.
   */
  suspectFaulty(): void {
    for (const { directory, model } of this.slots) {
      if (model === undefined) continue;
      if (this.faults.faultyEpochs.has(directory)) model.epochs.damaged = true;
      const code = this.faults.faulty.get(directory);
      if (code === undefined) continue;
      if (isDamage(code) || !this.on.passingFault) model.suspect ??= `${code} from a file of it`;
    }
  }

  /** A broken promise, met by a task that nobody waits for. */
  fail(thrown: unknown): void {
    this.violation ??= thrown;
  }

  /** Runs work to its end, or until a promise is broken anywhere. */
  async finish<T>(work: Promise<T>, limitMs = 600_000): Promise<T> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    work.then(done, done);
    try {
      await this.kernel.runUntil(() => settled || this.violation !== undefined, limitMs);
    } catch (thrown) {
      throw new Violation(`something never ends: ${String(thrown)}`, { cause: thrown });
    }
    if (this.violation !== undefined) throw this.violation;
    return work;
  }

  /** After a clean stop the files must be beyond reproach. */
  async verifyFiles(): Promise<void> {
    const disk = this.disk.mount(new Incarnation(this.kernel));
    const report = await verifyDirectory(disk, syncCompressor);
    const [first] = report.damages;
    if (first !== undefined) {
      throw new Violation(`${first.path} at ${first.position}: ${first.reason}`);
    }
    if (!report.clean) throw new Violation("a clean stop left no marker");
    if (report.tornBytes > 0) throw new Violation("a clean stop left a torn tail");
  }

  /** What was acknowledged from the page cache alone is promised no more. */
  betrayCaches(): void {
    for (const { model } of this.slots) if (model !== undefined) model.cacheBetrayed = true;
  }

  #slot(i: number, cleaning: SeededRandom): Slot {
    const topicId = topicIds[i >> 1] ?? topicIds[0] ?? ("" as TopicId);
    const partition = i % 2;
    const plain = logConfigOf(this.random, this.on);
    const compacted = this.on.compaction && cleaning.chance(0.35);
    const config = compacted ? compactedConfigOf(plain, cleaning) : plain;
    return {
      compacted,
      topicId,
      topic: `t${i >> 1}`,
      partition,
      directory: partitionDirectory(topicId, partition).replace(/^.*\//, ""),
      config,
      configs: [config],
      model: undefined,
      log: undefined,
      lastEpoch: 0,
      lives: 0,
      lifeUnknown: false,
    };
  }

  #slotOf(topicId: TopicId, partition: number): Slot {
    const slot = this.slots.find((s) => s.topicId === topicId && s.partition === partition);
    if (slot === undefined) throw new Violation(`a partition ${topicId}-${partition} was made up`);
    return slot;
  }
}
