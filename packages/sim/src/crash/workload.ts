/**
 * A random workload on one life of a process: what clients, brokers, operators and the disk do to a
 * log.
 */
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { LogManager, PartitionLog } from "@millrace/log";
import type { SeededRandom } from "../random.ts";
import { appendSomething } from "./appends.ts";
import * as control from "./control.ts";
import type { Kind } from "./kinds.ts";
import { PartitionModel } from "./model.ts";
import { readSomething, timeSomething } from "./reads.ts";
import { retentionAllows } from "./retention-model.ts";
import type { CrashRun, Slot } from "./run.ts";
import { causeTrouble, troublesOf } from "./trouble.ts";
import { Violation } from "./violation.ts";

/** An error of the disk, as it came. */
const isErrno = (thrown: unknown): boolean =>
  thrown instanceof Error && "code" in thrown && typeof thrown.code === "string";

export class Life {
  readonly run: CrashRun;
  readonly manager: LogManager;
  readonly random: SeededRandom;
  readonly #pending = new Set<Promise<void>>();
  readonly #troubles: readonly Kind[];
  /** The manager is being closed: appends may be refused. */
  closing = false;
  /** The disk was full for a while. */
  wasFull = false;

  constructor(run: CrashRun, manager: LogManager) {
    this.run = run;
    this.manager = manager;
    this.random = run.random;
    this.#troubles = troublesOf(run, run.random);
  }

  /** Issues operations. Resolves early once the directory takes no more writes. */
  async work(operations: number): Promise<void> {
    for (const slot of this.run.slots) await this.#adopt(slot);
    for (let i = 0; i < operations && !this.stopped; i += 1) {
      const slot = this.random.pick(this.run.slots);
      await this.#operation(slot);
      for (const each of this.run.slots) this.check(each);
    }
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
    return retentionAllows(model, slot.configs, start, this.run.latestWallMs);
  }

  /** Takes up the partition of a slot, or makes one. */
  async #adopt(slot: Slot): Promise<void> {
    if (slot.model === undefined) {
      if (slot.lives === 0 || this.random.chance(0.7)) await this.create(slot);
      return;
    }
    slot.log = this.manager.get(slot.topicId, slot.partition);
    const { log } = slot;
    if (log?.state.kind === "online") await control.lead(this, slot, log, slot.model);
  }

  /** Makes a partition, the second life of one before it perhaps. */
  async create(slot: Slot): Promise<void> {
    slot.lives += 1;
    const model = new PartitionModel(`${slot.topic}-${slot.partition} (life ${slot.lives})`);
    slot.model = model;
    slot.configs = [slot.config];
    this.tell(model, `create ${JSON.stringify(slot.config)}`);
    const { topicId, topic, partition, config } = slot;
    try {
      const log = await this.manager.create(topicId, topic, partition, config);
      if (log.logEndOffset !== 0) {
        throw new Violation(`${model.name}: is made with ${log.logEndOffset} offsets in it`);
      }
      model.created = true;
      slot.log = log;
      await control.lead(this, slot, log, model);
    } catch (thrown) {
      this.judge(slot, model, "create", thrown);
    }
  }

  /**
   * A flush while appends arrive, and another once nothing does: the second finds only what the
   * first left over.
   */
  async #flushTwice(slot: Slot, log: PartitionLog, model: PartitionModel): Promise<void> {
    appendSomething(this, slot, log, model);
    await this.sleep(this.random.float() * 2);
    this.later(control.flush(this, slot, log, model));
    for (let i = this.random.below(4); i >= 0; i -= 1) {
      appendSomething(this, slot, log, model);
      await this.sleep(this.random.float());
    }
    await this.sleep(this.random.pick([3, 15]));
    if (slot.model === model) await control.flush(this, slot, log, model);
  }

  #read(reading: Promise<void>): void {
    this.later(this.within(15_000, "a read", reading));
  }

  async #operation(slot: Slot): Promise<void> {
    const { random } = this;
    const { log, model } = slot;
    if (this.#troubles.length > 0 && random.chance(0.06)) {
      causeTrouble(this, random.pick(this.#troubles));
    }
    if (model === undefined) {
      if (random.chance(0.3)) await this.create(slot);
      return;
    }
    if (log === undefined || model.deleting) return;
    if (log.state.kind === "offline") {
      if (random.chance(0.1)) await this.control(control.remove(this, slot, log, model));
      return;
    }
    const dice = random.below(100);
    if (dice < 48) appendSomething(this, slot, log, model);
    else if (dice < 56) await this.sleep(random.float() * random.pick([1, 1, 5, 60]));
    else if (dice < 60) await Promise.all([...this.#pending]);
    else if (dice < 68) control.raiseHighWatermark(this, log, model);
    else if (dice < 76) this.#read(readSomething(this, slot, log, model));
    else if (dice < 79) this.#read(timeSomething(this, slot, log, model));
    else if (dice < 81) await this.control(control.flush(this, slot, log, model));
    else if (dice < 82) await this.#flushTwice(slot, log, model);
    else if (dice < 86) await this.control(control.truncate(this, slot, log, model));
    else if (dice < 89) await this.control(control.deleteRecords(this, slot, log, model));
    else if (dice < 92) await this.control(control.lead(this, slot, log, model));
    else if (dice < 95) await this.control(control.retain(this, slot, log, model));
    else if (dice < 98) control.reconfigure(this, slot, log, model);
    else await this.control(control.remove(this, slot, log, model));
  }
}
