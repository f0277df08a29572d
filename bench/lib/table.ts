/** The table of claims in Markdown. */
import { type CaseResult, type Row, rowsOf, type Spread } from "./report.ts";

const short = (value: number): string => {
  if (Number.isNaN(value)) return "–";
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(0)} k`;
  if (value >= 100) return value.toFixed(0);
  return value.toFixed(value >= 10 ? 1 : 2);
};

const text = (of: Spread | undefined): string => {
  if (of === undefined) return "";
  const range = Number.isNaN(of.median) ? "" : ` (${short(of.min)}–${short(of.max)})`;
  return `${short(of.median)}${range}`;
};

const bound = (row: Row, value: number | undefined): string => {
  if (value === undefined) return "";
  return `${row.better === "more" ? "≥" : "≤"} ${value}${row.theirs === undefined ? "" : "×"}`;
};

const line = (row: Row, title: string): string => {
  const ratio =
    row.theirs === undefined || Number.isNaN(row.ratio) ? "" : `${row.ratio.toFixed(2)}×`;
  const cells = [title, row.words, text(row.ours), row.peer, text(row.theirs), ratio];
  return `| ${[...cells, bound(row, row.must), bound(row, row.aim), row.verdict].join(" | ")} |`;
};

const linesOf = (result: CaseResult, option: string): string[] => {
  // The command that repeats it, beside it.
  const title = `**${result.title}** \`${option} ${result.id}\``;
  if (result.skipped !== undefined) {
    return [`| ${title} | skipped: ${result.skipped} | | | | | | | skipped |`];
  }
  return rowsOf(result).map((row, i) => line(row, i === 0 ? title : ""));
};

/**
 * A group of rows per case; medians, with least and most in brackets. `option` chooses a case on
 * the command line.
 */
export const tableOf = (results: readonly CaseResult[], option = "--only"): string => {
  const head =
    "| case | metric | Millrace | against | theirs | ratio | must | aim | |\n|---|---|---|---|---|---|---|---|---|\n";
  return `${head}${results.flatMap((one) => linesOf(one, option)).join("\n")}\n`;
};
