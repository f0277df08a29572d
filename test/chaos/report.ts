/** What a run tells at its end. */

import type { GroupCounts } from "./groups/group-run.ts";
import type { Event } from "./history.ts";
import type { Outcome } from "./run.ts";
import { stallsOf } from "./stalls.ts";

const countsOf = (names: readonly string[]): string =>
  [...Map.groupBy(names, (name) => name)]
    .map(([name, all]) => `${name} ×${all.length}`)
    .sort()
    .join(", ");

/** Leader epochs that were left behind, over all partitions. */
export const leaderChanges = (events: readonly Event[]): number => {
  const epochs = new Map<number, number>();
  let changes = 0;
  for (const event of events) {
    if (event.kind !== "leader") continue;
    // A restored backup has lower ones.
    changes += Math.max(0, event.epoch - (epochs.get(event.partition) ?? event.epoch));
    epochs.set(event.partition, event.epoch);
  }
  return changes;
};

const median = (numbers: readonly number[]): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor((numbers.length - 1) / 2)] ?? 0;

/** Rows with columns of one width; the first is of text, all others of numbers. */
export const tableOf = (rows: readonly (readonly string[])[]): string[] => {
  const widths = (rows[0] ?? []).map((_, at) =>
    Math.max(...rows.map((row) => row[at]?.length ?? 0)),
  );
  const pad = (cell: string, at: number): string =>
    at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0);
  return rows.map((row) => `  ${row.map(pad).join("  ")}`);
};

/** A row for each kind of fault. */
const faultTable = (events: readonly Event[], loadEndMs: number): string[] => {
  const byKind = Map.groupBy(stallsOf(events, loadEndMs), ({ fault }) => fault.fault);
  const rows = [...byKind]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([kind, stalls]) => {
      const times = stalls.map(({ ms }) => Math.round(ms));
      return [kind, stalls.length, median(times), Math.max(...times)].map(String);
    });
  return tableOf([["fault", "times", "stall, median ms", "max ms"], ...rows]);
};

const groupLines = (groups: GroupCounts): string[] => {
  const { commits, expelled, fates, lives, processed, repeats, replaced } = groups;
  const ends = [...fates].map(([fate, times]) => `${fate} ×${times}`).sort();
  return [
    `members        ${lives} lives (${ends.join(", ")})`,
    `processed      ${processed}, ${repeats} of them again`,
    `commits        ${commits}, ${expelled} expulsions noticed, ${replaced} names taken over`,
  ];
};

export const reportOf = (events: readonly Event[], outcome: Outcome): string => {
  const failures = events.flatMap((event) => (event.kind === "fail" ? [event.code] : []));
  const count = (kind: Event["kind"]): number =>
    events.filter((event) => event.kind === kind).length;
  const byCode = failures.length === 0 ? "" : ` (${countsOf(failures)})`;
  return [
    `operations     ${count("send")}`,
    `acknowledged   ${count("ack")}`,
    `failed         ${failures.length}${byCode}`,
    `followed       ${count("read")}`,
    `leader changes ${leaderChanges(events)}`,
    `faults         ${count("fault")}`,
    ...faultTable(events, outcome.loadEndMs),
    `lost           ${outcome.lost}`,
    `duplicated     ${outcome.duplicated}`,
    ...(outcome.groups === undefined ? [] : groupLines(outcome.groups)),
    `violations     ${outcome.violations.length}`,
  ].join("\n");
};
