/** A cleaning's work in the thread that asks for it. */
import type { Clock, Compressor } from "@millrace/env";
import { type CleanedSegment, Segment } from "../segment/segment.ts";
import { cleanSegment } from "./clean-segment.ts";
import { CleanedFile } from "./cleaned-file.ts";
import { KeyHash } from "./key-hash.ts";
import { mapKeys } from "./map-keys.ts";
import { OffsetMap } from "./offset-map.ts";
import type {
  CleaningCounts,
  CleaningPass,
  Mapped,
  Output,
  PassSettings,
  SegmentFile,
  SegmentRules,
} from "./pass.ts";
import { Abandoned, type Cleaning } from "./read-batches.ts";
import type { KnownKeys } from "./rules.ts";
import { Superseded } from "./superseded.ts";
import { Throttle } from "./throttle.ts";

/** Which records go is noted in a part of the memory of the map, besides it. */
const supersededPart = 8;

export class LocalPass implements CleaningPass {
  readonly #cleaning: Cleaning;
  readonly #map: OffsetMap;
  readonly #notes: Omit<KnownKeys, "endOffset">;
  #endOffset: number;

  /** `partBytes`: bytes looked at in one turn. */
  constructor(
    env: { readonly clock: Clock; readonly compressor: Compressor },
    { bytesPerSecondMax, fromOffset, mapBytesMax, secret }: PassSettings,
    isVoid: () => boolean,
    partBytes: number,
  ) {
    this.#cleaning = {
      ...{ ...env, partBytes },
      throttle: new Throttle(env.clock, bytesPerSecondMax, isVoid),
      check: () => {
        if (isVoid()) throw new Abandoned();
      },
      counts: { readBytes: 0, writtenBytes: 0 },
    };
    this.#map = new OffsetMap(mapBytesMax);
    const superseded = new Superseded(mapBytesMax / supersededPart);
    this.#notes = { map: this.#map, hash: new KeyHash(secret), superseded, fromOffset };
    this.#endOffset = fromOffset;
  }

  get counts(): CleaningCounts {
    return { ...this.#cleaning.counts, mapBytes: this.#map.bytes };
  }

  async mapKeys(segment: SegmentFile): Promise<Mapped> {
    const mapped = await mapKeys(this.#cleaning, segment, this.#notes, this.#endOffset);
    this.#endOffset = mapped.endOffset;
    return mapped;
  }

  async clean(
    segment: SegmentFile,
    rules: SegmentRules,
    output: Output,
  ): Promise<CleanedSegment | undefined> {
    const keys = { ...this.#notes, endOffset: this.#endOffset };
    const left = new Segment("", segment.baseOffset);
    const cleaned = new CleanedFile(output, left, rules.indexIntervalBytes);
    const changed = await cleanSegment(this.#cleaning, segment, keys, rules, cleaned);
    if (!changed) return undefined;
    const { endOffset, firstAppendMs = 0, index, lastAppendMs = 0, sizeBytes } = left;
    const times = { firstAppendMs, lastAppendMs, maxTimestampMs: index.maxTimestampMs ?? -1 };
    return { sizeBytes, endOffset, ...times, rows: index.fresh };
  }

  async end(): Promise<void> {}
}
