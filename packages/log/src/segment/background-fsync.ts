/**
 * Segments are fsynced in small steps in the background. If a checkpoint fsynced everything at
 * once, the journal and with it every acknowledgement would wait for the disk for a tenth of a
 * second. Nothing relies on these steps: a checkpoint fsyncs each segment itself.
 */
import type { Cancel, Clock } from "@millrace/env";
import type { MillraceError } from "@millrace/errors";
import { isPassing, storageError } from "../files/disk-errors.ts";
import type { FileCache } from "../files/file-cache.ts";
import type { Segment } from "./segment.ts";

/** Pause between steps, milliseconds: a few times what the last step took, so that a busy disk gets
 * fewer and larger steps. */
const pauseMsMin = 10;
const pauseMsMax = 100;
const pausePerStep = 4;

export class BackgroundFsync {
  readonly #clock: Clock;
  readonly #files: FileCache;
  readonly #stepBytes: number;
  readonly #onFailure: (error: MillraceError) => void;
  /** Bytes written since the last step. */
  readonly #unsynced = new Map<Segment, number>();
  #syncing: { readonly segment: Segment; readonly done: Promise<void> } | undefined;
  #cancelPause: Cancel | undefined;
  #closed = false;

  /**
   * A file is fsynced after about `stepBytes`. After `onFailure` nothing on the disk can be
   * trusted.
   */
  constructor(
    clock: Clock,
    files: FileCache,
    stepBytes: number,
    onFailure: (error: MillraceError) => void,
  ) {
    this.#clock = clock;
    this.#files = files;
    this.#stepBytes = stepBytes;
    this.#onFailure = onFailure;
  }

  /** `bytes` more were written to the segment's file. */
  wrote(segment: Segment, bytes: number): void {
    this.#unsynced.set(segment, (this.#unsynced.get(segment) ?? 0) + bytes);
    this.#next();
  }

  /** A checkpoint fsyncs the file. */
  skip(segment: Segment): void {
    this.#unsynced.delete(segment);
  }

  /** The segment goes away. Resolves once no step of it is under way. */
  async forget(segment: Segment): Promise<void> {
    this.#unsynced.delete(segment);
    if (this.#syncing?.segment === segment) await this.#syncing.done;
  }

  close(): void {
    this.#closed = true;
    this.#cancelPause?.();
    this.#unsynced.clear();
  }

  /** One at a time: the disk is the journal's first of all. */
  #next(): void {
    if (this.#syncing !== undefined || this.#cancelPause !== undefined || this.#closed) return;
    for (const [segment, bytes] of this.#unsynced) {
      if (bytes < this.#stepBytes) continue;
      this.#unsynced.delete(segment);
      const startedMs = this.#clock.monoMs();
      const done = this.#sync(segment).then(() => {
        this.#syncing = undefined;
        if (this.#closed) return;
        const wantedMs = pausePerStep * (this.#clock.monoMs() - startedMs);
        const pauseMs = Math.min(pauseMsMax, Math.max(pauseMsMin, wantedMs));
        this.#cancelPause = this.#clock.timer(pauseMs, () => {
          this.#cancelPause = undefined;
          this.#next();
        });
      });
      this.#syncing = { segment, done };
      return;
    }
  }

  /** Never rejects. */
  async #sync(segment: Segment): Promise<void> {
    try {
      await this.#files.with(segment, (file) => file.sync());
    } catch (thrown) {
      // Without descriptors nothing was fsynced, and nothing failed; a checkpoint does it later.
      if (this.#closed || isPassing(thrown)) return;
      this.close();
      this.#onFailure(storageError(`${segment.path} cannot be fsynced`, thrown));
    }
  }
}
