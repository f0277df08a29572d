/**
 * Runs one shard on its log: commands change the memory at once, their records are appended in
 * order, as many at a time as have gathered, and nobody is told anything before its records are
 * committed.
 *
 * Each append states the end offset that it expects. When another coordinator has appended, or the
 * outcome of an append is unknown, nothing of the shard counts any more: everything that waits
 * fails, and the shard is loaded again.
 */
import type { Clock } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { Target } from "../group/assignments.ts";
import { Changes, type Now, type Push } from "../group/types.ts";
import { type GroupMetrics, noMetrics } from "../metrics.ts";
import { barrier, type EncodedRecord, encodeRecord } from "../shard/records.ts";
import type { Outcome, Shard, TargetRequest } from "../shard/shard.ts";
import type { ShardLog } from "./shard-log.ts";

/** What a runner needs of its surroundings. */
export interface RunnerSetup {
  readonly clock: Pick<Clock, "monoMs" | "wallMs" | "timer" | "defer">;
  readonly log: ShardLog;
  /** A shard that knows nothing yet. */
  readonly empty: () => Shard;
  /** Decodes and replays a record of the log. */
  readonly replay: (shard: Shard, record: EncodedRecord) => void;
  /** Makes a target assignment, in as many turns of the event loop as it takes. */
  readonly assign: (request: TargetRequest) => Promise<Target>;
  /** Tells a member, once it is committed. */
  readonly push: (push: Push) => void;
  /** The shard cannot go on, and tells nobody anything any more. */
  readonly failed: (error: MillraceError) => void;
  readonly limits: RunnerLimits;
  readonly metrics?: GroupMetrics;
}

export interface RunnerLimits {
  /** Record bytes of commands that wait for an append; more commands are refused. */
  readonly queueBytesMax: number;
  /** Record bytes of one append, unless one record alone has more. */
  readonly appendBytesMax: number;
  /** How often members are looked at that may have to be expelled. */
  readonly tickMs: number;
  /** Groups that are looked at then, whose offsets may have to be forgotten. */
  readonly expiredPerTick: number;
}

/** Rest after targets, as a multiple of the time that they took, and at most, milliseconds. */
const restPart = 10;
const restMsMax = 1000;

/** Someone who is told what became of a command. */
interface Waiting {
  /** Records of the runner that must be committed before. */
  readonly upTo: number;
  readonly pushes: readonly Push[];
  readonly done: () => void;
  readonly fail: (error: MillraceError) => void;
}

const notLoaded = (): MillraceError =>
  MillraceError.refusal(
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    "the coordinator is reading what is known of the group: try again",
  );

const stopped = (): MillraceError =>
  MillraceError.refusal(
    ErrorCode.NOT_COORDINATOR,
    "this coordinator does not serve the group any more: ask again where it is",
  );

export class ShardRunner {
  readonly #setup: RunnerSetup;
  readonly #metrics: GroupMetrics;
  readonly #abort = new AbortController();
  readonly #cancels: (() => void)[] = [];
  #shard: Shard | undefined;
  #error: MillraceError | undefined;
  #endOffset = 0;
  /** Records that are to be appended, and their bytes. */
  #records: EncodedRecord[] = [];
  #bytes = 0;
  /** Records so far: all, and those that are committed. */
  #queued = 0;
  #committed = 0;
  #waiting: Waiting[] = [];
  #appending = false;
  #targeting = false;
  /** No target is made before: groups that change all the time leave time for everything else. */
  #restUntilMs = 0;

  constructor(setup: RunnerSetup) {
    this.#setup = setup;
    this.#metrics = setup.metrics ?? noMetrics;
  }

  /** The shard as it would be if everything were committed; undefined before it is loaded. */
  get shard(): Shard | undefined {
    return this.#error === undefined ? this.#shard : undefined;
  }

  get now(): Now {
    const { clock } = this.#setup;
    return { monoMs: clock.monoMs(), wallMs: clock.wallMs() };
  }

  /** Bytes of records that wait for an append. */
  get queuedBytes(): number {
    return this.#bytes;
  }

  /** Loads the shard. Rejects when the log cannot be read; `failed` is not called then. */
  async start(): Promise<void> {
    const { clock, empty, limits, log, replay } = this.#setup;
    const shard = empty();
    this.#endOffset = await log.load((record) => replay(shard, record), this.#abort.signal);
    if (this.#error !== undefined) throw this.#error;
    shard.loaded(this.now);
    this.#shard = shard;
    this.#every(limits.tickMs, () => shard.tick(this.now));
    this.#every(limits.tickMs, () => shard.expire(this.now, limits.expiredPerTick));
    clock.defer(() => this.#targetSoon());
  }

  /** Nothing is done any more; whoever waits is told NOT_COORDINATOR. */
  stop(): void {
    this.#end(stopped());
  }

  /**
   * Runs a command. Resolves once what it changed is committed, in the order of the commands;
   * rejects with its refusal, which changes nothing.
   */
  async run<Answer>(command: (shard: Shard, now: Now) => Outcome<Answer>): Promise<Answer> {
    const shard = this.#usable();
    const { changes, answer } = command(shard, this.now);
    return new Promise((resolve, reject) => {
      this.#take(changes, () => resolve(answer), reject);
    });
  }

  /** Answers from the memory, once that is committed. Another may serve the shard by now. */
  read<Answer>(question: (shard: Shard) => Answer): Promise<Answer> {
    return this.run((shard) => ({ changes: new Changes(), answer: question(shard) }));
  }

  /** As `read`, and nobody else had appended to the log by the time of the call. */
  async readLatest<Answer>(question: (shard: Shard) => Answer): Promise<Answer> {
    const shard = this.#usable();
    // What waits for an append proves the same.
    if (this.#records.length === 0) {
      this.#records.push(barrier);
      this.#queued += 1;
    }
    const answer = question(shard);
    return new Promise((resolve, reject) => {
      this.#take(new Changes(), () => resolve(answer), reject);
    });
  }

  /** Changes the memory alone: what no record needs to say. Throws as `run` rejects. */
  note(change: (shard: Shard, now: Now) => void): void {
    const shard = this.shard;
    if (shard !== undefined) change(shard, this.now);
  }

  /** Runs what happens by itself, such as a change of the metadata. */
  apply(change: (shard: Shard, now: Now) => Changes): void {
    const shard = this.shard;
    if (shard !== undefined)
      this.#take(
        change(shard, this.now),
        () => {},
        () => {},
      );
  }

  #usable(): Shard {
    if (this.#error !== undefined) throw this.#error;
    if (this.#shard === undefined) throw notLoaded();
    const { queueBytesMax } = this.#setup.limits;
    if (this.#bytes > queueBytesMax) {
      const message = `${this.#bytes} bytes wait to be written: try again in a moment`;
      throw MillraceError.refusal(ErrorCode.ADMISSION_REJECTED, message);
    }
    return this.#shard;
  }

  #take(changes: Changes, done: () => void, fail: (error: MillraceError) => void): void {
    if (changes.expelled > 0) this.#metrics.onExpelled(changes.expelled);
    let offsets = 0;
    for (const record of changes.records) {
      if (record.kind === "offset" && record.value !== undefined) offsets += 1;
      const encoded = encodeRecord(record);
      this.#records.push(encoded);
      this.#bytes += bytesOf(encoded);
    }
    this.#queued += changes.records.length;
    const committed = (): void => {
      if (offsets > 0) this.#metrics.onCommits(offsets);
      done();
    };
    this.#waiting.push({ upTo: this.#queued, pushes: changes.pushes, done: committed, fail });
    this.#targetSoon();
    if (this.#queued === this.#committed) this.#tellCommitted();
    else if (!this.#appending) void this.#appendAll();
  }

  async #appendAll(): Promise<void> {
    this.#appending = true;
    try {
      while (this.#records.length > 0 && this.#error === undefined) {
        const batch = this.#nextBatch();
        const fromMs = this.#setup.clock.monoMs();
        await this.#setup.log.append(batch, this.#endOffset, this.#abort.signal);
        this.#metrics.onAppend(batch.length, this.#setup.clock.monoMs() - fromMs);
        this.#endOffset += batch.length;
        this.#committed += batch.length;
        if (this.#error === undefined) this.#tellCommitted();
      }
    } catch (thrown) {
      this.#fail(MillraceError.from(thrown));
    }
    this.#appending = false;
  }

  #nextBatch(): EncodedRecord[] {
    let bytes = 0;
    let count = 0;
    for (const record of this.#records) {
      bytes += bytesOf(record);
      if (count > 0 && bytes > this.#setup.limits.appendBytesMax) break;
      count += 1;
    }
    const batch = this.#records.splice(0, count);
    for (const record of batch) this.#bytes -= bytesOf(record);
    return batch;
  }

  #tellCommitted(): void {
    let count = 0;
    for (const { upTo } of this.#waiting) {
      if (upTo > this.#committed) break;
      count += 1;
    }
    for (const { done, pushes } of this.#waiting.splice(0, count)) {
      for (const push of pushes) this.#setup.push(push);
      done();
    }
  }

  #every(ms: number, change: () => Changes): void {
    const { clock } = this.#setup;
    let cancel = (): void => {};
    const next = (): void => {
      cancel = clock.timer(ms, () => {
        if (this.shard === undefined) return;
        this.apply(change);
        next();
      });
    };
    next();
    this.#cancels.push(() => cancel());
  }

  #targetSoon(): void {
    const { clock } = this.#setup;
    if (this.#targeting) return;
    this.#targeting = true;
    const restMs = this.#restUntilMs - clock.monoMs();
    const next = (): void => {
      this.#targetAll().catch((thrown: unknown) => this.#fail(MillraceError.from(thrown)));
    };
    // Also without a rest after what is happening now: members that join together share a target.
    if (restMs <= 0) clock.defer(next);
    else this.#cancels.push(clock.timer(restMs, next));
  }

  /** Makes the targets that are due, one after another. */
  async #targetAll(): Promise<void> {
    const { assign, clock } = this.#setup;
    const fromMs = clock.monoMs();
    for (let request = this.shard?.nextTarget(); request !== undefined; ) {
      const of = request;
      const target = await assign(of);
      this.apply((shard, now) => shard.takeTarget(of, target, now));
      this.#metrics.onTarget();
      request = this.shard?.nextTarget();
    }
    const endMs = clock.monoMs();
    this.#restUntilMs = endMs + Math.min(restMsMax, restPart * (endMs - fromMs));
    this.#targeting = false;
    // What changed while the last one was being made.
    if (this.shard?.targetIsDue === true) this.#targetSoon();
  }

  #fail(error: MillraceError): void {
    if (this.#error !== undefined) return;
    this.#end(stopped());
    this.#setup.failed(error);
  }

  #end(error: MillraceError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#abort.abort(error);
    for (const cancel of this.#cancels) cancel();
    for (const { fail } of this.#waiting.splice(0)) fail(error);
    this.#records = [];
    this.#bytes = 0;
  }
}

const bytesOf = ({ key, value }: EncodedRecord): number => key.length + (value?.length ?? 0);
