/** The segments of one log, in order of offsets. The last one takes appends. Never empty. */
import { assert, must } from "@millrace/errors";
import type { Place } from "./place.ts";
import { Segment } from "./segment.ts";

/** When the active segment is full, or old. */
export interface RollRules {
  readonly segmentBytes: number;
  readonly segmentMs: number;
}

export class Segments {
  readonly #directory: string;
  readonly #all: Segment[];
  #swaps = 0;

  constructor(directory: string) {
    this.#directory = directory;
    this.#all = [new Segment(directory, 0)];
  }

  get all(): readonly Segment[] {
    return this.#all;
  }

  get active(): Segment {
    return must(this.#all.at(-1), "active segment");
  }

  get first(): Segment {
    return must(this.#all[0], "first segment");
  }

  get sizeBytes(): number {
    let bytes = 0;
    for (const segment of this.#all) bytes += segment.sizeBytes;
    return bytes;
  }

  /** Takes over what recovery found. */
  replace(found: readonly Segment[]): void {
    this.#all.splice(0, this.#all.length, ...found);
  }

  /** Begins a new active segment. */
  begin(offset: number): Segment {
    const segment = new Segment(this.#directory, offset);
    this.#all.push(segment);
    return segment;
  }

  /** Whether the active segment takes `bytes` more, up to `lastOffset`. */
  fits(bytes: number, lastOffset: number, rules: RollRules, nowMs: number): boolean {
    return this.active.fits(bytes, lastOffset, rules.segmentBytes) && !this.isOld(rules, nowMs);
  }

  /** Whether the active segment has something, and has had it for longer than it may. */
  isOld({ segmentMs }: RollRules, nowMs: number): boolean {
    const { firstAppendMs = nowMs, sizeBytes } = this.active;
    return sizeBytes > 0 && nowMs - firstAppendMs > segmentMs;
  }

  /** The segment behind another one. */
  after(segment: Segment): Segment | undefined {
    return this.#all[this.#all.indexOf(segment) + 1];
  }

  /** A cleaned segment takes the place of the one that it was made from. */
  swap(old: Segment, cleaned: Segment): void {
    const at = this.#all.indexOf(old);
    assert(at >= 0 && at < this.#all.length - 1, "only closed segments of the log are cleaned");
    assert(
      cleaned.baseOffset === old.baseOffset && cleaned.endOffset === old.endOffset,
      "a cleaned segment covers the same offsets",
    );
    this.#all[at] = cleaned;
    this.#swaps += 1;
  }

  /** Segments that were cleaned so far: reads of them are begun anew. */
  get swaps(): number {
    return this.#swaps;
  }

  /** Cuts everything from a place on. Returns the segment that ends there, and those that go. */
  cutTo(cut: Place): { readonly segment: Segment; readonly dropped: readonly Segment[] } {
    const keep = this.#all.findLastIndex(({ baseOffset }) => baseOffset <= cut.offset);
    const segment = must(this.#all[keep], "segment of a truncation");
    const dropped = this.#all.splice(keep + 1);
    segment.cutTo(cut);
    return { segment, dropped };
  }

  /** Begins anew with an empty segment. Returns those that go: all. */
  beginAnew(offset: number): readonly Segment[] {
    const dropped = this.#all.splice(0);
    this.begin(offset);
    return dropped;
  }

  /** Takes out the segments that lie wholly below an offset, up to `last`, which stays. */
  dropBelow(offset: number, last: Segment): readonly Segment[] {
    const kept = this.#all.findIndex((one) => one === last || one.endOffset > offset);
    return this.#all.splice(0, Math.max(0, kept));
  }
}
