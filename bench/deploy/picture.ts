/** A deploy as a picture: time from left to right, a line per partition, a colour per owner. */
import type { History, Replacement } from "./history.ts";

export interface Side {
  readonly title: string;
  readonly history: History;
  readonly replacements: readonly Replacement[];
}

const panelWidth = 620;
const left = 50;
const lineHeight = 3;
const top = 40;
const between = 30;

/** Far apart for neighbouring numbers. */
const colourOf = (number: number): string =>
  `hsl(${Math.round((number * 137.5) % 360)} ${55 + (number % 3) * 15}% ${40 + (number % 4) * 9}%)`;

interface Stretch {
  readonly partition: number;
  readonly member: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** Who owned what, from when until when, inside of a span. */
export const stretchesOf = (
  { ownerships }: History,
  fromMs: number,
  toMs: number,
): readonly Stretch[] => {
  const open = new Map<number, { readonly member: string; readonly atMs: number }>();
  const stretches: Stretch[] = [];
  const close = (partition: number, atMs: number): void => {
    const since = open.get(partition);
    open.delete(partition);
    if (since === undefined || atMs <= fromMs || since.atMs >= toMs) return;
    const { member } = since;
    const from = Math.max(since.atMs, fromMs);
    stretches.push({ partition, member, fromMs: from, toMs: Math.min(atMs, toMs) });
  };
  for (const { atMs, kind, member, partition } of ownerships) {
    if (kind === "got") {
      close(partition, atMs);
      open.set(partition, { member, atMs });
    } else if (open.get(partition)?.member === member) close(partition, atMs);
  }
  for (const partition of [...open.keys()]) close(partition, toMs);
  return stretches;
};

const panel = ({ history, replacements, title }: Side, x: number): string => {
  const fromMs = (replacements[0]?.atMs ?? 0) - 2000;
  const toMs = replacements.at(-1)?.endMs ?? fromMs + 1;
  const at = (ms: number): number => x + ((ms - fromMs) / (toMs - fromMs)) * panelWidth;
  const numbers = new Map<string, number>();
  const colour = (member: string): string => {
    const number = numbers.get(member) ?? numbers.size;
    numbers.set(member, number);
    return colourOf(number);
  };
  const rows = stretchesOf(history, fromMs, toMs).map(({ member, partition, ...span }) => {
    const from = at(span.fromMs);
    const width = Math.max(0.2, at(span.toMs) - from);
    const y = top + partition * lineHeight;
    return (
      `<rect x="${from.toFixed(1)}" y="${y}" width="${width.toFixed(1)}"` +
      ` height="${lineHeight}" fill="${colour(member)}"/>`
    );
  });
  const bottom = top + history.partitions * lineHeight;
  const marks = replacements.map(({ atMs }) => {
    const mark = at(atMs).toFixed(1);
    return `<line x1="${mark}" x2="${mark}" y1="${top - 6}" y2="${bottom}" stroke="black"/>`;
  });
  const seconds = ((toMs - fromMs) / 1000).toFixed(0);
  return (
    `<text x="${x}" y="22" font-weight="bold">${title}</text>` +
    `<rect x="${x}" y="${top}" width="${panelWidth}" height="${bottom - top}" fill="#fff"` +
    ` stroke="#ccc"/>${rows.join("")}${marks.join("")}` +
    `<text x="${x}" y="${bottom + 16}">0 to ${seconds} s; a black line: a member is replaced</text>`
  );
};

/** Sides side by side, as SVG. White: nobody owns the partition. */
export const pictureOf = (sides: readonly Side[]): string => {
  const most = Math.max(...sides.map(({ history }) => history.partitions));
  const width = left + sides.length * (panelWidth + between);
  const height = top + most * lineHeight + 30;
  const panels = sides.map((side, i) => panel(side, left + i * (panelWidth + between)));
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}"` +
    ` font-family="sans-serif" font-size="11"><title>A rolling deploy of a group</title>` +
    `<rect width="${width}" height="${height}" fill="#fafafa"/>` +
    `<text x="10" y="${top + 10}">partition</text>${panels.join("")}</svg>\n`
  );
};
