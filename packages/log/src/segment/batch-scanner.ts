/** Walking stored batches in a segment file. */
import type { DiskFile } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import type { BodyInfo, StoredBatch } from "@millrace/record";
import { bodyCrcMatches, parseBody, readStored, STORED_PREFIX_BYTES_MAX } from "@millrace/record";
import { Pace, type Pauses } from "../files/breathe.ts";
import { ReadAhead } from "./read-ahead.ts";

/** Batches looked at in one turn of the event loop; about a millisecond. */
const batchesPerTurn = 256;
const readAheadBytesMax = 1024 * 1024;

/** A batch found whole and right, both CRCs checked. */
export interface ScannedBatch {
  readonly header: StoredBatch;
  readonly info: BodyInfo;
  /** Position in the file. */
  readonly position: number;
  readonly bytes: number;
  readonly lastOffset: number;
}

/** Why the walk stands still. */
export type ScanStop = { readonly end: true } | { readonly end: false; readonly reason: string };

/**
 * Reads batches one after another from a position. One buffer, read ahead: 17,000 small batches may
 * be in it, so it also pauses between reads.
 */
export class BatchScanner {
  readonly #file: Pick<DiskFile, "read">;
  readonly #endPosition: number;
  readonly #readAheadBytes: number;
  readonly #pace: Pace;
  #ahead: ReadAhead | undefined;
  #buffer: Buffer = noBytes;
  /** Position in the file of the buffer's first byte. */
  #bufferPosition: number;
  #position: number;
  bytesRead = 0;

  /**
   * Walks from `position` (a batch's first byte) up to `endPosition`. One read takes
   * `readAheadBytes`, unless a batch has more.
   */
  constructor(
    clock: Pauses,
    file: Pick<DiskFile, "read">,
    position: number,
    endPosition: number,
    readAheadBytes = readAheadBytesMax,
  ) {
    this.#file = file;
    this.#position = position;
    this.#bufferPosition = position;
    this.#endPosition = endPosition;
    this.#readAheadBytes = readAheadBytes;
    this.#pace = new Pace(clock, batchesPerTurn);
  }

  get position(): number {
    return this.#position;
  }

  /**
   * Reads the next part of the file while this one is looked at: for walks over whole files. What
   * `peek` and `stored` return is a view that ends with the next `peek`. `close` ends it.
   */
  readAhead(): void {
    this.#ahead = new ReadAhead(this.#file, this.#endPosition, this.#readAheadBytes);
  }

  /** No read is under way any more. */
  async close(): Promise<void> {
    await this.#ahead?.close();
  }

  /** The next batch, without moving past it. */
  async peek(): Promise<ScannedBatch | ScanStop> {
    if (this.#pace.due) await this.#pace.pause();
    if (this.#position >= this.#endPosition) return { end: true };
    let want = STORED_PREFIX_BYTES_MAX;
    for (;;) {
      const more = await this.#fill(want);
      const start = this.#position - this.#bufferPosition;
      const found = readStored(this.#buffer, start);
      if ("fault" in found) {
        if (found.fault === "damaged") return { end: false, reason: found.reason };
        const haveBytes = this.#buffer.length - start;
        const allBytes = this.#endPosition - this.#position;
        // A truncation may have cut the file under the scan.
        if (!more || haveBytes >= allBytes || found.needBytes > allBytes) {
          return { end: false, reason: "the file ends inside a batch" };
        }
        want = Math.max(found.needBytes, haveBytes + 1);
        continue;
      }
      return this.#check(found);
    }
  }

  /** The bytes of a batch that `peek` just returned, as they are stored. A view. */
  stored({ header }: ScannedBatch): Buffer {
    return this.#buffer.subarray(header.start, header.bodyEnd);
  }

  /** Moves past a batch that `peek` returned. */
  skip(batch: ScannedBatch): void {
    this.#position = batch.position + batch.bytes;
    this.#pace.took();
  }

  #check(found: StoredBatch): ScannedBatch | ScanStop {
    if (!bodyCrcMatches(this.#buffer, found)) return { end: false, reason: "body CRC is wrong" };
    try {
      const info = parseBody(this.#buffer.subarray(found.bodyStart, found.bodyEnd));
      return {
        header: found,
        info,
        position: this.#position,
        bytes: found.bodyEnd - found.start,
        lastOffset: found.baseOffset + info.lastOffsetDelta,
      };
    } catch (thrown) {
      return { end: false, reason: MillraceError.from(thrown).message };
    }
  }

  /**
   * Makes at least `bytes` from the position on available, or all there are. False when the file
   * had nothing more.
   */
  async #fill(bytes: number): Promise<boolean> {
    const start = this.#position - this.#bufferPosition;
    const have = this.#buffer.length - start;
    const left = this.#endPosition - this.#position;
    if (have >= Math.min(bytes, left)) return true;
    const kept = have > 0 ? this.#buffer.subarray(start) : noBytes;
    const at = this.#position + kept.length;
    const buffer = await (this.#ahead === undefined
      ? this.#read(kept, at, bytes)
      : this.#readAheadOf(this.#ahead, kept, at, bytes));
    const read = buffer.length - kept.length;
    this.bytesRead += read;
    this.#buffer = buffer;
    this.#bufferPosition = this.#position;
    return read > 0;
  }

  async #read(kept: Buffer, position: number, bytes: number): Promise<Buffer> {
    const left = this.#endPosition - this.#position;
    const size = Math.min(left, Math.max(bytes, this.#readAheadBytes));
    const buffer = Buffer.allocUnsafe(size);
    buffer.set(kept);
    const read = await this.#file.read(buffer, kept.length, size - kept.length, position);
    this.#pace.rested();
    return buffer.subarray(0, kept.length + read);
  }

  /** A part that was there already let nobody else run. */
  async #readAheadOf(
    ahead: ReadAhead,
    kept: Buffer,
    position: number,
    bytes: number,
  ): Promise<Buffer> {
    const buffer = await ahead.read(kept, position, bytes - kept.length);
    await this.#pace.pause();
    return buffer;
  }
}

const noBytes = Buffer.alloc(0);
