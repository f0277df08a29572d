/** How long the functions of a file are, by the layout that Biome gives. */

const keyword = /^ *(if|for|while|switch|return|throw|else|try|describe|test|check)\b/;
/** The last line of a signature, which may be its only one. */
const functionOpens = /^( *)(.*)(=>|\)(?:: [^=]+)?) \{$/;

/** First line and length of every function, with its signature. */
export const functionLengths = (lines: readonly string[]): [number, number][] => {
  const found: [number, number][] = [];
  for (const [i, line] of lines.entries()) {
    const [, indent = "", head = ""] = functionOpens.exec(line) ?? [];
    if (!functionOpens.test(line)) continue;
    // A signature over several lines begins at the last line before with the same indentation.
    const begins = head.startsWith(")")
      ? lines.findLastIndex((other, k) => k < i && /^( *)\S.*[(<{]$/.exec(other)?.[1] === indent)
      : i;
    const first = lines[begins];
    if (first === undefined || keyword.test(first)) continue;
    const end = lines.findIndex((other, k) => k > i && other.startsWith(`${indent}}`));
    if (end > i) found.push([begins + 1, end - begins + 1]);
  }
  return found;
};
