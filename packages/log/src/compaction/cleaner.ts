/** Cleans the logs of a data directory, one after another, the dirtiest first. */
import type { PartitionLog } from "../api.ts";
import type { LogContext } from "../context.ts";
import { Pace } from "../files/breathe.ts";
import { isPassing } from "../files/disk-errors.ts";
import { WorkQueue } from "../files/work-queue.ts";
import { planKey } from "../journal/scan.ts";
import type { Partition } from "../partition/partition.ts";
import { LogCleaning } from "./clean-log.ts";
import { type CleaningPlan, planCleaning } from "./plan.ts";
import { Abandoned } from "./read-batches.ts";

/** Partitions that are looked at in one turn of the event loop. */
const lookedAtPerTurn = 256;

interface Candidate {
  readonly partition: Partition;
  readonly plan: CleaningPlan;
}

export class Cleaner {
  readonly #context: LogContext;
  readonly #partitions: ReadonlyMap<string, Partition>;
  readonly #queue = new WorkQueue();
  /** Logs that failed to be cleaned, until the next start: they would fail again. */
  readonly #failed = new Set<Partition>();
  #dirtyRatioMax = 0;
  #mapUsed = 0;

  constructor(context: LogContext, partitions: ReadonlyMap<string, Partition>) {
    this.#context = context;
    this.#partitions = partitions;
  }

  get dirtyRatioMax(): number {
    return this.#dirtyRatioMax;
  }

  get mapUsed(): number {
    return this.#mapUsed;
  }

  get failedLogs(): number {
    return [...this.#failed].filter(({ deleting }) => !deleting).length;
  }

  /** Cleans every log that is due, each once. */
  async run(): Promise<void> {
    const due = await this.#due();
    due.sort((a, b) => b.plan.dirtyRatio - a.plan.dirtyRatio);
    for (const { partition } of due) await this.#queue.run(() => this.#clean(partition, true));
  }

  /** Cleans a log now, due or not. Resolves to whether anything of it went. */
  readonly compact = ({ topicId, partition }: PartitionLog): Promise<boolean> =>
    this.#queue.run(async () => {
      const log = this.#partitions.get(planKey(topicId, partition));
      return log !== undefined && this.#clean(log, false);
    });

  /** Resolves once no cleaning is under way. After `context.closing` none begins. */
  idle(): Promise<void> {
    return this.#queue.run(async () => {});
  }

  async #due(): Promise<Candidate[]> {
    const due: Candidate[] = [];
    const pace = new Pace(this.#context.env.clock, lookedAtPerTurn);
    let dirtyRatioMax = 0;
    for (const partition of [...this.#partitions.values()]) {
      if (pace.took()) await pace.pause();
      if (!this.#isCleanable(partition)) continue;
      const plan = await this.#planFor(partition);
      if (plan === undefined) continue;
      dirtyRatioMax = Math.max(dirtyRatioMax, plan.dirtyRatio);
      if (plan.isDue) due.push({ partition, plan });
    }
    this.#dirtyRatioMax = dirtyRatioMax;
    return due;
  }

  #isCleanable({ config, deleting, state }: Partition): boolean {
    const { closing, diskFull } = this.#context;
    return (
      config.compactionEnabled && state.kind === "online" && !deleting && !closing && !diskFull
    );
  }

  async #planFor(partition: Partition): Promise<CleaningPlan | undefined> {
    try {
      const nowMs = this.#context.retentionClock.read();
      return await planCleaning(partition, partition.reader, nowMs);
    } catch (thrown) {
      this.#tell(partition, thrown);
      return undefined;
    }
  }

  async #clean(partition: Partition, onlyIfDue: boolean): Promise<boolean> {
    if (!this.#isCleanable(partition) || this.#failed.has(partition)) return false;
    const plan = await this.#planFor(partition);
    if (plan === undefined || (onlyIfDue && !plan.isDue)) return false;
    const { clock, logger } = this.#context.env;
    const startedMs = clock.monoMs();
    try {
      const cleaned = await new LogCleaning(this.#context, partition).run(plan);
      const { mapBytes, readBytes, segments, writtenBytes } = cleaned;
      const durationMs = clock.monoMs() - startedMs;
      this.#mapUsed = mapBytes / this.#context.config.cleanerMapBytesMax;
      this.#context.observer.onCleaned?.(readBytes, writtenBytes, durationMs);
      const facts = { log: partition.name, segments, read: readBytes, written: writtenBytes };
      logger.debug({ ...facts, duration_ms: Math.round(durationMs) }, "a log was cleaned");
      return segments > 0;
    } catch (thrown) {
      this.#tell(partition, thrown);
      return false;
    }
  }

  #tell(partition: Partition, thrown: unknown): void {
    const { logger } = this.#context.env;
    const facts = { log: partition.name, err: thrown };
    if (thrown instanceof Abandoned || this.#context.closing || partition.deleting) return;
    if (isPassing(thrown)) {
      logger.warn(facts, "a log cannot be cleaned yet");
      return;
    }
    this.#failed.add(partition);
    logger.error(facts, "a log cannot be cleaned, and is not any more until the next start");
  }
}
