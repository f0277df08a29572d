/**
 * Shape of a zstd frame (RFC 8878), walked without decompressing, because decoders take several frames
 * one after another for one, and reserve the window that a frame asks for.
 *
 *     frame := 28 b5 2f fd  descriptor  [window(1)]  [dictionary_id(0, 1, 2, 4)]  [content_size(0, 1, 2, 4, 8)]
 *              { block_header(3) data }  [content_sum(4)]
 */

const dictionaryIdBytes = [0, 1, 2, 4] as const;
const contentSizeBytes = [0, 2, 4, 8] as const;

/** Throws Error unless the bytes are exactly one frame (no skippable frame, nothing behind it). */
export const checkZstdFrame = (frame: Uint8Array): void => {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 6 || view.getUint32(0, true) !== 0xfd2fb528)
    throw new Error("not a zstd frame");
  const descriptor = view.getUint8(4);
  const singleSegment = (descriptor & 0x20) !== 0;
  const sizeCode = descriptor >> 6;
  const sizeBytes = sizeCode === 0 && singleSegment ? 1 : (contentSizeBytes[sizeCode] ?? 0);
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
