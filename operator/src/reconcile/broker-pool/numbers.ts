/** Which numbers new brokers get. Pure. */
import { productLimits } from "../../../gen/product.ts";
import type { BrokerPool } from "../../api/index.ts";

type Range = NonNullable<BrokerPool["spec"]["nodeIds"]>;

const everything: Range = { start: 0, end: productLimits.brokerIdMax };

const isIn = ({ start, end }: Range, id: number): boolean => start <= id && id <= end;

/** What numbers are taken from, and what is taken. */
export interface Numbers {
  /** The pool's own range. */
  readonly range?: Range | undefined;
  /** Ranges of the other pools of the cluster. */
  readonly others: readonly Range[];
  /** Every number that a broker of the cluster has had. */
  readonly used: ReadonlySet<number>;
}

/** The lowest numbers that are free: as many as are asked for, or as there are. */
export const freeNumbers = ({ others, range, used }: Numbers, count: number): number[] => {
  const { start, end } = range ?? everything;
  const found: number[] = [];
  for (let id = start; id <= end && found.length < count; id += 1) {
    const isOthers = range === undefined && others.some((other) => isIn(other, id));
    if (!isOthers && !used.has(id)) found.push(id);
  }
  return found;
};

const ageOf = ({ metadata }: BrokerPool): string =>
  `${metadata.creationTimestamp ?? ""} ${metadata.uid ?? ""}`;

/** An older pool of the same cluster whose range has numbers of this one's. */
export const overlapping = (
  pool: BrokerPool,
  others: readonly BrokerPool[],
): BrokerPool | undefined => {
  const { nodeIds: own } = pool.spec;
  if (own === undefined) return undefined;
  return others.find(
    (other) =>
      ageOf(other) < ageOf(pool) &&
      other.spec.nodeIds !== undefined &&
      other.spec.nodeIds.start <= own.end &&
      own.start <= other.spec.nodeIds.end,
  );
};
