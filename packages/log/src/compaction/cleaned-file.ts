/** Writes what is left of a segment, batch by batch, so that no offset is missing. */
import { type BatchPlace, emptyBody, prefixOf } from "../segment/empty-batch.ts";
import type { Segment } from "../segment/segment.ts";
import type { Output } from "./pass.ts";

/** Bytes gathered for one write. */
const writeBytes = 512 * 1024;
/** Most offsets that one batch can cover, less one. */
const lastOffsetDeltaMax = 0x7fff_ffff;

export class CleanedFile {
  readonly #file: Output;
  readonly #everyBytes: number;
  /** What the file is then; its index rows are noted on the way. */
  readonly segment: Segment;
  readonly #buffer = Buffer.allocUnsafeSlow(writeBytes);
  #gathered = 0;
  #written = 0;
  /** Offsets whose batches are gone, and that no batch covers yet. */
  #gap: BatchPlace | undefined;

  constructor(file: Output, segment: Segment, everyBytes: number) {
    this.#file = file;
    this.segment = segment;
    this.#everyBytes = everyBytes;
  }

  get writtenBytes(): number {
    return this.#written;
  }

  /** A batch as it was stored. */
  async keep(place: BatchPlace, stored: Uint8Array, maxTimestampMs: number): Promise<void> {
    await this.#closeGap();
    await this.#add(place, [stored], maxTimestampMs);
  }

  /** A batch with another body. */
  async change(place: BatchPlace, body: Uint8Array, maxTimestampMs: number): Promise<void> {
    await this.#closeGap();
    await this.#add(place, [prefixOf(place, body), body], maxTimestampMs);
  }

  /** A batch that is gone. Neighbours of one leader epoch leave one batch behind. */
  async leaveOut(place: BatchPlace): Promise<void> {
    const gap = this.#gap;
    const joins =
      gap?.leaderEpoch === place.leaderEpoch &&
      place.lastOffset - gap.baseOffset <= lastOffsetDeltaMax;
    if (joins) {
      this.#gap = { ...place, baseOffset: gap.baseOffset };
      return;
    }
    await this.#closeGap();
    this.#gap = place;
  }

  /** Everything is in the file. */
  async finish(): Promise<void> {
    await this.#closeGap();
    await this.#flush();
  }

  async #closeGap(): Promise<void> {
    const gap = this.#gap;
    if (gap === undefined) return;
    this.#gap = undefined;
    const body = emptyBody(gap);
    await this.#add(gap, [prefixOf(gap, body), body], 0);
  }

  async #add(place: BatchPlace, parts: Uint8Array[], maxTimestampMs: number): Promise<void> {
    const { lastOffset, appendTimeMs } = place;
    const bytes = parts.reduce((sum, { length }) => sum + length, 0);
    this.segment.append({ lastOffset, bytes, maxTimestampMs, appendTimeMs }, this.#everyBytes);
    if (this.#gathered + bytes > writeBytes) await this.#flush();
    if (bytes > writeBytes) {
      await this.#file.write(parts, this.#written);
      this.#written += bytes;
      return;
    }
    for (const part of parts) {
      this.#buffer.set(part, this.#gathered);
      this.#gathered += part.length;
    }
  }

  async #flush(): Promise<void> {
    if (this.#gathered === 0) return;
    await this.#file.write([this.#buffer.subarray(0, this.#gathered)], this.#written);
    this.#written += this.#gathered;
    this.#gathered = 0;
  }
}
