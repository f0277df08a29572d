/** What happened in a run, in the order of its time. */

/** Times are milliseconds since the start of the run, on the monotonic clock. */
interface At {
  readonly t: number;
}

export interface Send extends At {
  readonly kind: "send";
  readonly value: string;
  readonly producer: number;
  /** Rises by one with every send of its producer. */
  readonly number: number;
  readonly partition: number;
}

export interface Ack extends At {
  readonly kind: "ack";
  readonly value: string;
  readonly partition: number;
  readonly offset: number;
}

/** A send that may or may not have been stored. */
export interface Fail extends At {
  readonly kind: "fail";
  readonly value: string;
  readonly partition: number;
  readonly code: string;
}

/** A record that the following consumer was given. */
export interface Read extends At {
  readonly kind: "read";
  readonly value: string;
  readonly partition: number;
  readonly offset: number;
}

/** A partition whose state is another than before. */
export interface Leader extends At {
  readonly kind: "leader";
  readonly partition: number;
  /** -1 while there is none. */
  readonly leader: number;
  readonly epoch: number;
  readonly isr: readonly number[];
}

export interface Fault extends At {
  readonly kind: "fault";
  readonly fault: string;
  readonly target: string;
  readonly durationMs: number;
}

/** Something that a reader of the timeline wants to know. */
export interface Note extends At {
  readonly kind: "note";
  readonly text: string;
}

export type Event = Send | Ack | Fail | Read | Leader | Fault | Note;

type WithoutTime<E> = E extends Event ? Omit<E, "t"> : never;
/** An event before it has its time. */
export type Happening = WithoutTime<Event>;

/** Bytes after a value's name, so that records differ in length. */
const paddingOf = (producer: number, number: number): string =>
  "x".repeat((producer * 101 + number * 37) % 300);

/** The bytes of a record's value. */
export const contentOf = (producer: number, number: number): string =>
  `${producer}-${number}-${paddingOf(producer, number)}`;

/** The name of a value that is as `contentOf` made it, or everything of a value that is not. */
export const nameOf = (value: string): string => {
  const [, producer = "", number = ""] = /^(\d+)-(\d+)-x*$/.exec(value) ?? [];
  const isWhole = contentOf(Number(producer), Number(number)) === value;
  return isWhole ? `${producer}-${number}` : value;
};
