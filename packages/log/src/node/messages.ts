/** What a thread that cleans is told, and what it answers. */
import type { CleaningCounts, Mapped, PassSettings } from "../compaction/pass.ts";
import type { IndexRow } from "../segment/index-format.ts";
import type { CleanedSegment } from "../segment/segment.ts";
import type { Failure } from "./failures.ts";

export interface Begin {
  readonly settings: PassSettings;
  /** 1 once the cleaning is void. */
  readonly isVoid: Int32Array<SharedArrayBuffer>;
}

export interface Source {
  readonly path: string;
  readonly baseOffset: number;
  readonly sizeBytes: number;
  readonly descriptor: number;
}

export type Request =
  | { readonly kind: "mapKeys"; readonly source: Source }
  | {
      readonly kind: "clean";
      readonly source: Source;
      readonly tombstonesGo: boolean;
      readonly producersAt: ReadonlySet<number>;
      readonly indexIntervalBytes: number;
      readonly output: number;
    };

/** Rows are copied as numbers: three for each. */
export type CopiedSegment = Omit<CleanedSegment, "rows"> & {
  readonly rows: Float64Array<ArrayBuffer>;
};

export interface Answer {
  readonly counts: CleaningCounts;
  readonly mapped?: Mapped;
  readonly cleaned?: CopiedSegment;
  readonly failure?: Failure;
}

const numbersPerRow = 3;

export const copyRows = (rows: readonly IndexRow[]): Float64Array<ArrayBuffer> => {
  const numbers = new Float64Array(rows.length * numbersPerRow);
  let at = 0;
  for (const { maxBeforeMs, offset, position } of rows) {
    numbers[at] = offset;
    numbers[at + 1] = position;
    numbers[at + 2] = maxBeforeMs;
    at += numbersPerRow;
  }
  return numbers;
};

export const rowsOf = (numbers: Float64Array): IndexRow[] => {
  const rows: IndexRow[] = [];
  for (let at = 0; at < numbers.length; at += numbersPerRow) {
    const offset = numbers[at] ?? 0;
    const position = numbers[at + 1] ?? 0;
    rows.push({ offset, position, maxBeforeMs: numbers[at + 2] ?? 0 });
  }
  return rows;
};
