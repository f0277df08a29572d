/** A terminal session as an SVG: what was typed, and what came back. */

export interface Step {
  /** As a person types it. */
  readonly typed: string;
  /** Everything that was printed, without colours. */
  readonly printed: string;
}

const fontPx = 14;
const linePx = 20;
const charPx = 8.43;
const padPx = 16;
const columnsMax = 92;

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** Lines of at most so many columns, as a terminal wraps them. */
const wrapped = (line: string): string[] => {
  const lines: string[] = [];
  for (let rest = line; ; rest = rest.slice(columnsMax)) {
    lines.push(rest.slice(0, columnsMax));
    if (rest.length <= columnsMax) return lines;
  }
};

interface Line {
  readonly text: string;
  readonly kind: "typed" | "printed";
}

const linesOf = (steps: readonly Step[]): Line[] =>
  steps.flatMap(({ typed, printed }) => [
    ...wrapped(`$ ${typed}`).map((text) => ({ text, kind: "typed" as const })),
    ...printed
      .trimEnd()
      .split("\n")
      .filter((line, i, all) => line !== "" || all.length > i + 1)
      .flatMap(wrapped)
      .map((text) => ({ text, kind: "printed" as const })),
    { text: "", kind: "printed" as const },
  ]);

const colours = { typed: "#f5f5f5", printed: "#b8c4ce" } as const;

/** The picture; `title` is read out by those who cannot see it. */
export const terminalPicture = (title: string, steps: readonly Step[]): string => {
  const lines = linesOf(steps).slice(0, -1);
  const columns = Math.max(...lines.map(({ text }) => text.length));
  const width = Math.ceil(columns * charPx + 2 * padPx);
  const height = lines.length * linePx + 2 * padPx;
  const rows = lines.map(({ text, kind }, i) => {
    const y = padPx + (i + 1) * linePx - 5;
    return `  <text x="${padPx}" y="${y}" fill="${colours[kind]}">${escaped(text)}</text>`;
  });
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" role="img">`,
    `  <title>${escaped(title)}</title>`,
    `  <rect width="${width}" height="${height}" rx="8" fill="#1b222a"/>`,
    `  <g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="${fontPx}" xml:space="preserve">`,
    ...rows,
    "  </g>",
    "</svg>",
  ].join("\n")}\n`;
};
