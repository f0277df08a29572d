/** Holds the log that is left against everything that was promised. */
import type { Ack, Event, Read, Send } from "./history.ts";

/** Values by partition and offset. */
export type FinalLog = ReadonlyMap<number, ReadonlyMap<number, string>>;

export type Promised =
  | ("acknowledged" | "order" | "read" | "phantom" | "gap" | "duplicate")
  /** An invariant of groups, G1 to G10. */
  | "group"
  /** Brokers have the same on their disks. */
  | "replica"
  /** The cluster heals, calls end, and the consumer gets to the end. Never of one value. */
  | "progress";

/** A promise that was not kept. */
export interface Violation {
  readonly promise: Promised;
  /** Absent for `group`, `replica` and `progress`, as the following two. */
  readonly partition?: number;
  readonly offset?: number;
  readonly value?: string;
  readonly text: string;
}

export interface Verdict {
  readonly violations: readonly Violation[];
  /** Acknowledged values that are not at their offsets. */
  readonly lost: number;
  /** Values that are in the log more than once. */
  readonly duplicated: number;
}

/** Events by kind, and what was sent by its value. */
interface Sorted {
  readonly sends: ReadonlyMap<string, Send>;
  readonly acks: readonly Ack[];
  readonly reads: readonly Read[];
}

const sorted = (events: readonly Event[]): Sorted => {
  const sends = new Map<string, Send>();
  const acks: Ack[] = [];
  const reads: Read[] = [];
  for (const event of events) {
    if (event.kind === "send") sends.set(event.value, event);
    else if (event.kind === "ack") acks.push(event);
    else if (event.kind === "read") reads.push(event);
  }
  return { sends, acks, reads };
};

const place = (partition: number, offset: number): string => `${partition}@${offset}`;

/** Every acknowledged or read value is where it was. */
const moved = (
  promise: "acknowledged" | "read",
  promised: readonly (Ack | Read)[],
  log: FinalLog,
): Violation[] =>
  promised.flatMap(({ partition, offset, value }) => {
    const found = log.get(partition)?.get(offset);
    if (found === value) return [];
    const text = `${value} was ${promise} at ${place(partition, offset)}, where ${found ?? "nothing"} is`;
    return [{ promise, partition, offset, value, text }];
  });

/**
 * Acknowledged offsets rise with the numbers of a producer, and with time: a value that was sent
 * after the acknowledgement of another is behind it.
 */
const disordered = ({ acks, sends }: Sorted): Violation[] => {
  const violations: Violation[] = [];
  const add = (later: Ack, earlier: Ack, why: string): void => {
    const { offset, partition, value } = later;
    const text = `${value} is at ${place(partition, offset)}, before ${earlier.value} at ${earlier.offset}, ${why}`;
    violations.push({ promise: "order", partition, offset, value, text });
  };
  const sent = acks.flatMap((ack) => {
    const send = sends.get(ack.value);
    return send === undefined ? [] : [{ ack, send }];
  });
  const lastOf = new Map<string, Ack>();
  for (const { ack, send } of sent.toSorted((a, b) => a.send.number - b.send.number)) {
    const key = `${send.producer}/${ack.partition}`;
    const before = lastOf.get(key);
    if (before !== undefined && before.offset >= ack.offset) add(ack, before, "its elder");
    lastOf.set(key, ack);
  }
  const furthest = new Map<number, Ack>();
  let next = 0;
  for (const { ack, send } of sent.toSorted((a, b) => a.send.t - b.send.t)) {
    for (let other = acks[next]; other !== undefined && other.t < send.t; other = acks[next]) {
      const known = furthest.get(other.partition);
      if (known === undefined || known.offset < other.offset) furthest.set(other.partition, other);
      next += 1;
    }
    const before = furthest.get(ack.partition);
    const why = "acknowledged before it was sent";
    if (before !== undefined && before.offset >= ack.offset) add(ack, before, why);
  }
  return violations;
};

/** The following consumer is given every offset once, in order. */
const skipped = (reads: readonly Read[]): Violation[] => {
  const nextOf = new Map<number, number>();
  return reads.flatMap(({ partition, offset, value }) => {
    const expected = nextOf.get(partition) ?? 0;
    nextOf.set(partition, offset + 1);
    if (offset === expected) return [];
    const text = `the consumer got ${place(partition, offset)} where ${expected} came next`;
    return [{ promise: "gap", partition, offset, value, text }];
  });
};

/** The log begins at 0, has no gaps, and holds what was sent to its partition. */
const foreign = (log: FinalLog, sends: ReadonlyMap<string, Send>): Violation[] => {
  const violations: Violation[] = [];
  for (const [partition, records] of log) {
    let next = 0;
    for (const [offset, value] of [...records].sort(([a], [b]) => a - b)) {
      const at = place(partition, offset);
      if (offset !== next) {
        const text = `the log goes on at ${at} after ${next - 1}`;
        violations.push({ promise: "gap", partition, offset, value, text });
      }
      next = offset + 1;
      const send = sends.get(value);
      if (send?.partition === partition) continue;
      const whence = send === undefined ? "nobody sent" : `was sent to ${send.partition}`;
      const text = `${at} holds ${JSON.stringify(value.slice(0, 60))}, which ${whence}`;
      violations.push({ promise: "phantom", partition, offset, value, text });
    }
  }
  return violations;
};

/** The second and every later place of a value. */
const repeated = (log: FinalLog): Violation[] => {
  const first = new Map<string, string>();
  const violations: Violation[] = [];
  for (const [partition, records] of log) {
    for (const [offset, value] of records) {
      const before = first.get(value);
      const at = place(partition, offset);
      if (before === undefined) first.set(value, at);
      else {
        const text = `${value} is at ${before}, and again at ${at}`;
        violations.push({ promise: "duplicate", partition, offset, value, text });
      }
    }
  }
  return violations;
};

export const check = (events: readonly Event[], log: FinalLog): Verdict => {
  const known = sorted(events);
  const lost = moved("acknowledged", known.acks, log);
  const duplicates = repeated(log);
  const violations = [
    ...lost,
    ...moved("read", known.reads, log),
    ...disordered(known),
    ...skipped(known.reads),
    ...foreign(log, known.sends),
    ...duplicates,
  ];
  const duplicated = new Set(duplicates.map(({ value }) => value)).size;
  return { violations, lost: lost.length, duplicated };
};
