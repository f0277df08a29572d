/** Lines of a stream of bytes. */

/** A line is longer than anything that the server should send. */
export class LineTooLongError extends Error {
  override readonly name = "LineTooLongError";
}

/** The stream ended within a line. */
export class CutLineError extends Error {
  override readonly name = "CutLineError";
}

/** Each whole line, without its end. Holds at most `bytesMax` of a line in memory. */
export async function* linesOf(
  chunks: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<string> {
  let parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    let begin = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, begin)) {
      parts.push(chunk.subarray(begin, end));
      length += end - begin;
      if (length > bytesMax) throw new LineTooLongError(`a line has more than ${bytesMax} bytes`);
      const line = Buffer.concat(parts).toString("utf8");
      parts = [];
      length = 0;
      begin = end + 1;
      if (line !== "") yield line;
    }
    parts.push(chunk.subarray(begin));
    length += chunk.length - begin;
    if (length > bytesMax) throw new LineTooLongError(`a line has more than ${bytesMax} bytes`);
  }
  if (length > 0) throw new CutLineError(`the stream ended ${length} bytes into a line`);
}
