/** One life of the process under test: what is under way in it, and what must hold meanwhile. */
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { LogManager } from "@millrace/log";
import type { SeededRandom } from "../random.ts";
import type { Kind } from "./kinds.ts";
import type { PartitionModel } from "./model.ts";
import { retentionAllows } from "./retention-model.ts";
import type { CrashRun, Slot } from "./run.ts";
import { Violation } from "./violation.ts";

/** An error of the disk, as it came. */
const isErrno = (thrown: unknown): boolean =>
  thrown instanceof Error && "code" in thrown && typeof thrown.code === "string";

export class Life {
  readonly run: CrashRun;
  readonly manager: LogManager;
  readonly random: SeededRandom;
  /** The kinds of trouble that it may meet. */
  readonly troubles: readonly Kind[];
  readonly #pending = new Set<Promise<void>>();
  /** The manager is being closed: appends may be refused. */
  closing = false;
  /** The disk was full for a while. */
  wasFull = false;

  constructor(run: CrashRun, manager: LogManager, troubles: readonly Kind[]) {
    this.run = run;
    this.manager = manager;
    this.random = run.random;
    this.troubles = troubles;
  }

  /** Waits for everything that was issued, with a disk that is well again. */
  async settle(): Promise<void> {
    this.run.faults.heal();
    this.run.disk.quotaBytes = Number.POSITIVE_INFINITY;
    while (this.#pending.size > 0) await Promise.all([...this.#pending]);
    for (const slot of this.run.slots) this.check(slot);
  }

  /**
   * Some partition takes no more writes since a fault was injected: the process must be started
   * anew.
   */
  get stopped(): boolean {
    return this.run.slots.some(({ log }) => log?.state.kind === "stopped");
  }

  /** Work that nobody waits for now. Its broken promises end the run. */
  later(work: Promise<void>): void {
    const watched: Promise<void> = work
      .catch((thrown: unknown) => this.run.fail(thrown))
      .finally(() => this.#pending.delete(watched));
    this.#pending.add(watched);
  }

  /** Work that must end, in whatever way, before so much time has passed. */
  async within(ms: number, what: string, work: Promise<void>): Promise<void> {
    let over = false;
    const late = this.sleep(ms).then(() => {
      if (!over) this.run.fail(new Violation(`${what} has not ended after ${ms} ms`));
    });
    try {
      await Promise.race([work, late]);
    } finally {
      over = true;
    }
  }

  /** A control operation: alone, or beside the others. */
  async control(work: Promise<void>): Promise<void> {
    if (this.run.on.concurrentControl && this.random.chance(0.8)) this.later(work);
    else await work;
  }

  tell(model: PartitionModel, what: string): void {
    this.run.trace(`${this.run.kernel.nowMs.toFixed(1)} ${model.name}: ${what}`);
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.run.schedule(ms, resolve);
    });
  }

  /** True when an error is an honest answer as things stand; otherwise it is a broken promise. */
  excuses(slot: Slot, model: PartitionModel, thrown: unknown): boolean {
    this.run.suspectFaulty();
    if (model.deleting || slot.model !== model) return true;
    const { faults } = this.run;
    if (hasCode(thrown, ErrorCode.STORAGE_ERROR) || isErrno(thrown)) {
      const stopped = this.stopped && this.#mayStop();
      return faults.injected || this.wasFull || stopped;
    }
    if (hasCode(thrown, ErrorCode.LEADER_NOT_AVAILABLE)) return model.truncation !== undefined;
    if (hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) {
      return model.suspect !== undefined || (this.stopped && this.#mayStop());
    }
    if (hasCode(thrown, ErrorCode.SHUTTING_DOWN)) return this.closing;
    if (hasCode(thrown, ErrorCode.DISK_FULL)) return this.wasFull || faults.injected;
    return hasCode(thrown, ErrorCode.ADMISSION_REJECTED);
  }

  /** Throws a Violation unless the error is excused. */
  judge(slot: Slot, model: PartitionModel, what: string, thrown: unknown): void {
    if (thrown instanceof Violation) throw thrown;
    if (this.excuses(slot, model, thrown)) return;
    const code = thrown instanceof MillraceError ? `${thrown.code} ` : "";
    throw new Violation(`${model.name}: ${what} fails without a reason: ${code}${String(thrown)}`, {
      cause: thrown,
    });
  }

  /** What must hold at any moment. */
  check(slot: Slot): void {
    const { log, model } = slot;
    if (log === undefined || model === undefined || model.deleting) return;
    const fail = (what: string): never => {
      throw new Violation(`${model.name}: ${what}`);
    };
    if (log.state.kind === "offline") {
      this.run.suspectFaulty();
      if (model.suspect === undefined) fail(`is offline: ${log.state.reason}`);
      model.offline = true;
      return;
    }
    if (log.state.kind === "stopped") {
      if (!this.#mayStop()) fail(`has stopped: ${log.state.reason}`);
      return;
    }
    if (this.stopped) fail("is online, although the directory takes no more writes");
    // Everything of the log may be that of before, or of after.
    if (model.truncation?.isReset) return;
    const { logStartOffset, highWatermark, ackedEndOffset, logEndOffset, leaderEpoch } = log;
    if (logStartOffset < model.logStartConfirmed) fail(`log start fell to ${logStartOffset}`);
    const moved = logStartOffset > model.logStartAsked;
    if (moved && !this.retentionAllows(slot, model, logStartOffset)) {
      fail(`log start ${logStartOffset} was never asked for`);
    }
    if (moved) model.logStartAsked = logStartOffset;
    model.logStartConfirmed = logStartOffset;
    if (highWatermark < logStartOffset || highWatermark > logEndOffset) {
      fail(`high watermark ${highWatermark} is not between ${logStartOffset} and ${logEndOffset}`);
    }
    if (ackedEndOffset > logEndOffset)
      fail(`${ackedEndOffset} counts, the log ends at ${logEndOffset}`);
    if (model.truncation !== undefined) return;
    if (logEndOffset !== model.endOffset) fail(`ends at ${logEndOffset}, not ${model.endOffset}`);
    if (ackedEndOffset < model.ackedEnd)
      fail(`${ackedEndOffset} counts, ${model.ackedEnd} was acknowledged`);
    if (highWatermark !== model.highWatermark) {
      fail(`high watermark is ${highWatermark}, not ${model.highWatermark}`);
    }
    if (leaderEpoch !== model.epochs.latest && !model.epochs.doubtful) {
      fail(`knows epoch ${leaderEpoch}, not ${model.epochs.latest}`);
    }
  }

  #mayStop(): boolean {
    const { faults, on, slots } = this.run;
    const damaged = slots.some(({ model }) => model?.suspect !== undefined);
    return faults.mayStop || this.closing || (damaged && !on.damageStaysLocal);
  }

  retentionAllows(slot: Slot, model: PartitionModel, start: number): boolean {
    return retentionAllows(model, slot.configs, start, this.run.walls);
  }

  /** Resolves once nothing is under way. */
  async idle(): Promise<void> {
    await Promise.all([...this.#pending]);
  }
}
