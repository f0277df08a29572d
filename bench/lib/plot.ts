/** The ratios to the peers as bars. */
import { type CaseResult, type Row, rowsOf } from "./report.ts";

const colours = { aim: "#2b8a3e", must: "#1971c2", below: "#c92a2a", "": "#868e96" } as const;
const escaped = (value: string): string => value.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

const lineHeight = 17;
const width = 1100;
const centre = 690;
/**
 * Pixels of a factor of two, and the longest bar: what is further off is cut, its number is not.
 */
const perDoubling = 85;
const barMax = 300;

const bar = (row: Row, y: number): string => {
  const gain = row.better === "more" ? row.ratio : 1 / row.ratio;
  const length = Math.max(1, Math.min(barMax, Math.abs(Math.log2(gain)) * perDoubling));
  const x = gain >= 1 ? centre : centre - length;
  const numberX = gain >= 1 ? centre + length + 4 : centre + 4;
  return (
    `<text x="372" y="${y + 11}" text-anchor="end">${escaped(row.words)} / ${row.peer}</text>` +
    `<rect x="${x.toFixed(1)}" y="${y}" width="${length.toFixed(1)}" height="${lineHeight - 4}"` +
    ` fill="${colours[row.verdict]}"/>` +
    `<text x="${numberX.toFixed(1)}" y="${y + 11}">${gain.toFixed(2)}×</text>`
  );
};

const heading = (title: string, y: number): string =>
  `<text x="10" y="${y + 12}" font-weight="bold">${escaped(title)}</text>`;

const isRatio = (row: Row): boolean =>
  row.theirs !== undefined && row.ratio > 0 && Number.isFinite(row.ratio);

/**
 * Bars of our ratio to each peer on a logarithmic scale, by case: right of the line is better than
 * the peer.
 */
export const plotOf = (results: readonly CaseResult[]): string => {
  const parts: string[] = [];
  let y = 34;
  for (const result of results) {
    const rows = rowsOf(result).filter(isRatio);
    if (rows.length === 0) continue;
    parts.push(heading(result.title, y));
    y += lineHeight + 2;
    for (const row of rows) {
      parts.push(bar(row, y));
      y += lineHeight;
    }
    y += 6;
  }
  const height = y + 6;
  const legend =
    "times better than the peer (log scale; green aim, blue must, red below, grey no bound)";
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">` +
    "<title>Millrace against its peers</title>" +
    `<rect width="${width}" height="${height}" fill="white"/>` +
    `<text x="${centre}" y="18" text-anchor="middle">${legend}</text>` +
    `<line x1="${centre}" x2="${centre}" y1="26" y2="${y}" stroke="black"/>${parts.join("")}</svg>\n`
  );
};
