/** Which segments retention lets go. Oldest first, and none after the first that stays. */
import type { Logger } from "@millrace/env";
import type { LogConfig } from "../api.ts";
import type { LogContext } from "../context.ts";
import type { Segment } from "../segment/segment.ts";

/** What the rules look at. */
export interface Retained {
  readonly config: LogConfig;
  readonly logStartOffset: number;
  readonly highWatermark: number;
  readonly sizeBytes: number;
  readonly segments: readonly Segment[];
}

/** What retention would do. */
export interface RetentionPlan {
  /** The log start that the rules ask for. */
  readonly startOffset: number;
  /** The active segment goes, too, and a new one must be begun. */
  readonly roll: boolean;
  /** Bytes that go by age. */
  readonly oldBytes: number;
}

/**
 * A segment goes only when all of it is below the high watermark: by age when its newest record is
 * too old, by size while the rest is at least as large as allowed. `ageTimeOf` gives the time that
 * age counts from. Without `nowMs` the clock is in doubt, and nothing goes by age.
 */
export const planRetention = async (
  log: Retained,
  ageTimeOf: (segment: Segment, nowMs: number) => Promise<number>,
  nowMs: number | undefined,
): Promise<RetentionPlan> => {
  const { retentionEnabled, retentionMs, retentionBytes } = log.config;
  let startOffset = log.logStartOffset;
  let oldBytes = 0;
  if (!retentionEnabled) return { startOffset, roll: false, oldBytes };
  let restBytes = log.sizeBytes;
  const active = log.segments.at(-1);
  for (const segment of [...log.segments]) {
    const { endOffset } = segment;
    if (endOffset > log.highWatermark || segment.sizeBytes === 0) break;
    restBytes -= segment.sizeBytes;
    const tooMuch = retentionBytes >= 0 && restBytes >= retentionBytes && segment !== active;
    const old =
      !tooMuch &&
      retentionMs >= 0 &&
      nowMs !== undefined &&
      nowMs - (await ageTimeOf(segment, nowMs)) > retentionMs;
    // Records that were appended meanwhile are new.
    if ((!old && !tooMuch) || segment.endOffset !== endOffset) break;
    if (old) oldBytes += segment.sizeBytes;
    startOffset = endOffset;
    if (segment === active) return { startOffset, roll: true, oldBytes };
  }
  return { startOffset, roll: false, oldBytes };
};

/** Whether retention lets more go than before. Below 0 is no bound. */
export const keepsLess = (config: LogConfig, before: LogConfig): boolean => {
  const lower = (bound: number, was: number): boolean => bound >= 0 && (was < 0 || bound < was);
  if (!config.retentionEnabled) return false;
  return (
    !before.retentionEnabled ||
    lower(config.retentionMs, before.retentionMs) ||
    lower(config.retentionBytes, before.retentionBytes)
  );
};

/** Part of a log that may go by age without a word. */
const usualPart = 0.5;

/** Announces what would go by age, one round of retention before, where it is an unusual amount. */
export class RetentionAnnouncements {
  /** Retention's settings were changed: the next round may delete any amount. */
  #asked = false;
  /** Log start that the last round announced, and did not move to. */
  #announcedStart: number | undefined;

  /** Somebody changed the settings, and expects something to go. */
  asked(): void {
    this.#asked = true;
  }

  /** The log that something was announced of is gone. */
  beginAnew(): void {
    this.#announcedStart = undefined;
  }

  /**
   * The log start that the plan may move to now. What lies behind it is announced, and waits for
   * the next round: a log that grows has always more to go than was announced.
   */
  startFor(plan: RetentionPlan, log: Pick<Retained, "logStartOffset" | "sizeBytes">): number {
    const asked = this.#asked;
    const announced = this.#announcedStart ?? log.logStartOffset;
    this.#asked = false;
    this.#announcedStart = undefined;
    const usual = plan.oldBytes <= log.sizeBytes * usualPart;
    if (usual || asked || plan.startOffset <= announced) return plan.startOffset;
    this.#announcedStart = plan.startOffset;
    return announced;
  }
}

/** Says what would go, so that somebody can keep it. */
const announce = (
  logger: Logger,
  log: RetainedLog,
  { startOffset, oldBytes }: RetentionPlan,
): void => {
  logger.warn(
    {
      topic: log.topic,
      partition: log.partition,
      from_offset: log.logStartOffset,
      to_offset: startOffset,
      bytes: oldBytes,
      retention_ms: log.config.retentionMs,
    },
    "more than half of a partition is too old: the next check of retention deletes it",
  );
};

/** What the rules are asked about, by name. */
interface RetainedLog extends Retained {
  readonly topic: string;
  readonly partition: number;
  readonly active: Segment;
  readonly producers: { expire(beforeMs: number, monoMs: number): void };
  readonly reader: SegmentAges;
}

/** Tells how old segments are. */
interface SegmentAges {
  ageTimeOf(segment: Segment, nowMs: number): Promise<number>;
  findFirstAppend(segment: Segment): Promise<void>;
}

/** What retention does to a log. */
interface RetentionChanges {
  isActiveOld(): boolean;
  roll(): void;
  moveLogStart(offset: number): Promise<void>;
}

/** One round of retention; what lies below the log start is still to be dropped. */
export const retain = async (
  { env, retentionClock }: Pick<LogContext, "env" | "retentionClock">,
  log: RetainedLog,
  announcements: RetentionAnnouncements,
  { isActiveOld, roll, moveLogStart }: RetentionChanges,
): Promise<void> => {
  const { config, producers, reader } = log;
  await reader.findFirstAppend(log.active);
  if (isActiveOld()) roll();
  const nowMs = retentionClock.read();
  if (nowMs !== undefined) producers.expire(nowMs - config.producerExpiryMs, env.clock.monoMs());
  const next = await nextRetention(env.logger, log, announcements, nowMs);
  if (next === undefined) return;
  // Nothing was appended to the active segment meanwhile: it is all too old.
  if (next.roll && log.active.endOffset === next.startOffset) roll();
  if (next.startOffset > log.logStartOffset) await moveLogStart(next.startOffset);
};

/**
 * What a round of retention moves the log start to, with the plan's `roll`. Undefined when the
 * settings were changed meanwhile: somebody may have asked to keep it, and the next round plans
 * anew.
 */
const nextRetention = async (
  logger: Logger,
  log: RetainedLog,
  announcements: RetentionAnnouncements,
  nowMs: number | undefined,
): Promise<Pick<RetentionPlan, "roll" | "startOffset"> | undefined> => {
  const { config } = log;
  const plan = await planRetention(
    log,
    (segment, now) => log.reader.ageTimeOf(segment, now),
    nowMs,
  );
  if (log.config !== config) return undefined;
  const startOffset = announcements.startFor(plan, log);
  if (startOffset < plan.startOffset) announce(logger, log, plan);
  return { roll: plan.roll, startOffset };
};
