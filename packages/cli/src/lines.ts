/** Splits bytes into records at a delimiter. */
import { ErrorCode, MillraceError, sizeText } from "@millrace/errors";

/** The error of a record that no topic can hold. `where` names the record. */
export const recordTooLarge = (where: string, bytesMax: number): MillraceError =>
  new MillraceError(
    ErrorCode.MESSAGE_TOO_LARGE,
    `${where} has more than ${sizeText(bytesMax)}, which no topic can hold: check the delimiter, ` +
      "or send smaller records",
  );

/**
 * Splits a stream of chunks at `delimiter`, which is removed. All other bytes are kept, carriage
 * returns and bytes that are not text among them. What follows the last delimiter is a record
 * unless it is empty. Throws MESSAGE_TOO_LARGE as soon as a record has more than `recordBytesMax`
 * bytes.
 */
export async function* splitRecords(
  chunks: AsyncIterable<Uint8Array>,
  delimiter: Uint8Array,
  recordBytesMax: number,
): AsyncGenerator<Buffer, void, undefined> {
  /** The beginning of the current record. Joined once, at its end, so that time stays linear. */
  let pieces: Buffer[] = [];
  let pieceBytes = 0;
  let records = 0;
  const record = (end: Buffer): Buffer => {
    const whole = pieces.length === 0 ? end : Buffer.concat([...pieces, end]);
    pieces = [];
    pieceBytes = 0;
    records += 1;
    if (whole.length <= recordBytesMax) return whole;
    throw recordTooLarge(`record ${records} of the input`, recordBytesMax);
  };
  for await (const chunk of chunks) {
    let buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    // The delimiter may begin in earlier chunks: search as much of them again as it can span.
    const carried = takeTail(pieces, delimiter.length - 1);
    if (carried.length > 0) {
      pieceBytes -= carried.length;
      buffer = Buffer.concat([carried, buffer]);
    }
    for (let at = buffer.indexOf(delimiter); at >= 0; at = buffer.indexOf(delimiter)) {
      yield record(buffer.subarray(0, at));
      buffer = buffer.subarray(at + delimiter.length);
    }
    if (buffer.length > 0) pieces.push(buffer);
    pieceBytes += buffer.length;
    if (pieceBytes > recordBytesMax + delimiter.length) {
      throw recordTooLarge(`record ${records + 1} of the input`, recordBytesMax);
    }
  }
  if (pieceBytes > 0) yield record(Buffer.alloc(0));
}

/** Removes and returns the last `bytes` bytes of the pieces, or all if there are fewer. */
const takeTail = (pieces: Buffer[], bytes: number): Buffer => {
  const tail: Buffer[] = [];
  let left = bytes;
  while (left > 0) {
    const last = pieces.pop();
    if (last === undefined) break;
    const from = Math.max(0, last.length - left);
    tail.unshift(last.subarray(from));
    left -= last.length - from;
    if (from > 0) pieces.push(last.subarray(0, from));
  }
  return Buffer.concat(tail);
};

const escapes: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  "0": "\0",
  "\\": "\\",
};

/** The bytes of a flag's text, with the escapes `\n`, `\t`, `\r`, `\0`, `\\` and `\xHH`. */
export const unescapeText = (text: string): Buffer => {
  const bytes: Buffer[] = [];
  for (let i = 0; i < text.length; i += 1) {
    const next = text[i + 1] ?? "";
    if (text[i] !== "\\") {
      const code = text.codePointAt(i) ?? 0;
      bytes.push(Buffer.from(String.fromCodePoint(code)));
      if (code > 0xffff) i += 1;
    } else if (next === "x" && /^[0-9a-fA-F]{2}$/.test(text.slice(i + 2, i + 4))) {
      bytes.push(Buffer.from(text.slice(i + 2, i + 4), "hex"));
      i += 3;
    } else {
      bytes.push(Buffer.from(escapes[next] ?? `\\${next}`));
      i += 1;
    }
  }
  return Buffer.concat(bytes);
};
