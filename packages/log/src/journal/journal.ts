/**
 * The commit journal: a ring of preallocated, zero-filled files, so that a sync never touches file
 * metadata. One round at a time is written and fsynced; files whose rounds are all reflected in
 * fsynced segments are written over.
 */
import { create } from "@bufbuild/protobuf";
import type { Disk, DiskFile, Env } from "@millrace/env";
import { assert } from "@millrace/errors";
import { JournalFilesSchema } from "@millrace/proto/storage";
import { magics, replaceBy, writeChecksummed } from "../files/checksummed-file.ts";
import { paths } from "../files/paths.ts";
import { encodeRound, type JournalEntry, ROUND_ALIGN_BYTES, roundBytes } from "./format.ts";

interface JournalFile {
  readonly number: number;
  readonly file: DiskFile;
  /** Last round in it; 0 when it is free. */
  lastRound: number;
}

export interface JournalOptions {
  readonly env: Env;
  readonly directoryId: Uint8Array;
  readonly fileBytes: number;
  readonly bytesMax: number;
}

const fillBytes = 512 * 1024;

/** `<8 digits>.journal`; the number has no meaning but to be unique. */
export const journalFileName = (number: number): string =>
  `${paths.journal}/${String(number).padStart(8, "0")}.journal`;

export const parseJournalName = (name: string): number | undefined => {
  const match = /^([0-9]{8})\.journal$/.exec(name);
  return match === null ? undefined : Number(match[1]);
};

/** Pause between the pieces of a file that is made while rounds are committed. */
const fillPauseMs = 5;

/**
 * Makes one zero-filled file, durable with its name. `breathe` runs after each piece that was
 * fsynced: one large fsync would hold up the rounds that are committed meanwhile.
 */
const preallocate = async (
  disk: Disk,
  path: string,
  bytes: number,
  breathe?: () => Promise<void>,
): Promise<DiskFile> => {
  await replaceBy(disk, path, async (file) => {
    const zeros = Buffer.alloc(Math.min(fillBytes, bytes));
    for (let at = 0; at < bytes; at += zeros.length) {
      await file.write([zeros.subarray(0, Math.min(zeros.length, bytes - at))], at);
      if (breathe === undefined) continue;
      await file.sync();
      await breathe();
    }
  });
  return disk.open(path, "writeDurably");
};

export class Journal {
  readonly #options: JournalOptions;
  readonly #files: JournalFile[] = [];
  #nextNumber = 0;
  #current: JournalFile | undefined;
  #position = 0;
  #durableRound: number;
  #growing: Promise<void> | undefined;
  /** A file that was made and is not listed yet. */
  #unlisted: JournalFile | undefined;
  /** A round has been promised its place in the current file: the file stays current. */
  #promised = false;
  /** A round waits for the file that is being made. */
  #hurried = false;

  private constructor(options: JournalOptions, durableRound: number) {
    this.#options = options;
    this.#durableRound = durableRound;
  }

  /** Takes over the files that are there, all of them free: everything up to `durableRound` must be
   * reflected in fsynced segments. There is at least one file afterwards. */
  static async open(options: JournalOptions, durableRound: number): Promise<Journal> {
    const journal = new Journal(options, durableRound);
    try {
      await journal.#takeOver();
      return journal;
    } catch (thrown) {
      await journal.close();
      throw thrown;
    }
  }

  async #takeOver(): Promise<void> {
    const options = this.#options;
    const { disk } = options.env;
    // What is listed from here on must be there after a power cut. A process that died may have
    // made a file and not fsynced its name, also one that had stopped cleanly.
    await disk.syncDirectory(paths.journal);
    const unusable: string[] = [];
    for (const name of (await disk.list(paths.journal)).sort()) {
      const number = parseJournalName(name);
      if (number === undefined) continue;
      const path = journalFileName(number);
      this.#nextNumber = Math.max(this.#nextNumber, number + 1);
      const usable =
        (await disk.fileSize(path)) === options.fileBytes &&
        (this.#files.length + 1) * options.fileBytes <= options.bytesMax;
      if (usable) {
        const file = await disk.open(path, "writeDurably");
        this.#files.push({ number, file, lastRound: 0 });
      } else unusable.push(path);
    }
    if (this.#files.length === 0) await this.#grow(false);
    else await this.#list(this.#files);
    for (const path of unusable) await disk.unlink(path);
  }

  get bytesMax(): number {
    return this.#options.bytesMax;
  }

  /** Bytes in files that cannot be written over yet. */
  get bytesUsed(): number {
    let files = 0;
    for (const file of this.#files) if (file.lastRound > 0 && file !== this.#current) files += 1;
    return files * this.#options.fileBytes + (this.#current === undefined ? 0 : this.#position);
  }

  /** Payload bytes that one round can carry with `entries` entries. */
  payloadBytesMax(entries: number): number {
    return this.#options.fileBytes - roundBytes(entries, 0) - ROUND_ALIGN_BYTES;
  }

  /** True when the next round of this size has a place without waiting for a release. */
  hasRoom(entries: number, payloadBytes: number): boolean {
    const bytes = roundBytes(entries, payloadBytes);
    return (
      (this.#current !== undefined && this.#position + bytes <= this.#options.fileBytes) ||
      this.#files.some((file) => file.lastRound === 0 && file !== this.#current) ||
      (this.#files.length + 1) * this.#options.fileBytes <= this.#options.bytesMax
    );
  }

  /**
   * Finds or makes the file for the next round of this size. Only with room. When it fails for want
   * of space it may be tried again.
   */
  async prepare(entries: number, payloadBytes: number): Promise<void> {
    const bytes = roundBytes(entries, payloadBytes);
    const fits = this.#current !== undefined && this.#position + bytes <= this.#options.fileBytes;
    if (!fits) await this.#advance();
    this.#promised = true;
  }

  /**
   * Writes and fsyncs a round; durable when it resolves. Only after `prepare`, and one at a time.
   * On failure nothing is known of it, and the journal must not be used again.
   */
  async commit(
    round: number,
    entries: readonly JournalEntry[],
    beforeSync?: () => void,
  ): Promise<void> {
    let payloadBytes = 0;
    for (const entry of entries) payloadBytes += entry.payloadBytes;
    const bytes = roundBytes(entries.length, payloadBytes);
    const current = this.#current;
    assert(current !== undefined, "the journal has a current file");
    assert(this.#position + bytes <= this.#options.fileBytes, "a round fits the journal file");
    assert(round > this.#durableRound, "journal rounds rise");
    const position = this.#position;
    this.#position += bytes;
    current.lastRound = round;
    this.#promised = false;
    const chunks = encodeRound(this.#options.directoryId, round, this.#durableRound, entries);
    beforeSync?.();
    await current.file.write(chunks, position);
    this.#durableRound = round;
    this.#prepareNext();
  }

  /**
   * Everything up to `round` is reflected in fsynced segments: files without later rounds are free.
   */
  release(round: number): void {
    for (const file of this.#files) {
      if (file === this.#current && this.#promised) continue;
      if (file.lastRound > 0 && file.lastRound <= round) {
        file.lastRound = 0;
        if (file === this.#current) this.#current = undefined;
      }
    }
  }

  async close(): Promise<void> {
    await this.#growing;
    for (const { file } of this.#files) await file.close();
    await this.#unlisted?.file.close();
  }

  async #advance(): Promise<void> {
    this.#hurried = true;
    await this.#growing;
    this.#hurried = false;
    if (this.#freeFile() === undefined) await this.#grow(false);
    const free = this.#freeFile();
    assert(free !== undefined, "the journal has a free file");
    this.#current = free;
    this.#position = 0;
  }

  #freeFile(): JournalFile | undefined {
    return this.#files.find((file) => file.lastRound === 0 && file !== this.#current);
  }

  /** The next file is made while the current one fills. */
  #prepareNext(): void {
    const { fileBytes, bytesMax, env } = this.#options;
    if (this.#growing !== undefined || this.#position < fileBytes / 2) return;
    if (this.#freeFile() !== undefined || (this.#files.length + 1) * fileBytes > bytesMax) return;
    this.#growing = this.#grow(true)
      .catch((thrown: unknown) => {
        env.logger.warn({ err: thrown }, "a journal file cannot be made yet");
      })
      .finally(() => {
        this.#growing = undefined;
      });
  }

  /** Makes another file; `gently` while nobody waits for it. */
  async #grow(gently: boolean): Promise<void> {
    const { env, fileBytes } = this.#options;
    const breathe = async (): Promise<void> => {
      if (!this.#hurried) await env.clock.sleep(fillPauseMs);
    };
    if (this.#unlisted === undefined) {
      const number = this.#nextNumber;
      const path = journalFileName(number);
      this.#nextNumber += 1;
      const file = await preallocate(env.disk, path, fileBytes, gently ? breathe : undefined);
      this.#unlisted = { number, file, lastRound: 0 };
    }
    const made = this.#unlisted;
    // Where this fails, the list may have the file or not: the file stays, and is listed later.
    await this.#list([...this.#files, made]);
    this.#unlisted = undefined;
    this.#files.push(made);
  }

  /** From here on a start after a crash misses these files. Durable when it resolves. */
  async #list(files: readonly Pick<JournalFile, "number">[]): Promise<void> {
    const { env, fileBytes } = this.#options;
    const message = create(JournalFilesSchema, {
      numbers: files.map(({ number }) => number),
      fileBytes: BigInt(fileBytes),
    });
    const path = paths.journalFiles;
    await writeChecksummed(env.disk, path, magics.journalFiles, JournalFilesSchema, message);
  }
}
