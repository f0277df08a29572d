/** Reading batches out of the journal during recovery, a window at a time. */
import type { Disk, DiskFile } from "@millrace/env";
import { type BodyInfo, parseBody, readStored, type StoredBatch } from "@millrace/record";
import { isPassing } from "../files/disk-errors.ts";
import type { PlannedEntry, PlannedPayload } from "../journal/scan.ts";
import { JournalUnreadable, PartitionDamage } from "./types.ts";

export type PlannedBatch = Extract<PlannedEntry, { readonly kind: "batch" }>;

/** A batch as the journal has it. */
export interface JournalBatch {
  readonly bytes: Buffer;
  readonly header: StoredBatch;
  readonly info: BodyInfo;
  readonly lastOffset: number;
}

const windowBytes = 1024 * 1024;

/** Payloads of one partition's entries. They lie in the journal almost in order. */
export class JournalReader {
  readonly #disk: Disk;
  #open: { readonly path: string; readonly file: DiskFile } | undefined;
  #window: Buffer = Buffer.alloc(0);
  #windowAt = 0;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** The entry's payload. A view that stays as it is. Throws JournalUnreadable. */
  async payload(entry: PlannedPayload): Promise<Buffer> {
    try {
      return await this.#payload(entry);
    } catch (thrown) {
      if (isPassing(thrown)) throw thrown;
      throw new JournalUnreadable(entry.path, { cause: thrown });
    }
  }

  async #payload(entry: PlannedPayload): Promise<Buffer> {
    const file = await this.#fileOf(entry.path);
    const from = entry.at - this.#windowAt;
    if (from >= 0 && from + entry.bytes <= this.#window.length) {
      return this.#window.subarray(from, from + entry.bytes);
    }
    const window = Buffer.alloc(Math.max(windowBytes, entry.bytes));
    const bytes = await file.read(window, 0, window.length, entry.at);
    this.#window = window.subarray(0, bytes);
    this.#windowAt = entry.at;
    return this.#window.subarray(0, entry.bytes);
  }

  /** A batch that is sound, taken apart. */
  async batch(entry: PlannedBatch): Promise<JournalBatch> {
    const bytes = await this.payload(entry);
    const header = readStored(bytes, 0);
    if ("fault" in header) throw new PartitionDamage("the journal changed under recovery");
    const info = parseBody(bytes.subarray(header.bodyStart, header.bodyEnd));
    return { bytes, header, info, lastOffset: entry.offset + info.lastOffsetDelta };
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    this.#window = Buffer.alloc(0);
    await open?.file.close();
  }

  async #fileOf(path: string): Promise<DiskFile> {
    if (this.#open?.path === path) return this.#open.file;
    await this.close();
    const file = await this.#disk.open(path, "read");
    this.#open = { path, file };
    return file;
  }
}
