/**
 * Shape of a zstd frame (RFC 8878), walked without decompressing, because decoders take several
 * frames one after another for one, and reserve the window that a frame asks for.
 *
 *     frame := 28 b5 2f fd  descriptor  [window(1)]  [dictionary_id(0, 1, 2, 4)]  [content_size(0, 1, 2, 4, 8)]
 *              { block_header(3) data }  [content_sum(4)]
 */

import { ErrorCode, MillraceError, sizeText } from "@millrace/errors";

const dictionaryIdBytes = [0, 1, 2, 4] as const;
const contentSizeBytes = [0, 2, 4, 8] as const;

/**
 * Bytes that a decoder must reserve for the frame: the window of its descriptor, or the whole
 * content where the frame is a single segment.
 */
const windowBytesOf = (view: DataView, singleSegment: boolean, sizeBytes: number): number => {
  if (!singleSegment) {
    const window = view.getUint8(5);
    const base = 2 ** (10 + (window >> 3));
    return base + (base / 8) * (window & 7);
  }
  const at = 5 + (dictionaryIdBytes[view.getUint8(4) & 3] ?? 0);
  if (at + sizeBytes > view.byteLength) throw new Error("the zstd frame is cut off");
  if (sizeBytes === 1) return view.getUint8(at);
  if (sizeBytes === 2) return view.getUint16(at, true) + 256;
  if (sizeBytes === 4) return view.getUint32(at, true);
  return Number(view.getBigUint64(at, true));
};

/**
 * Throws Error unless the bytes are exactly one frame (no skippable frame, nothing behind it),
 * UNSUPPORTED_COMPRESSION when a decoder would need a window above `windowBytesMax`, and RangeError
 * when a single segment states more content than that.
 */
export const checkZstdFrame = (frame: Uint8Array, windowBytesMax: number): void => {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 6 || view.getUint32(0, true) !== 0xfd2fb528)
    throw new Error("not a zstd frame");
  const descriptor = view.getUint8(4);
  const singleSegment = (descriptor & 0x20) !== 0;
  const sizeCode = descriptor >> 6;
  const sizeBytes = sizeCode === 0 && singleSegment ? 1 : (contentSizeBytes[sizeCode] ?? 0);
  const windowBytes = windowBytesOf(view, singleSegment, sizeBytes);
  if (windowBytes > windowBytesMax) {
    if (singleSegment) throw new RangeError(`states ${sizeText(windowBytes)} of content`);
    throw new MillraceError(
      ErrorCode.UNSUPPORTED_COMPRESSION,
      `the zstd frame asks for a window of ${sizeText(windowBytes)}, at most ` +
        `${sizeText(windowBytesMax)} are allowed: compress with a smaller windowLog, and without ` +
        "long-distance matching (--long)",
    );
  }
  let at = 5 + (singleSegment ? 0 : 1) + (dictionaryIdBytes[descriptor & 3] ?? 0) + sizeBytes;
  for (let last = false; !last; ) {
    if (at + 3 > frame.length) throw new Error("the zstd frame is cut off");
    const header = view.getUint16(at, true) + view.getUint8(at + 2) * 0x1_0000;
    last = (header & 1) !== 0;
    const kind = (header >> 1) & 3;
    if (kind === 3) throw new Error("unknown zstd block");
    at += 3 + (kind === 1 ? 1 : header >> 3);
  }
  if ((descriptor & 0x04) !== 0) at += 4;
  if (at > frame.length) throw new Error("the zstd frame is cut off");
  if (at < frame.length) throw new Error("bytes follow the zstd frame");
};
