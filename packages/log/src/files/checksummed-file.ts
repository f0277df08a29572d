/**
 * Checksummed files: `magic(4) crc32c(4, little-endian, of the message) message`. Written to a
 * temporary name, fsynced, renamed, and the directory fsynced, so that a reader sees the old
 * content or the new, whole.
 */
import { type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { Disk, DiskFile } from "@millrace/env";
import { crcOf } from "@millrace/record";
import { causeOf, errno, isFull, isMissing, isPassing } from "./disk-errors.ts";

const headBytes = 8;

/** Magic of every kind of checksummed file. */
export const magics = {
  dataDirectory: "MRDD",
  partitionMeta: "MRPM",
  recoveryPoints: "MRRP",
  clean: "MRCS",
  leaderEpochs: "MRLE",
  producers: "MRPS",
  journalFiles: "MRJF",
  cleanerCheckpoint: "MRCC",
} as const;

export type Magic = (typeof magics)[keyof typeof magics];

/** Framed bytes of a message. */
export const frameChecksummed = <D extends DescMessage>(
  magic: Magic,
  desc: D,
  message: MessageShape<D>,
): Buffer => {
  const body = toBinary(desc, message);
  return Buffer.concat([headOf(magic, [body]), body]);
};

/** What stands before a message that has these parts. */
const headOf = (magic: Magic, parts: readonly Uint8Array[]): Buffer => {
  const head = Buffer.allocUnsafe(headBytes);
  head.write(magic, 0, "latin1");
  const crc = parts.reduce((before, part) => crcOf(part, before), 0);
  head.writeUInt32LE(crc, 4);
  return head;
};

/** The message of framed bytes, or undefined when they are damaged. */
export const parseChecksummed = <D extends DescMessage>(
  magic: Magic,
  desc: D,
  framed: Buffer,
): MessageShape<D> | undefined => {
  const body = bodyOf(magic, framed);
  if (body === undefined) return undefined;
  try {
    return fromBinary(desc, body);
  } catch {
    return undefined;
  }
};

/** The message's bytes, or undefined when they are not what was framed. */
const bodyOf = (magic: Magic, framed: Buffer): Buffer | undefined => {
  if (framed.length < headBytes || framed.toString("latin1", 0, 4) !== magic) return undefined;
  const body = framed.subarray(headBytes);
  return framed.readUInt32LE(4) === crcOf(body) ? body : undefined;
};

/** Whole content of a file. Throws the disk's error, ENOENT among them. */
export const readWhole = async (disk: Disk, path: string): Promise<Buffer> => {
  const file = await disk.open(path, "read");
  try {
    const content = Buffer.alloc(await file.size());
    const bytes = await file.read(content, 0, content.length, 0);
    return content.subarray(0, bytes);
  } finally {
    await file.close();
  }
};

/** What reading a checksummed file found. */
export type ChecksummedFile<T> =
  | { readonly kind: "ok"; readonly message: T }
  | { readonly kind: "missing" }
  | { readonly kind: "damaged" };

/** The whole file, or undefined when there is none. */
const readIfThere = async (disk: Disk, path: string): Promise<Buffer | undefined> => {
  try {
    return await readWhole(disk, path);
  } catch (thrown) {
    if (isMissing(thrown)) return undefined;
    throw thrown;
  }
};

export const readChecksummed = async <D extends DescMessage>(
  disk: Disk,
  path: string,
  magic: Magic,
  desc: D,
): Promise<ChecksummedFile<MessageShape<D>>> => {
  const framed = await readIfThere(disk, path);
  if (framed === undefined) return { kind: "missing" };
  const message = parseChecksummed(magic, desc, framed);
  return message === undefined ? { kind: "damaged" } : { kind: "ok", message };
};

/**
 * The same for a file that the start can do without: one that the disk cannot read counts as
 * damaged. Throws what passes alone, so that the start is tried again.
 */
export const readOptional = async <D extends DescMessage>(
  disk: Disk,
  path: string,
  magic: Magic,
  desc: D,
): Promise<ChecksummedFile<MessageShape<D>>> => {
  try {
    return await readChecksummed(disk, path, magic, desc);
  } catch (thrown) {
    if (isPassing(thrown)) throw thrown;
    return { kind: "damaged" };
  }
};

/** The same for a large message, which the caller decodes in steps. */
export const readFramed = async (
  disk: Disk,
  path: string,
  magic: Magic,
): Promise<
  { readonly kind: "ok"; readonly body: Buffer } | { readonly kind: "missing" | "damaged" }
> => {
  const framed = await readIfThere(disk, path);
  if (framed === undefined) return { kind: "missing" };
  const body = bodyOf(magic, framed);
  return body === undefined ? { kind: "damaged" } : { kind: "ok", body };
};

/** Directory part of a path; "." for the root. */
export const parentOf = (path: string): string => {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash);
};

/** A new file; what an earlier attempt left under the name is removed. */
export const createAnew = async (disk: Disk, path: string): Promise<DiskFile> => {
  try {
    return await disk.open(path, "create");
  } catch (thrown) {
    if (errno(thrown) !== "EEXIST") throw thrown;
  }
  try {
    await disk.unlink(path);
  } catch (thrown) {
    // Somebody else has cleared the way.
    if (!isMissing(thrown)) throw thrown;
  }
  return disk.open(path, "create");
};

/**
 * Writes a file so that a reader sees the old content or the new: `fill` writes a temporary file,
 * which takes the name once it is fsynced. With `syncParent` false the caller fsyncs the directory
 * before relying on it. When it fails for want of room it may be tried again: the half-written file
 * is thrown away.
 */
export const replaceBy = async (
  disk: Disk,
  path: string,
  fill: (file: DiskFile) => Promise<void>,
  syncParent = true,
): Promise<void> => {
  const temporary = `${path}.tmp`;
  const file = await createAnew(disk, temporary);
  try {
    await fill(file);
    await file.sync();
  } catch (thrown) {
    await file.close();
    // Most likely the disk is full: half a file must not make it fuller. What failed before is
    // told; the next attempt, or the next start, removes what is left.
    await disk.unlink(temporary).catch(() => {});
    // A failed fsync is final for bytes that must last. These are written anew.
    const cause = causeOf(thrown);
    throw isFull(cause) ? cause : thrown;
  }
  await file.close();
  await disk.rename(temporary, path);
  if (syncParent) await disk.syncDirectory(parentOf(path));
};

/** Writes a file with this content, as `replaceBy` does. */
export const replaceFile = (
  disk: Disk,
  path: string,
  content: Uint8Array,
  syncParent = true,
): Promise<void> => replaceBy(disk, path, (file) => file.write([content], 0), syncParent);

/**
 * Writes the encoded parts of a large message, as `replaceFile` does. They are not put together
 * first: copying 20 MiB takes longer than a turn of the event loop may.
 */
export const writeFramed = (
  disk: Disk,
  path: string,
  magic: Magic,
  parts: readonly Uint8Array[],
  syncParent = true,
): Promise<void> => {
  const chunks = [headOf(magic, parts), ...parts];
  return replaceBy(disk, path, (file) => file.write(chunks, 0), syncParent);
};

/** Writes a checksummed file, as `replaceFile` does. */
export const writeChecksummed = <D extends DescMessage>(
  disk: Disk,
  path: string,
  magic: Magic,
  desc: D,
  message: MessageShape<D>,
  syncParent = true,
): Promise<void> => replaceFile(disk, path, frameChecksummed(magic, desc, message), syncParent);
