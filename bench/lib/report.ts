/** From samples to rows of claims. */
import { cpus, totalmem } from "node:os";
import { quantile } from "./stats.ts";
import { type Metric, words } from "./words.ts";

/** What one run measured, by metric. */
export type Sample = Readonly<Record<string, number>>;

/** A line of the table: a metric of ours against the same metric of a peer. */
export interface Claim {
  readonly metric: Metric;
  /** Contender to compare with; absent: the bounds are absolute. */
  readonly peer?: string;
  /** Metric of the peer, where it has another name. */
  readonly peerMetric?: Metric;
  /** Contender of ours; absent: `millrace`. */
  readonly ours?: string;
  readonly better: "more" | "less";
  /** Absent: the line claims nothing, it tells. */
  readonly must?: number;
  readonly aim?: number;
}

export interface CaseResult {
  readonly id: string;
  readonly title: string;
  readonly claims: readonly Claim[];
  /** Samples of every round, by contender. */
  readonly samples: Record<string, Sample[]>;
  /** How long all of it took. */
  readonly seconds: number;
  /** Why it was not measured. */
  readonly skipped?: string;
}

export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

export interface Row {
  /** The metric in words, and who of ours it is when there are several. */
  readonly words: string;
  readonly peer: string;
  readonly ours: Spread;
  readonly theirs: Spread | undefined;
  readonly ratio: number;
  readonly must: number | undefined;
  readonly aim: number | undefined;
  readonly better: "more" | "less";
  readonly verdict: "aim" | "must" | "below" | "";
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
  let verdict: Row["verdict"] = must === undefined ? "" : "below";
  if (must !== undefined && meets(must)) verdict = aim !== undefined && meets(aim) ? "aim" : "must";
  return {
    words: `${words[claim.metric]}${claim.ours === undefined ? "" : ` (${claim.ours})`}`,
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

export const rowsOf = (result: CaseResult): Row[] =>
  result.claims.map((claim) => rowOf(result, claim));

/** What ran, for whoever reads the numbers later. */
export const machine = (): string =>
  [
    `${cpus().length} × ${cpus()[0]?.model.trim() ?? "?"}`,
    `${Math.round(totalmem() / 2 ** 30)} GiB`,
    `Node ${process.version}`,
    `${process.platform} ${process.arch}; client and server share the cores`,
  ].join(", ");
