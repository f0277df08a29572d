/** How far compaction has come in one log, and the file that remembers it. */
import { create } from "@bufbuild/protobuf";
import type { Disk } from "@millrace/env";
import { type CleanerCheckpoint, CleanerCheckpointSchema } from "@millrace/proto/storage";
import { magics, readOptional, writeChecksummed } from "../files/checksummed-file.ts";
import { unlinkIfThere } from "../segment/files.ts";
import type { Segment } from "../segment/segment.ts";

export const cleanerCheckpointName = "cleaner-checkpoint";

const pathIn = (directory: string): string => `${directory}/${cleanerCheckpointName}`;

/** What the file says, or undefined where there is none that can be believed. */
export const readCleanerCheckpoint = async (
  disk: Disk,
  directory: string,
): Promise<CleanerCheckpoint | undefined> => {
  const path = pathIn(directory);
  const found = await readOptional(disk, path, magics.cleanerCheckpoint, CleanerCheckpointSchema);
  return found.kind === "ok" ? found.message : undefined;
};

export const removeCleanerCheckpoint = (disk: Disk, directory: string): Promise<void> =>
  unlinkIfThere(disk, pathIn(directory));

/** Of a segment that was cleaned. */
interface Cleaned {
  readonly sizeBytes: number;
  /** When it was first cleaned as a whole; 0: not yet. Milliseconds. */
  readonly cleanedMs: number;
}

/** What was durable when a segment was written anew. */
interface Written {
  readonly endOffset: number;
  readonly journalRound: bigint;
  readonly logStartOffset: number;
}

const nothingWritten: Written = { endOffset: 0, journalRound: 0n, logStartOffset: 0 };

export class CleanedLog {
  #upTo = 0;
  #segments = new Map<number, Cleaned>();
  #written = nothingWritten;
  #mayHaveFile = false;

  /** Before this offset no key has two records. */
  get upTo(): number {
    return this.#upTo;
  }

  /** When a segment was first cleaned as a whole; 0 where it was not. */
  cleanedMsOf({ baseOffset, sizeBytes }: Segment): number {
    const cleaned = this.#segments.get(baseOffset);
    return cleaned?.sizeBytes === sizeBytes ? cleaned.cleanedMs : 0;
  }

  /** Takes up what the file says of these segments, in order; the last one is the active one. */
  load(checkpoint: CleanerCheckpoint, segments: readonly Segment[]): void {
    this.#mayHaveFile = true;
    const known = new Map(checkpoint.segments.map((one) => [Number(one.baseOffset), one]));
    this.#upTo = Number(checkpoint.cleanedUpTo);
    for (const segment of segments) {
      const { baseOffset, sizeBytes } = segment;
      if (baseOffset >= this.#upTo) break;
      const entry = known.get(baseOffset);
      if (segment === segments.at(-1) || Number(entry?.sizeBytes) !== sizeBytes) {
        this.#upTo = baseOffset;
        break;
      }
      this.#segments.set(baseOffset, { sizeBytes, cleanedMs: Number(entry?.cleanedTimeMs) });
    }
    const { endOffset, journalRound, logStartOffset } = checkpoint;
    this.#written = {
      endOffset: Number(endOffset),
      journalRound,
      logStartOffset: Number(logStartOffset),
    };
  }

  /** A segment was written anew; of what was cleaned before nothing is less true. */
  wrote({ baseOffset, endOffset, sizeBytes }: Segment, durable: Omit<Written, "endOffset">): void {
    const cleanedMs = this.#segments.get(baseOffset)?.cleanedMs ?? 0;
    this.#segments.set(baseOffset, { sizeBytes, cleanedMs });
    this.#written = { ...durable, endOffset: Math.max(endOffset, this.#written.endOffset) };
  }

  /** Everything before `upTo` is clean. `segments`: those of the log. */
  completed(upTo: number, segments: readonly Segment[], nowMs: number): void {
    const before = this.#segments;
    this.#segments = new Map();
    for (const { baseOffset, endOffset, sizeBytes } of segments) {
      if (baseOffset >= upTo) break;
      const known = before.get(baseOffset)?.cleanedMs ?? 0;
      const cleanedMs = known > 0 || endOffset > upTo ? known : nowMs;
      this.#segments.set(baseOffset, { sizeBytes, cleanedMs });
    }
    this.#upTo = upTo;
  }

  /** The log was cut at `offset`. */
  cutTo(offset: number): void {
    if (offset < Math.max(this.#upTo, this.#written.endOffset)) this.forget();
  }

  /** The log is another one. The file is still to be removed. */
  forget(): void {
    this.#upTo = 0;
    this.#segments = new Map();
    this.#written = nothingWritten;
  }

  /** Makes the file say what is known. Durable when it resolves. Only as file work. */
  async write(disk: Disk, directory: string, incarnation: bigint): Promise<void> {
    this.#mayHaveFile = true;
    const message = create(CleanerCheckpointSchema, {
      incarnation,
      cleanedUpTo: BigInt(this.#upTo),
      segments: [...this.#segments].map(([baseOffset, { cleanedMs, sizeBytes }]) => ({
        baseOffset: BigInt(baseOffset),
        sizeBytes: BigInt(sizeBytes),
        cleanedTimeMs: BigInt(cleanedMs),
      })),
      endOffset: BigInt(this.#written.endOffset),
      journalRound: this.#written.journalRound,
      logStartOffset: BigInt(this.#written.logStartOffset),
    });
    const path = pathIn(directory);
    await writeChecksummed(disk, path, magics.cleanerCheckpoint, CleanerCheckpointSchema, message);
  }

  /** Removes the file where it says what is not true any more. Only as file work. */
  async removeVoid(disk: Disk, directory: string): Promise<boolean> {
    if (!this.#mayHaveFile || this.#upTo > 0 || this.#segments.size > 0) return false;
    await removeCleanerCheckpoint(disk, directory);
    this.#mayHaveFile = false;
    return true;
  }
}
