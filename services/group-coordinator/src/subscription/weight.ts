/**
 * How much a pattern may be compiled to, found without compiling it: `(?:[a-z]{30}){30}` is short,
 * and nine hundred classes. Counts of groups within groups multiply.
 */

/** What a class of Unicode, such as \pL, weighs: it has hundreds of ranges. */
const unicodeClassWeight = 300;

/** What a group adds: it may capture, where it begins and where it ends. */
const groupWeight = 2;

/** Pieces of a pattern. What none of them is, such as an open bracket, the compiler refuses. */
const pieces = new RegExp(
  [
    "(?<nothing>\\(\\?[a-zA-Z-]+\\)|\\\\Q(?:\\\\E|$))",
    "(?<quoted>\\\\Q[^]*?(?:\\\\E|$))",
    "(?<unicode>\\\\[pP](?:\\{[^}]*\\}|[^]))",
    "(?<escape>\\\\x\\{[^}]*\\}|\\\\[^])",
    "(?<set>\\[\\^?\\]?(?:\\[:\\^?\\w+:\\]|\\\\[^]|[^\\]\\\\])*\\])",
    "\\{(?<least>\\d+)(?:,(?<most>\\d*))?\\}",
    "(?<star>[*+?])",
    "(?<open>\\((?:\\?(?:P?<\\w+>|[a-zA-Z-]*:?))?)",
    "(?<close>\\))",
    "[^]",
  ].join("|"),
  "gu",
);

/** A group that is open. */
interface Level {
  weight: number;
  /** Of the last piece, which a count after it multiplies. */
  last: number;
}

const weightOfSet = (text: string): number => {
  const classes = text.match(/\\[pP]/g)?.length ?? 0;
  return 1 + text.length / 8 + classes * unicodeClassWeight;
};

const weightOfPiece = (text: string, groups: Readonly<Record<string, string | undefined>>) => {
  if (groups["quoted"] !== undefined) return text.length;
  if (groups["unicode"] !== undefined) return unicodeClassWeight;
  return groups["set"] === undefined ? 1 : weightOfSet(text);
};

/** The weight of a pattern: about its instructions, and more where one of them is expensive. */
export const weightOf = (text: string): number => {
  const levels: Level[] = [{ weight: 0, last: 0 }];
  for (const { 0: piece, groups = {} } of text.matchAll(pieces)) {
    const level = levels.at(-1) ?? { weight: 0, last: 0 };
    // A count after flags is one of the piece before them.
    if (groups["nothing"] !== undefined) continue;
    const { least, most } = groups;
    if (groups["open"] !== undefined) levels.push({ weight: groupWeight, last: 0 });
    else if (groups["close"] !== undefined && levels.length > 1) {
      levels.pop();
      const outer = levels.at(-1) ?? level;
      outer.weight += level.weight;
      outer.last = level.weight;
    } else if (groups["star"] !== undefined) {
      level.weight += 1;
      level.last += 1;
    } else if (least !== undefined) {
      const times = Math.max(1, Number(least), Number(most ?? 0));
      level.weight += level.last * (times - 1);
      level.last *= times;
    } else {
      level.last = weightOfPiece(piece, groups);
      level.weight += level.last;
    }
  }
  return Math.ceil(levels.reduce((sum, { weight }) => sum + weight, 0));
};
