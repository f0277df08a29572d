/** What must hold of a damaged directory, whatever the damage. */
import type { Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { type LogManager, type PartitionLog, verifyDirectory } from "@millrace/log";
import { bodyCrcMatches, decodeRecords, parseBody, readStored } from "@millrace/record";
import { syncCompressor } from "@millrace/record/node";
import { Incarnation, Kernel, SeededRandom, SimDisk } from "@millrace/sim";
import type { Damaged } from "./damage.ts";
import { append, type Directory, openOn, places } from "./workload.ts";

/** Something that must never happen. */
export class Broken extends Error {
  override readonly name = "Broken";
}

/** Disk operations of one input; more is a loop. */
const stepsMax = 50_000;

/**
 * What is wrong with an error, or undefined when it may be thrown: typed, and of the disk or of the
 * data, not of a bug that was wrapped.
 */
export const misdeed = (thrown: unknown): string | undefined => {
  for (let error = thrown; error !== undefined; ) {
    if (error instanceof MillraceError && error.code !== ErrorCode.INTERNAL) error = error.cause;
    else if (error instanceof Error && "code" in error && typeof error.code === "string")
      return undefined;
    else return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  return undefined;
};

const typed = (doing: string, thrown: unknown): MillraceError => {
  if (thrown instanceof Broken) throw thrown;
  const wrong = misdeed(thrown);
  if (wrong === undefined && thrown instanceof MillraceError) return thrown;
  throw new Broken(`${doing} throws what is not typed: ${wrong ?? String(thrown)}`);
};

/** A partition as one opening found it. */
interface Seen {
  /** `offline`, or `online START-END`. */
  readonly state: string;
  /** What reading from the start to the end gave: values, and the refusal that ended it. */
  readonly values: readonly string[];
  readonly refusal: string | undefined;
}

const tell = (seen: Seen | undefined): string =>
  `${seen?.state}, ${seen?.values.length} values, refusal ${seen?.refusal}`;

/** Whether two openings in a row found the same. */
const alike = (before: Seen, after: Seen): boolean => {
  // Recovery met the damage when it built an index; that one is there now, and only a read meets
  // it.
  if (before.state === "offline" && after.refusal === "PARTITION_OFFLINE") return true;
  if (before.state !== after.state || before.refusal !== after.refusal) return false;
  // Where there is damage, how soon a read meets it depends on how much of the index had to be
  // built again.
  const lengths = [before, after].map(({ values }) => values.length);
  const common = before.refusal === undefined ? Math.max(...lengths) : Math.min(...lengths);
  return before.values.slice(0, common).join() === after.values.slice(0, common).join();
};

type Sight = ReadonlyMap<string, Seen> | MillraceError;

/** Background work must fail in words, too. */
class WatchedLogger implements Logger {
  wrong: string | undefined;

  debug(): void {}
  info(): void {}
  warn(fields: Readonly<Record<string, unknown>>): void {
    this.#look(fields);
  }
  error(fields: Readonly<Record<string, unknown>>): void {
    this.#look(fields);
  }
  child(): Logger {
    return this;
  }

  #look({ err }: Readonly<Record<string, unknown>>): void {
    if (err !== undefined) this.wrong ??= misdeed(err);
  }
}

export interface Expectation {
  readonly directory: Directory;
  readonly damaged: Damaged;
  /** Values that any directory of the family ever had at an offset. */
  readonly anywhere: ReadonlyMap<number, ReadonlySet<string>>;
}

/** One damaged directory under the engine. */
export class DirectoryCheck {
  readonly #expected: Expectation;
  readonly #kernel: Kernel;
  readonly #disk: SimDisk;
  readonly #dice: SeededRandom;
  readonly #logger = new WatchedLogger();
  readonly #appended = new Map<string, Map<number, string>>();
  /** The same for every opening: what reads meet may depend on them. */
  readonly #timestampMs: number;
  readonly #readBytes: number;
  #process: Incarnation;

  constructor(expected: Expectation, seed: number) {
    this.#expected = expected;
    this.#kernel = new Kernel(seed);
    this.#dice = new SeededRandom(seed ^ 0x3c6ef372);
    this.#disk = SimDisk.of(expected.damaged.image, this.#kernel.random);
    this.#process = new Incarnation(this.#kernel);
    this.#timestampMs = 1_000 + this.#dice.below(30);
    this.#readBytes = this.#dice.pick([1, 300, 5_000]);
  }

  /** Throws Broken. Returns true when the directory could be opened. */
  async run(): Promise<boolean> {
    await this.#verify();
    const first = await this.#open();
    await this.#stop(first.manager);
    const second = await this.#open();
    this.#same(first.sight, second.sight);
    if (second.manager === undefined) return false;
    if (this.#dice.chance(0.3)) {
      await this.#use(second.manager);
      const third = await this.#open();
      await this.#stop(third.manager);
    }
    await this.#verify();
    if (this.#logger.wrong !== undefined)
      throw new Broken(`background work fails: ${this.#logger.wrong}`);
    return true;
  }

  async #verify(): Promise<void> {
    const disk = this.#disk.mount(new Incarnation(this.#kernel));
    try {
      await this.#wait(verifyDirectory(disk, syncCompressor));
    } catch (thrown) {
      throw new Broken(`verify throws ${misdeed(thrown) ?? String(thrown)}`);
    }
  }

  /** Virtual time is bounded: what waits for ever is found. */
  async #wait<T>(work: Promise<T>): Promise<T> {
    const result = await this.#kernel.run(work, 120_000);
    if (this.#disk.steps > stepsMax) throw new Broken(`takes ${this.#disk.steps} disk operations`);
    return result;
  }

  async #open(): Promise<{ manager: LogManager | undefined; sight: Sight }> {
    this.#process = new Incarnation(this.#kernel);
    let manager: LogManager;
    try {
      manager = await this.#wait(
        openOn(this.#disk, this.#process, new SeededRandom(1), this.#logger),
      );
    } catch (thrown) {
      return { manager: undefined, sight: typed("opening", thrown) };
    }
    return { manager, sight: await this.#wait(this.#look(manager)) };
  }

  /** Not cleanly: what was found must be found again. */
  async #stop(manager: LogManager | undefined): Promise<void> {
    if (manager !== undefined && this.#dice.chance(0.5)) await this.#wait(manager.close(false));
    this.#process.kill();
    this.#disk.crash(this.#dice.chance(0.5) ? "power" : "process");
  }

  async #look(manager: LogManager): Promise<ReadonlyMap<string, Seen>> {
    const seen = new Map<string, Seen>();
    for (const { topicId, partition, key } of places) {
      const log = manager.get(topicId, partition);
      if (log === undefined) {
        // A sealed side file may say that it was deleted.
        if (this.#expected.damaged.sealed) continue;
        throw new Broken(`${key} is gone`);
      }
      seen.set(key, await this.#lookAt(log, key));
    }
    return seen;
  }

  async #lookAt(log: PartitionLog, key: string): Promise<Seen> {
    const { logStartOffset: start, logEndOffset: end, highWatermark } = log;
    if (log.state.kind !== "online") {
      if (log.state.reason === "") throw new Broken(`${key} is ${log.state.kind} without a reason`);
      return { state: log.state.kind, values: [], refusal: undefined };
    }
    if (!(start >= 0 && start <= highWatermark && highWatermark <= end))
      throw new Broken(`${key}: start ${start}, high watermark ${highWatermark}, end ${end}`);
    const values: string[] = [];
    let refusal: string | undefined;
    try {
      await this.#read(log, key, values);
      await log.offsetForTimestamp(this.#timestampMs);
      await log.maxTimestamp();
      log.endOffsetForEpoch(3);
    } catch (thrown) {
      refusal = typed(`reading ${key}`, thrown).codeName;
    }
    if (refusal === undefined) this.#checkPromise(key, start, end);
    return { state: `online ${start}-${end}`, values, refusal };
  }

  /**
   * Everything from the start to the end: right CRCs, one offset after the other, values that were
   * written there.
   */
  async #read(log: PartitionLog, key: string, values: string[]): Promise<void> {
    for (let offset = log.logStartOffset; offset < log.logEndOffset; ) {
      const result = await log.read(offset, this.#readBytes, "log_end");
      const bytes = Buffer.concat(result.chunks);
      if (bytes.length === 0)
        throw new Broken(`${key}: nothing to read at ${offset} before ${log.logEndOffset}`);
      let next = -1;
      for (let at = 0; at < bytes.length; ) {
        const batch = readStored(bytes, at);
        if ("fault" in batch || !bodyCrcMatches(bytes, batch))
          throw new Broken(`${key}: damaged bytes are served at ${offset}`);
        const info = parseBody(bytes.subarray(batch.bodyStart, batch.bodyEnd));
        const follows = next < 0 ? batch.baseOffset <= offset : batch.baseOffset === next;
        if (!follows) throw new Broken(`${key}: batch ${batch.baseOffset} follows ${next}`);
        next = batch.baseOffset + info.lastOffsetDelta + 1;
        for (const record of decodeRecords(info.records, info.baseTimestampMs)) {
          const value = Buffer.from(record.value ?? []).toString();
          this.#checkValue(key, batch.baseOffset + record.offsetDelta, value);
          values.push(value);
        }
        at = batch.bodyEnd;
      }
      if (next !== result.nextOffset || next <= offset)
        throw new Broken(`${key}: the read at ${offset} goes on at ${result.nextOffset}`);
      offset = next;
    }
  }

  #checkValue(key: string, offset: number, value: string): void {
    const { directory, damaged, anywhere } = this.#expected;
    const written = damaged.foreign ? anywhere : directory.truths.get(key)?.written;
    if (written?.get(offset)?.has(value)) return;
    if (this.#appended.get(key)?.get(offset) === value) return;
    throw new Broken(`${key}: ${value.slice(0, 30)} was never written at ${offset}`);
  }

  /** One damaged file never takes an acknowledged record silently. */
  #checkPromise(key: string, start: number, end: number): void {
    const { directory, damaged } = this.#expected;
    const truth = directory.truths.get(key);
    const journal = [...damaged.paths].some((path) => path.startsWith("journal/"));
    // The journal alone may hold the newest records then, and its last round may always be a torn
    // one.
    const { stop } = directory;
    if (journal && (stop === "power cut" || stop === "killed at once")) return;
    if (damaged.paths.size > 1 || damaged.foreign || damaged.sealed || truth === undefined) return;
    if (this.#appended.size > 0) return;
    if (end !== truth.end) throw new Broken(`${key}: ends at ${end}, acknowledged to ${truth.end}`);
    if (!journal && start !== truth.logStart)
      throw new Broken(`${key}: starts at ${start}, it was moved to ${truth.logStart}`);
  }

  #same(first: Sight, second: Sight): void {
    if (first instanceof MillraceError || second instanceof MillraceError) {
      const name = (sight: Sight): string =>
        sight instanceof MillraceError ? `${sight.codeName} ${sight.message}` : "success";
      if (name(first) === name(second)) return;
      throw new Broken(`opening again ends with ${name(second)}, not ${name(first)}`);
    }
    for (const [key, before] of first) {
      const after = second.get(key);
      // Damage that was met while reading is known to the next start.
      if (before.refusal === "PARTITION_OFFLINE" && after?.state === "offline") continue;
      // What belongs somewhere else and is whole in itself may be found out late.
      const foundOut = after?.refusal === "PARTITION_OFFLINE" || after?.state === "offline";
      if (this.#expected.damaged.foreign && foundOut) continue;
      if (after === undefined || !alike(before, after))
        throw new Broken(`${key}: first ${tell(before)}, then ${tell(after)}`);
    }
  }

  /** Goes on working in it, and stops it cleanly. */
  async #use(manager: LogManager): Promise<void> {
    for (const log of manager.partitions()) {
      const key = `${log.topicId}#${log.partition}`;
      try {
        await this.#wait(log.becomeLeader(log.leaderEpoch + 1));
        const value = `after ${log.logEndOffset}`;
        const offset = await this.#wait(append(log, [value]));
        this.#appended.set(key, new Map([[offset, value]]));
      } catch (thrown) {
        typed(`appending to ${key}`, thrown);
      }
    }
    try {
      await this.#wait(manager.close(true));
    } catch (thrown) {
      typed("stopping", thrown);
    }
    this.#process.kill();
  }
}
