/** Records out of bytes: split at a delimiter, byte for byte. */

/**
 * Splits a stream of chunks at `delimiter`, which is removed; everything else is kept, carriage returns and bytes that
 * are no text among them. What follows the last delimiter is a record unless it is empty. Throws RangeError for a record
 * above `recordBytesMax`.
 */
export async function* splitRecords(
  chunks: AsyncIterable<Uint8Array>,
  delimiter: Uint8Array,
  recordBytesMax: number,
): AsyncGenerator<Buffer, void, undefined> {
  let rest = Buffer.alloc(0);
  for await (const chunk of chunks) {
    let buffer = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    // A delimiter may begin in what was searched before.
    let from = Math.max(0, rest.length - delimiter.length + 1);
    for (;;) {
      const at = buffer.indexOf(delimiter, from);
      if (at < 0) break;
      yield buffer.subarray(0, at);
      buffer = buffer.subarray(at + delimiter.length);
      from = 0;
    }
    if (buffer.length > recordBytesMax) {
      throw new RangeError(`a record has more than ${recordBytesMax} bytes`);
    }
    rest = buffer;
  }
  if (rest.length > 0) yield rest;
}

const escapes: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  "0": "\0",
  "\\": "\\",
};

/** `\n`, `\t`, `\r`, `\0`, `\\` and `\xHH` in a flag's text. */
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
