/** A partition being read: where it stands, what is buffered, what is granted. */
import type { MillraceError } from "@millrace/errors";
import type { Fetcher } from "./fetcher.ts";

/** A fetched message that the application has not taken. */
export interface Chunk {
  /** Whole stored batches. */
  readonly buffer: Buffer;
  /** Where the next batch begins; moves as batches are taken. */
  at: number;
  readonly nextOffset: number;
  readonly highWatermark: number;
}

/** State of one assigned partition. A seek replaces it by a new one. */
export class Cursor {
  readonly topic: string;
  readonly partition: number;
  /** Next offset to hand to the application. */
  position: number;
  /** Next offset to fetch. */
  fetchOffset: number;
  /** Iteration with `untilEnd` stops here. */
  endOffset = Number.POSITIVE_INFINITY;
  highWatermark = 0;
  lastEpoch: number | undefined;
  /** Most of `bufferedBytes + grantedBytes`. */
  capacityBytes = 0;
  bufferedBytes = 0;
  /** Granted to the server and not yet received. */
  grantedBytes = 0;
  readonly chunks: Chunk[] = [];
  paused = false;
  /** Replaced by a seek or dropped by an assign; nothing that still arrives counts. */
  dropped = false;
  failures = 0;
  /** Shown to the application once the buffer is empty. */
  error: MillraceError | undefined;
  fetcher: Fetcher | undefined;
  cursorId = 0;

  constructor(topic: string, partition: number, position: number) {
    this.topic = topic;
    this.partition = partition;
    this.position = position;
    this.fetchOffset = position;
  }

  /** Bytes to grant now: 0 while the server still has half of what this cursor may hold. */
  grantDue(): number {
    if (this.paused) return 0;
    const held = this.bufferedBytes + this.grantedBytes;
    return held * 2 <= this.capacityBytes ? this.capacityBytes - held : 0;
  }

  /** True when the application may get something, were it only an error. */
  get ready(): boolean {
    return !this.paused && (this.chunks.length > 0 || this.error !== undefined);
  }

  get finished(): boolean {
    return this.position >= this.endOffset;
  }
}
