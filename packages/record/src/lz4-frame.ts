/**
 * Shape of an LZ4 frame, walked without decompressing, so that its output is bounded before any
 * decoder sees it.
 *
 *     frame := 04 22 4d 18  flags  block_descriptor  [content_size(8)]  [dictionary_id(4)]  header_sum
 *              { block_size(4) data [block_sum(4)] }  00 00 00 00  [content_sum(4)]
 */

/** A length in a sequence: four bits, then bytes of 255 until a smaller one. */
const longLength = (block: Uint8Array, at: number, nibble: number): [number, number] => {
  let length = nibble;
  let position = at;
  if (nibble < 15) return [length, position];
  for (;;) {
    const byte = block[position++];
    if (byte === undefined) throw new Error("an LZ4 block is cut off");
    length += byte;
    if (byte < 255) return [length, position];
  }
};

/** Bytes that a compressed block inflates to, from the lengths of its sequences. */
const inflatedBlockBytes = (block: Uint8Array): number => {
  let bytes = 0;
  let at = 0;
  while (at < block.length) {
    const token = block[at] ?? 0;
    const [literals, dataAt] = longLength(block, at + 1, token >> 4);
    bytes += literals;
    at = dataAt + literals;
    if (at >= block.length) break;
    const [match, nextAt] = longLength(block, at + 2, token & 15);
    bytes += match + 4;
    at = nextAt;
  }
  return bytes;
};

/**
 * Bytes that the frame inflates to, or an upper bound where no block can pass `maxBytes`. Throws
 * Error when it is not exactly one whole frame (skippable and legacy frames, dictionaries and
 * trailing bytes are refused). Linear in the frame's length.
 */
export const lz4FrameBoundBytes = (frame: Uint8Array, maxBytes: number): number => {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 11 || view.getUint32(0, true) !== 0x184d2204)
    throw new Error("not an LZ4 frame");
  const flags = view.getUint8(4);
  const maxCode = (view.getUint8(5) >> 4) & 7;
  if (flags >> 6 !== 1 || maxCode < 4) throw new Error("unknown LZ4 frame version");
  if ((flags & 1) !== 0) throw new Error("LZ4 dictionaries are not supported");
  const blockMaxBytes = 2 ** (8 + 2 * maxCode);
  const blockSumBytes = (flags & 0x10) !== 0 ? 4 : 0;
  let at = 7 + ((flags & 0x08) !== 0 ? 8 : 0);
  const blocks: { readonly block: Uint8Array; readonly plain: boolean }[] = [];
  let bound = 0;
  for (;;) {
    if (at + 4 > frame.length) throw new Error("the LZ4 frame is cut off");
    const word = view.getUint32(at, true);
    at += 4;
    if (word === 0) break;
    const size = word & 0x7fff_ffff;
    if (size > blockMaxBytes || at + size + blockSumBytes > frame.length) {
      throw new Error("an LZ4 block runs past its frame");
    }
    const plain = word > 0x7fff_ffff;
    // A token expands to at most 255 bytes per input byte.
    bound += plain ? size : Math.min(blockMaxBytes, size * 255);
    blocks.push({ block: frame.subarray(at, at + size), plain });
    at += size + blockSumBytes;
  }
  if (at + ((flags & 0x04) !== 0 ? 4 : 0) !== frame.length)
    throw new Error("bytes follow the LZ4 frame");
  if (bound <= maxBytes) return bound;
  let exact = 0;
  for (const { block, plain } of blocks) exact += plain ? block.length : inflatedBlockBytes(block);
  return exact;
};
