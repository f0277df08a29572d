/**
 * `Env`: everything that core code may use of its environment. The Node adapter
 * (`@millrace/env/node`) and the simulator (`@millrace/sim`) implement it; core code takes it as a
 * parameter and imports nothing from Node.
 */

/** Undoes a timer. Calling it after the timer fired does nothing. */
export type Cancel = () => void;

/** Time. */
export interface Clock {
  /**
   * Monotonic milliseconds (fraction allowed) from an arbitrary start; for durations and deadlines.
   */
  monoMs(): number;
  /**
   * Wall clock, whole milliseconds since the Unix epoch; for timestamps only, never for ordering.
   */
  wallMs(): number;
  /** Runs `fn` once after `ms`. An exception in `fn` is fatal to the process. */
  timer(ms: number, fn: () => void): Cancel;
  /** Resolves after `ms`; rejects with the signal's reason when aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Runs `fn` after the I/O events that are already queued (setImmediate). */
  defer(fn: () => void): void;
}

/** Randomness; seeded in the simulator. */
export interface Random {
  /** Uniform in [0, 1). */
  float(): number;
  /** Uniform whole number in [0, bound). */
  below(bound: number): number;
  /** `length` random bytes. */
  bytes(length: number): Uint8Array;
}

/**
 * What `DiskFile` and `Disk` operations fail with. `code` is the errno name: EIO, ENOSPC, ENOENT…
 */
export interface DiskError extends Error {
  readonly code: string;
}

/**
 * How `Disk.open` opens: an existing file to read, an existing file to read and write, the same
 * with every write durable when it resolves (O_DSYNC), or a new file (EEXIST when it is there).
 */
export type OpenMode = "read" | "write" | "writeDurably" | "create";

/**
 * An open file. Positions and sizes are bytes. Operations on one file may overlap; the caller
 * orders those that must not.
 */
export interface DiskFile {
  readonly path: string;
  /** By which other threads of the process know it, where there is such a number. */
  readonly descriptor?: number | undefined;
  /**
   * Reads up to `length` bytes at `position` into `target` at `targetOffset`; returns how many were
   * read, fewer only at the end of the file.
   */
  read(target: Uint8Array, targetOffset: number, length: number, position: number): Promise<number>;
  /**
   * Writes all chunks one after another at `position`, extending the file as needed. On failure any
   * prefix, and after a crash any part, may have been written. Not durable before `sync`, unless
   * the file was opened so; then a failure means what a failed `sync` means. The caller must not
   * touch the chunks until it resolves.
   */
  write(chunks: readonly Uint8Array[], position: number): Promise<void>;
  /**
   * fdatasync: everything written before the call is durable when it resolves, including the size.
   * After a failure nothing may be assumed of what was written, and a later success proves nothing
   * (fsyncgate).
   */
  sync(): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

/** A file system. Paths are `/`-separated and relative to the root that the adapter was given. */
export interface Disk {
  open(path: string, mode: OpenMode): Promise<DiskFile>;
  /** Replaces `to` when it exists. Durable only after `syncDirectory` of the parents. */
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** One level; ENOENT when the parent is missing, EEXIST when it is there. */
  makeDirectory(path: string): Promise<void>;
  /** Only empty directories. */
  removeDirectory(path: string): Promise<void>;
  /** Names of entries, in any order; ENOENT when missing. */
  list(path: string): Promise<string[]>;
  /** Size in bytes of a file, or undefined when nothing is there or it is a directory. */
  fileSize(path: string): Promise<number | undefined>;
  /** Makes creations, renames and unlinks in the directory durable. */
  syncDirectory(path: string): Promise<void>;
  /** Free and total bytes of the file system for this process. */
  space(): Promise<{ freeBytes: number; totalBytes: number }>;
}

/** Compression off the event loop. Implementations never block longer than a small batch takes. */
export interface Compressor {
  /** One gzip member, zstd frame or LZ4 frame. `level` absent means the codec's default. */
  compress(kind: CompressionName, bytes: Uint8Array, level?: number): Promise<Uint8Array>;
  /**
   * Throws `RangeError` when the result would exceed `maxBytes` (without ever holding more),
   * UNSUPPORTED_COMPRESSION when a frame needs more memory than is allowed, `Error` when the input
   * is damaged, incomplete or followed by more bytes.
   */
  decompress(kind: CompressionName, bytes: Uint8Array, maxBytes: number): Promise<Uint8Array>;
}

/** Compressions that change bytes. */
export type CompressionName = "gzip" | "zstd" | "lz4";

/**
 * Structured logging seam; implemented by `@millrace/observability`. No secrets, nothing per
 * record.
 */
export interface Logger {
  debug(fields: Readonly<Record<string, unknown>>, message: string): void;
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
  child(fields: Readonly<Record<string, unknown>>): Logger;
}

/** What core code tells the simulator about itself. */
export interface SimHooks {
  /** Marks a rare and interesting state as reached. A campaign of simulations reaches each mark. */
  sometimes(name: string): void;
  /** States a promise. A run in which it does not hold ends as failed. */
  always(holds: boolean, name: string): void;
  /**
   * True now and then, with the probability `chance` (default 0.25) in a quarter of the runs: take
   * the rare path, such as a tiny batch, a full queue or an early timeout.
   */
  buggify(name: string, chance?: number): boolean;
}

/** The environment of a process, or of a simulated node. */
export interface Env {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly compressor: Compressor;
  readonly logger: Logger;
  /**
   * The simulator. Absent in production, where `env.sim?.sometimes(…)` does nothing and evaluates
   * no argument.
   */
  readonly sim?: SimHooks;
}

/** A logger that drops everything. */
export const silentLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLogger,
};
