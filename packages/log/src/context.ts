/** What everything in one data directory shares. */
import type { Env } from "@millrace/env";
import type { DirectoryIdentity, LogManagerConfig, LogObserver } from "./api.ts";
import type { BeginPass } from "./compaction/pass.ts";
import type { DelayedTasks } from "./files/delayed-tasks.ts";
import type { FileCache } from "./files/file-cache.ts";
import type { Committer } from "./journal/commit-loop.ts";
import type { ProducerBudget } from "./partition/producer-budget.ts";
import type { RetentionClock } from "./partition/retention-clock.ts";
import type { TailCache } from "./partition/tail-cache.ts";
import type { IndexCache } from "./segment/index-cache.ts";
import type { SegmentWriter } from "./segment/writer.ts";

export interface LogContext {
  readonly env: Env;
  readonly config: LogManagerConfig;
  readonly identity: DirectoryIdentity;
  readonly directoryId: Uint8Array;
  readonly observer: LogObserver;
  readonly files: FileCache;
  readonly indexes: IndexCache;
  readonly tails: TailCache;
  readonly producers: ProducerBudget;
  readonly committer: Committer;
  readonly writes: SegmentWriter;
  readonly delayed: DelayedTasks;
  readonly retentionClock: RetentionClock;
  readonly beginCleaning: BeginPass | undefined;
  /** True while free space is below the reserve: appends are refused. */
  diskFull: boolean;
  /** The directory is being closed: nothing changes any more. */
  closing: boolean;
}

/** What changes of segment files need. */
export type SegmentContext = Pick<
  LogContext,
  "delayed" | "env" | "files" | "indexes" | "observer" | "writes"
>;
