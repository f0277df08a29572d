/** How plans are printed. */
import { digitsText } from "@millrace/errors";
import { type BrokerLoad, RebalanceGoal, RebalanceState } from "@millrace/proto/common";
import type {
  DescribeRebalanceResponse,
  PlanRebalanceResponse,
  Rebalance,
} from "@millrace/proto/controller";
import { counted, type Io } from "./io.ts";
import { tableText } from "./shared.ts";

const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/** Bytes for a column: three digits and a unit. */
export const bytesText = (bytes: bigint | number): string => {
  let [value, power] = [Number(bytes), 0];
  while (value >= 1024 && power < units.length - 1) {
    value /= 1024;
    power += 1;
  }
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
};

const nameOf = (names: Readonly<Record<number, string>>, value: number): string =>
  (names[value] ?? "unknown").toLowerCase();

const stateName = (state: RebalanceState): string => nameOf(RebalanceState, state);

const loadJson = ({ replicas, leaders, bytes }: BrokerLoad) => ({ replicas, leaders, bytes });

const nothing = { replicas: 0, leaders: 0, bytes: 0n };

/** What a plan is, in both outputs. */
const rebalanceJson = (one: Rebalance) => ({
  rebalance_id: one.rebalanceId === 0 ? null : one.rebalanceId,
  state: stateName(one.state),
  moves: one.moveCount,
  copies: one.copyCount,
  copy_bytes: one.copyBytes,
  brokers: one.before.map((before) => {
    const after = one.after.find(({ brokerId }) => brokerId === before.brokerId);
    return {
      broker_id: before.brokerId,
      before: loadJson(before),
      after: after === undefined ? nothing : loadJson(after),
    };
  }),
  unmet: one.unmet.map(({ goal, why }) => ({ goal: nameOf(RebalanceGoal, goal), why })),
  notes: one.notes,
});

type Json = ReturnType<typeof rebalanceJson>;

export const planJson = ({ moves, rebalance }: PlanRebalanceResponse) => ({
  ...(rebalance && rebalanceJson(rebalance)),
  partitions: moves.map(({ topic, partition, from, to, bytes }) => ({
    ...{ topic, partition, from, to, bytes },
  })),
});

const brokersText = (io: Io, { brokers }: Json): Promise<string> => {
  const head = ["BROKER", "REPLICAS", "AFTER", "LEADERS", "AFTER", "SIZE", "AFTER"];
  const rows = brokers.map(({ broker_id: id, before, after }) => [
    ...[id, before.replicas, after.replicas, before.leaders, after.leaders],
    ...[bytesText(before.bytes), bytesText(after.bytes)],
  ]);
  return tableText(io, head, rows);
};

const linesOf = ({ unmet, notes }: Json): string[] => [
  ...unmet.map(({ goal, why }) => `goal ${goal} is not met: ${why}`),
  ...notes.map((note) => `note: ${note}`),
];

const movesText = ({ copies, copy_bytes: bytes, moves }: Json): string =>
  `${counted(moves, "move")}, ${counted(copies, "replica")} to copy, ${bytesText(bytes)}`;

/** The plan, before it is begun. */
export const planText = async (io: Io, { rebalance }: PlanRebalanceResponse): Promise<string> => {
  if (rebalance === undefined) return "";
  const json = rebalanceJson(rebalance);
  const lines = [movesText(json), ...linesOf(json)];
  return `${await brokersText(io, json)}\n${lines.join("\n")}\n`;
};

export const statusJson = ({ ongoing, rebalance, waiting }: DescribeRebalanceResponse) =>
  rebalance === undefined
    ? {}
    : {
        ...rebalanceJson(rebalance),
        ...{ pending: rebalance.pendingCount, ongoing: rebalance.ongoingCount },
        ...{ done: rebalance.doneCount, skipped: rebalance.skippedCount },
        ...{ cancelled: rebalance.cancelledCount, copied_bytes: rebalance.copiedBytes },
        waiting,
        reason: rebalance.reason,
        ongoing_moves: ongoing.map(({ topic, partition, to, bytes, lagBytes }) => ({
          ...{ topic, partition, to, bytes, lag_bytes: lagBytes ?? null },
        })),
        skipped_moves: rebalance.skipped.map(({ topic, partition, why }) => ({
          ...{ topic, partition, why },
        })),
      };

/** One line. */
export const summaryOf = ({ rebalance, waiting }: DescribeRebalanceResponse): string => {
  if (rebalance === undefined) return "no rebalance";
  const { cancelledCount, doneCount, moveCount, ongoingCount, rebalanceId } = rebalance;
  const { copiedBytes, copyBytes, skippedCount, state } = rebalance;
  const parts = [
    `${digitsText(doneCount)} of ${digitsText(moveCount)} moves made`,
    `${bytesText(copiedBytes)} of ${bytesText(copyBytes)} copied`,
  ];
  if (ongoingCount > 0) parts.push(`${ongoingCount} under way`);
  if (skippedCount > 0) parts.push(`${skippedCount} skipped`);
  if (cancelledCount > 0) parts.push(`${cancelledCount} taken back`);
  if (waiting !== "") parts.push(waiting);
  return `rebalance ${rebalanceId} is ${stateName(state)}: ${parts.join(", ")}`;
};

/** How far a plan is. */
export const statusText = async (io: Io, described: DescribeRebalanceResponse): Promise<string> => {
  const { ongoing, rebalance } = described;
  if (rebalance === undefined) return "";
  const json = rebalanceJson(rebalance);
  const parts = [`${summaryOf(described)}\n`, await brokersText(io, json)];
  if (ongoing.length > 0) {
    const rows = ongoing.map(({ topic, partition, to, bytes, lagBytes }) => [
      ...[topic, partition, to.join(","), bytesText(bytes)],
      lagBytes === undefined ? "-" : bytesText(lagBytes),
    ]);
    parts.push(await tableText(io, ["TOPIC", "PARTITION", "TO", "SIZE", "LACKS"], rows));
  }
  const lines = [
    ...(rebalance.reason === "" ? [] : [`failed: ${rebalance.reason}`]),
    ...rebalance.skipped.map(
      ({ topic, partition, why }) => `skipped ${topic}-${partition}: ${why}`,
    ),
    ...linesOf(json),
  ];
  if (lines.length > 0) parts.push(`${lines.join("\n")}\n`);
  return parts.join("\n");
};
