/**
 * Room on the disk. Appends are refused while free space is below the reserve, long before a write
 * fails. Should somebody else fill the disk meanwhile, a file kept for that moment is given up, so
 * that what is under way can be finished.
 */
import type { Env } from "@millrace/env";
import type { LogObserver } from "../api.ts";
import { isMissing, isPassing } from "./disk-errors.ts";
import { paths } from "./paths.ts";

const checkIntervalMs = 1000;
export const reserveFileBytesMax = 16 * 1024 * 1024;

export class DiskSpace {
  readonly #env: Env;
  readonly #reserveBytes: number;
  readonly #observer: LogObserver;
  readonly #onChange: (full: boolean) => void;
  /** As of the last look. */
  freeBytes: number | undefined;
  #full = false;
  /** Until `start` has looked, it may be there. */
  #hasFile = true;
  #cancel: () => void = () => {};
  #closed = false;

  constructor(
    env: Env,
    reserveBytes: number,
    observer: LogObserver,
    onChange: (full: boolean) => void,
  ) {
    this.#env = env;
    this.#reserveBytes = reserveBytes;
    this.#observer = observer;
    this.#onChange = onChange;
  }

  /** Looks now, and from now on once a second. */
  async start(): Promise<void> {
    this.#hasFile = (await this.#env.disk.fileSize(paths.reserve)) !== undefined;
    await this.#check();
    this.#again();
  }

  /** A write found no room. */
  async onFull(): Promise<void> {
    this.#set(true);
    if (!this.#hasFile) return;
    this.#hasFile = false;
    try {
      await this.#env.disk.unlink(paths.reserve);
    } catch (thrown) {
      // It is still there, and its room with it.
      this.#hasFile = !isMissing(thrown);
      this.#env.logger.warn(
        { path: paths.reserve, err: thrown },
        "the reserve file cannot be removed: the full disk gets no room from it",
      );
    }
  }

  close(): void {
    this.#closed = true;
    this.#cancel();
  }

  #again(): void {
    this.#cancel = this.#env.clock.timer(checkIntervalMs, () => {
      this.#check()
        .catch((thrown: unknown) => {
          this.#env.logger.warn({ err: thrown }, "free disk space cannot be read");
        })
        .finally(() => {
          if (!this.#closed) this.#again();
        });
    });
  }

  async #check(): Promise<void> {
    // Without a reserve, the next write tells whether there is room.
    if (this.#reserveBytes === 0) {
      this.#set(false);
      return;
    }
    const { freeBytes } = await this.#env.disk.space();
    this.freeBytes = freeBytes;
    // A little more than the reserve before it counts as room again, so that it does not flap.
    const boundBytes = this.#full ? this.#reserveBytes * 1.1 : this.#reserveBytes;
    this.#set(freeBytes < boundBytes);
    if (!this.#full && !this.#hasFile) await this.#makeFile();
  }

  #set(full: boolean): void {
    if (full === this.#full) return;
    this.#full = full;
    this.#observer.onDiskFull?.(full);
    this.#onChange(full);
    const { logger } = this.#env;
    if (full)
      logger.error({ reserve_bytes: this.#reserveBytes }, "the disk is full: writes are refused");
    else logger.info({}, "the disk has room again: writes are accepted");
  }

  async #makeFile(): Promise<void> {
    const { disk } = this.#env;
    const bytes = Math.min(reserveFileBytesMax, this.#reserveBytes);
    try {
      const file = await disk.open(paths.reserve, "create");
      this.#hasFile = true;
      const zeros = Buffer.alloc(Math.min(bytes, 1024 * 1024));
      try {
        for (let at = 0; at < bytes; at += zeros.length) await file.write([zeros], at);
      } finally {
        await file.close();
      }
    } catch (thrown) {
      // The next look tries again.
      if (!isPassing(thrown)) throw thrown;
    }
  }
}
