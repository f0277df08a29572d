/** A page for people: what happened around the values that a run lost, or worse. */
import type { Violation } from "./checker.ts";
import type { Ack, Event } from "./history.ts";

/** Violations that are told in full; the others are in the history. */
const violationsMax = 10;
/** Acknowledgements that are shown on either side of a value in question. */
const neighbours = 5;

const textOf = (event: Event): string => {
  switch (event.kind) {
    case "send":
      return `producer ${event.producer} sends ${event.value} to ${event.partition}`;
    case "ack":
      return `${event.value} is acknowledged at ${event.partition}@${event.offset}`;
    case "fail":
      return `${event.value} fails: ${event.code}`;
    case "read":
      return `the consumer gets ${event.value} at ${event.partition}@${event.offset}`;
    case "leader":
      return `partition ${event.partition}: leader ${event.leader}, epoch ${event.epoch}, in sync ${event.isr}`;
    case "fault":
      return `FAULT ${event.fault}: ${event.target}${event.durationMs > 0 ? `, ${event.durationMs} ms` : ""}`;
    case "note":
      return event.text;
  }
};

/** A line with the time since the start, and the wall clock's, as logs of processes have it. */
export const lineOf = (event: Event, startedAtMs: number): string => {
  const clock = new Date(startedAtMs + event.t).toISOString().slice(11, 23);
  return `${(event.t / 1000).toFixed(3).padStart(9)} s  ${clock}  ${textOf(event)}`;
};

/** The last acknowledgement of each partition before a time, and the first one after it. */
const acksAround = (acks: readonly Ack[], t: number): Ack[] =>
  [...Map.groupBy(acks, ({ partition }) => partition).values()].flatMap((of) => {
    const after = of.findIndex((ack) => ack.t > t);
    const pair = after < 0 ? of.slice(-1) : of.slice(Math.max(0, after - 1), after + 1);
    return pair;
  });

/** What happened to a value, and to its neighbours in the log and in time. */
const eventsOf = (events: readonly Event[], violation: Violation): Event[] => {
  const { offset = -1, partition, value } = violation;
  const own = events.filter((event) => "value" in event && event.value === value);
  const there = events.filter(
    (event) => "offset" in event && event.partition === partition && event.offset === offset,
  );
  const acks = events.filter(
    (event): event is Ack => event.kind === "ack" && event.partition === partition,
  );
  const at = acks.findIndex((ack) => ack.value === value || ack.offset === offset);
  const near = at < 0 ? [] : acks.slice(Math.max(0, at - neighbours), at + neighbours + 1);
  return [...own, ...there, ...near];
};

export const timelineOf = (
  events: readonly Event[],
  violations: readonly Violation[],
  startedAtMs: number,
): string => {
  const told = violations.slice(0, violationsMax);
  const acks = events.filter((event): event is Ack => event.kind === "ack");
  const shown = new Set<Event>();
  for (const event of events) {
    if (event.kind === "fault") for (const ack of acksAround(acks, event.t)) shown.add(ack);
    if (["fault", "leader", "note"].includes(event.kind)) shown.add(event);
  }
  for (const violation of told) for (const event of eventsOf(events, violation)) shown.add(event);
  const more = violations.length - told.length;
  return [
    ...told.map(({ promise, text }) => `VIOLATION ${promise}: ${text}`),
    ...(more > 0 ? [`… and ${more} more`] : []),
    "",
    ...events.filter((event) => shown.has(event)).map((event) => lineOf(event, startedAtMs)),
    "",
  ].join("\n");
};
