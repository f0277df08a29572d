/** From samples to a table, JSON and a plot. */
import { cpus, totalmem } from "node:os";
import { quantile } from "./stats.ts";

/** What one run measured, by metric. */
export type Sample = Readonly<Record<string, number>>;

/** A line of the table: a metric of ours against the same metric of a peer. */
export interface Claim {
  readonly metric: string;
  /** Contender to compare with; absent: the bounds are absolute. */
  readonly peer?: string;
  /** Metric of the peer, where it has another name. */
  readonly peerMetric?: string;
  readonly ours?: string;
  readonly better: "more" | "less";
  readonly must: number;
  readonly aim?: number;
}

export interface CaseResult {
  readonly id: string;
  readonly title: string;
  readonly claims: readonly Claim[];
  /** Samples of every round, by contender. */
  readonly samples: Record<string, Sample[]>;
}

export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

export interface Row {
  readonly id: string;
  readonly title: string;
  readonly metric: string;
  readonly peer: string;
  readonly ours: Spread;
  readonly theirs: Spread | undefined;
  readonly ratio: number;
  readonly must: number;
  readonly aim: number | undefined;
  readonly better: "more" | "less";
  readonly verdict: "aim" | "must" | "below";
}

const spread = (samples: readonly Sample[], metric: string): Spread => {
  const values = samples
    .map((sample) => sample[metric] ?? Number.NaN)
    .filter((value) => !Number.isNaN(value))
    .sort((a, b) => a - b);
  return { min: quantile(values, 0), median: quantile(values, 0.5), max: quantile(values, 1) };
};

const rowOf = (result: CaseResult, claim: Claim): Row => {
  const ours = spread(result.samples[claim.ours ?? "millrace"] ?? [], claim.metric);
  const { peer, peerMetric = claim.metric, better, must, aim } = claim;
  const theirs = peer === undefined ? undefined : spread(result.samples[peer] ?? [], peerMetric);
  const ratio = theirs === undefined ? ours.median : ours.median / theirs.median;
  const meets = (bound: number): boolean => (better === "more" ? ratio >= bound : ratio <= bound);
  let verdict: Row["verdict"] = "below";
  if (meets(must)) verdict = aim !== undefined && meets(aim) ? "aim" : "must";
  const { id, title } = result;
  return {
    id,
    title,
    metric: claim.metric,
    peer: peer ?? "",
    ours,
    theirs,
    ratio,
    must,
    aim,
    better,
    verdict,
  };
};

export const rowsOf = (results: readonly CaseResult[]): Row[] =>
  results.flatMap((result) => result.claims.map((claim) => rowOf(result, claim)));

const short = (value: number): string => {
  if (Number.isNaN(value)) return "–";
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(0)} k`;
  if (value >= 100) return value.toFixed(0);
  return value.toFixed(value >= 10 ? 1 : 2);
};

const text = (of: Spread | undefined): string =>
  of === undefined ? "" : `${short(of.median)} (${short(of.min)}–${short(of.max)})`;

const bound = (row: Row, value: number | undefined): string => {
  if (value === undefined) return "";
  return `${row.better === "more" ? "≥" : "≤"} ${value}${row.theirs === undefined ? "" : "×"}`;
};

/** A Markdown table; medians, with least and most in brackets. */
export const tableOf = (rows: readonly Row[]): string => {
  const head =
    "| case | metric | Millrace | against | theirs | ratio | must | aim | |\n|---|---|---|---|---|---|---|---|---|\n";
  const lines = rows.map((row) => {
    const ratio = row.theirs === undefined ? "" : `${row.ratio.toFixed(2)}×`;
    const cells = [row.title, row.metric, text(row.ours), row.peer, text(row.theirs), ratio];
    return `| ${[...cells, bound(row, row.must), bound(row, row.aim), row.verdict].join(" | ")} |`;
  });
  return `${head}${lines.join("\n")}\n`;
};

/** What ran, for whoever reads the numbers later. */
export const machine = (): string =>
  `${cpus().length} × ${cpus()[0]?.model.trim() ?? "?"}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}, ` +
  `${process.platform} ${process.arch}; client and server share the cores`;

const colours = { aim: "#2b8a3e", must: "#1971c2", below: "#c92a2a" } as const;
const escaped = (value: string): string => value.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** Bars of our ratio to each peer on a logarithmic scale: right of the line is better than the peer. */
export const plotOf = (rows: readonly Row[]): string => {
  const compared = rows.filter(
    (row) => row.theirs !== undefined && row.ratio > 0 && Number.isFinite(row.ratio),
  );
  const height = 18;
  const centre = 620;
  const scale = 110;
  const bars = compared.map((row, i) => {
    const gain = row.better === "more" ? row.ratio : 1 / row.ratio;
    const width = Math.min(3.2, Math.abs(Math.log2(gain))) * scale;
    const x = gain >= 1 ? centre : centre - width;
    const y = 30 + i * height;
    const label = escaped(`${row.title}: ${row.metric} / ${row.peer}`);
    return (
      `<text x="250" y="${y + 11}" text-anchor="end">${label}</text>` +
      `<rect x="${x}" y="${y}" width="${Math.max(1, width)}" height="${height - 5}" fill="${colours[row.verdict]}"/>` +
      `<text x="${gain >= 1 ? x + width + 4 : centre + 4}" y="${y + 11}">${gain.toFixed(2)}×</text>`
    );
  });
  const total = 50 + compared.length * height;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-260 0 1300 ${total}" font-family="sans-serif" font-size="11">` +
    "<title>Millrace against its peers</title>" +
    `<rect x="-260" width="1300" height="${total}" fill="white"/>` +
    `<text x="${centre}" y="16" text-anchor="middle">times better than the peer (log scale; green aim, blue must, red below)</text>` +
    `<line x1="${centre}" x2="${centre}" y1="22" y2="${total - 10}" stroke="black"/>${bars.join("")}</svg>\n`
  );
};
